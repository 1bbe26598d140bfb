"""Which replicas others take the place of: who answers nobody, and one after the other who answers badly."""

from datetime import UTC, datetime, timedelta
from typing import Any

from noren.control.ports import DoorView, Replica, ReplicaState
from noren.control.replacement import to_replace
from noren.control.world import World

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
READY, UNREADY, STOPPING = ReplicaState.READY, ReplicaState.UNREADY, ReplicaState.STOPPING


def replica(index: int, state: ReplicaState = READY, **changes: Any) -> Replica:
    born = NOON - timedelta(hours=1)
    fields: dict[str, Any] = {"revision": "shop-1", "address": f"127.0.0.1:{4000 + index}", "started_at": born}
    return Replica(index=index, state=state, **fields | changes)


def replaced(*replicas: Replica, ejected: tuple[int, ...] = ()) -> list[tuple[int, str]]:
    sick = frozenset(f"127.0.0.1:{4000 + index}" for index in ejected)
    world = World(now=NOON, replicas=replicas, door=DoorView(sick=sick))
    return [(found.index, reason) for found, reason in to_replace(world, "shop")]


def test_nobody_goes_while_all_are_well() -> None:
    assert replaced(replica(0), replica(1, UNREADY), replica(2, STOPPING)) == []


def test_who_hangs_goes_at_once_also_if_it_is_all_there_is() -> None:
    assert replaced(replica(0, UNREADY, sick="it hangs")) == [(0, "it hangs")]


def test_who_answers_but_badly_goes_only_while_another_one_is_well() -> None:
    fat = replica(0, sick="too big")
    assert replaced(fat) == []
    assert replaced(fat, replica(1, UNREADY)) == []
    assert replaced(fat, replica(1, sick="too big")) == []
    assert replaced(fat, replica(1)) == [(0, "too big")]
    assert replaced(fat, replica(1, revision="shop-2")) == []


def test_they_go_one_after_the_other() -> None:
    first, second, well = replica(0, sick="too big"), replica(1, sick="too big"), replica(2)
    assert replaced(first, second, well) == [(0, "too big")]
    assert replaced(replica(0, STOPPING, sick="too big"), second, well) == [(0, "too big")]


def test_who_is_ejected_again_and_again_goes_whenever_it_says_that_it_was_started() -> None:
    for hours in (-1, 1):  # the machine's clock may have been set
        started = replica(0, started_at=NOON + timedelta(hours=hours))
        assert replaced(started, replica(1), ejected=(0,)) == [(0, "the front door ejected it again and again")]
    assert replaced(replica(0), replica(1), ejected=(0, 1)) == []
