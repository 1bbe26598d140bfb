"""Green is started only where it fits beside blue; what is not known refuses nobody."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from noren.domain.capacity import Room, see_room, smaller
from noren.domain.commands import Deployment
from noren.domain.deployment import Resources, Revision, Route
from noren.domain.errors import Conflict
from noren.domain.rollout import Rollout

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MB = 1_000_000
BLUE = Revision(deployment="shop", number=1, bento="shop:v1", replicas=2, route=Route(prefix="/shop", host="shop.x"))
GREEN = replace(BLUE, number=2, bento="shop:v2")
NEXT = replace(BLUE, number=3, bento="shop:v3")
AT_REST = Deployment(name="shop", live=BLUE)
SHIFTING = replace(AT_REST, rollout=Rollout(green=GREEN, blue=BLUE, started_at=NOON, step=0))
BAKING = replace(AT_REST, rollout=Rollout(green=GREEN, blue=BLUE, started_at=NOON, step=2, switched_at=NOON))


def room(spare: int | None, ports: int | None = None, **memory: int) -> Room:
    """In megabytes; `memory` by the number of the revision: r1=100."""
    taken = {f"shop-{name[1:]}": size * MB for name, size in memory.items()}
    return Room(spare_bytes=None if spare is None else spare * MB, spare_ports=ports, memory_bytes=taken)


def refused(wanted: Revision, deployment: Deployment, left: Room) -> str:
    """With what numbers, or ""."""
    try:
        see_room(wanted, deployment, left)
    except Conflict as conflict:
        assert conflict.fix
        return conflict.problem
    return ""


def test_green_may_take_a_fifth_more_than_blue_does_and_not_be_refused() -> None:
    assert refused(GREEN, AT_REST, room(1200, r1=1000)) == ""
    assert refused(GREEN, AT_REST, room(1199, r1=1000)) == (
        "2 replicas of shop:v2 would take 1200 MB of memory beside shop-1, which keeps its size until the bake ends, "
        "and 1199 MB are to spare"
    )
    assert "1 replica of shop:v2 would take 600 MB" in refused(replace(GREEN, replicas=1), AT_REST, room(599, r1=1000))


def test_who_declares_less_than_blue_takes_is_believed() -> None:
    small = replace(GREEN, resources=Resources(memory_bytes=100 * MB))
    large = replace(GREEN, resources=Resources(memory_bytes=9000 * MB))
    assert refused(small, AT_REST, room(200, r1=1000)) == ""
    assert "would take 200 MB" in refused(small, AT_REST, room(199, r1=1000))
    assert refused(large, AT_REST, room(1200, r1=1000)) == ""  # a limit is not what is taken


def test_a_first_revision_is_held_to_what_it_declares() -> None:
    first = replace(BLUE, resources=Resources(memory_bytes=500 * MB))
    assert refused(first, Deployment(name="shop"), room(1000)) == ""
    said = refused(first, Deployment(name="shop"), room(999))
    assert said == "2 replicas of shop:v1 would take 1000 MB of memory, and 999 MB are to spare"
    assert refused(BLUE, Deployment(name="shop"), room(1)) == ""  # nothing is known of it


@pytest.mark.parametrize("left", [Room(), room(None, r1=1000), room(1)], ids=["nothing", "no spare", "no use"])
def test_what_is_not_known_refuses_nobody(left: Room) -> None:
    assert refused(GREEN, AT_REST, left) == ""


def test_what_a_superseded_rollout_takes_is_free_before_the_next_one_starts() -> None:
    assert refused(NEXT, SHIFTING, room(200, r1=1000, r2=1000)) == ""
    assert "and 1199 MB are to spare" in refused(NEXT, SHIFTING, room(199, r1=1000, r2=1000))
    # While green bakes it is blue that goes, and green that stays.
    assert "beside shop-2" in refused(NEXT, BAKING, room(0, r1=500, r2=1000))
    assert refused(NEXT, BAKING, room(700, r1=500, r2=1000)) == ""


def test_other_deployments_free_nothing() -> None:
    left = Room(spare_bytes=0, memory_bytes={"shop-1": MB, "shop-2-7": 9000 * MB, "other-1": 9000 * MB})
    assert refused(GREEN, AT_REST, left) != ""


def test_each_replica_asks_for_a_port() -> None:
    assert refused(GREEN, AT_REST, room(None, ports=2)) == ""
    assert refused(GREEN, AT_REST, room(None, ports=1)) == (
        "2 replicas of shop:v2 would take 2 TCP ports beside shop-1, which keeps its size until the bake ends, "
        "and 1 are to spare"
    )


def test_fewer_replicas_than_blue_has_are_told_and_as_many_are_not() -> None:
    assert smaller(replace(GREEN, replicas=1), BLUE).startswith("shop-1 has 2 replicas, and 1 will take their place")
    assert smaller(GREEN, BLUE) == smaller(replace(GREEN, replicas=5), BLUE) == smaller(BLUE, None) == ""
