"""From what the drivers report to what is decided on, and to what the front door is told."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from noren.control.ports import DoorView, Replica, ReplicaState, made_of
from noren.control.world import World, look, table, without_strays
from noren.domain.commands import Deployment
from noren.domain.deployment import Gates, Resources, Revision, Route
from noren.domain.observation import Counts, Lost
from noren.domain.rollout import Rollout
from noren.frontdoors.memory import MemoryFrontDoor
from noren.runtimes.memory import MemoryRuntime

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/old", host="old.localhost"))
GREEN = replace(BLUE, number=2, bento="shop:v2", route=Route(prefix="/new", host="new.localhost"))
STATES = tuple(ReplicaState)


def replica(state: ReplicaState, index: int = 0, revision: str = "shop-1") -> Replica:
    return Replica(revision=revision, index=index, state=state, address=f"{revision}:{index}", detail=f"{state}!")


def world(*replicas: Replica, **door: object) -> World:
    return World(now=NOON, replicas=replicas, door=DoorView(**door))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "running", "ready", "broken"),
    [
        (ReplicaState.STARTING, 1, 0, False),
        (ReplicaState.READY, 1, 1, False),
        (ReplicaState.UNREADY, 1, 0, False),
        (ReplicaState.WAITING, 0, 0, False),
        (ReplicaState.BROKEN, 0, 0, True),
        (ReplicaState.STOPPING, 0, 0, False),
    ],
)
def test_what_each_state_of_a_replica_counts_for(state: ReplicaState, running: int, ready: int, broken: bool) -> None:
    seen = world(replica(state), healthy={"shop-1": 1}).observation("shop")

    assert seen.now == NOON
    assert seen.present == {"shop-1": 1}
    assert seen.running.get("shop-1", 0) == running
    assert seen.ready.get("shop-1", 0) == ready
    assert seen.broken == ({"shop-1": "broken!"} if broken else {})


@pytest.mark.parametrize(("healthy", "ready"), [({}, 0), ({"shop-1": 1}, 1), ({"shop-1": 5}, 2)])
def test_ready_is_what_runtime_and_front_door_agree_on(healthy: dict[str, int], ready: int) -> None:
    two = [replica(ReplicaState.READY, 0), replica(ReplicaState.READY, 1)]
    assert world(*two, healthy=healthy).observation("shop").ready == {"shop-1": ready}


def test_a_deployment_sees_only_its_own_replicas_also_when_names_begin_alike() -> None:
    everything = world(
        replica(ReplicaState.READY, revision="shop-1"),
        replica(ReplicaState.READY, revision="shop-1-1"),  # revision 1 of the deployment "shop-1"
        replica(ReplicaState.READY, revision="shop-2-3"),
        weights={"shop": {"shop-1": 100}, "shop-1": {"shop-1-1": 100}},
    )
    assert [r.revision for r in everything.of("shop")] == ["shop-1"]
    assert [r.revision for r in everything.of("shop-1")] == ["shop-1-1"]
    assert everything.observation("shop").weights == {"shop-1": 100}
    assert everything.observation("shop-2").weights == {}


def test_the_gates_word_and_the_doors_counts_are_passed_on() -> None:
    seen = world(counts={"shop-1": Counts(requests=3)}, in_flight={"shop-1": 2}).observation("shop", Lost())
    assert (seen.gate, seen.counts, seen.in_flight) == (Lost(), {"shop-1": Counts(requests=3)}, {"shop-1": 2})


def test_one_look_asks_both_drivers() -> None:
    runtime, door = MemoryRuntime(), MemoryFrontDoor()
    runtime.start(BLUE)
    door.counts["shop-1"] = Counts(requests=1)

    seen = look(runtime, door, NOON)

    assert [r.revision for r in seen.replicas] == ["shop-1"]
    assert seen.door.counts == {"shop-1": Counts(requests=1)}


def during(**changes: object) -> Deployment:
    rollout = replace(Rollout(green=GREEN, blue=BLUE, started_at=NOON), **changes)  # type: ignore[arg-type]
    return Deployment(name="shop", live=BLUE, rollout=rollout)


def test_nothing_live_and_nothing_under_way_is_no_table() -> None:
    assert table(Deployment(name="shop"), world(), {}) is None


def test_at_rest_the_table_has_the_live_revision_under_both_headers_meaning_blue() -> None:
    made = table(Deployment(name="shop", live=BLUE), world(replica(ReplicaState.READY)), {"shop-1": 100})

    assert made
    assert (made.route, made.weights, made.green, made.blue) == (BLUE.route, {"shop-1": 100}, None, "shop-1")
    assert made.backends == {"shop-1": ["shop-1:0"]}


def test_during_a_rollout_green_is_reachable_before_it_has_traffic() -> None:
    replicas = [replica(ReplicaState.READY), replica(ReplicaState.STARTING, revision="shop-2")]
    made = table(during(), world(*replicas), {"shop-1": 100})

    assert made
    assert (made.green, made.blue, made.weights) == ("shop-2", "shop-1", {"shop-1": 100})
    assert made.backends == {"shop-1": ["shop-1:0"], "shop-2": ["shop-2:0"]}


def test_the_route_is_blues_until_the_switch_and_greens_after_it() -> None:
    before, after = table(during(), world(), {}), table(during(switched_at=NOON), world(), {})
    assert before
    assert after
    assert (before.route, after.route) == (BLUE.route, GREEN.route)


def test_the_first_deployment_has_no_blue() -> None:
    made = table(Deployment(name="shop", rollout=during(blue=None).rollout), world(), {})
    assert made
    assert (made.green, made.blue, made.route) == ("shop-2", None, GREEN.route)


def test_backends_are_the_replicas_that_run_by_index() -> None:
    replicas = [replica(state, index) for index, state in reversed(list(enumerate(STATES)))]
    made = table(Deployment(name="shop", live=BLUE), world(*replicas), {})
    assert made
    assert made.backends == {"shop-1": ["shop-1:0", "shop-1:1", "shop-1:2"]}


def test_weights_of_revisions_without_interest_are_left_out() -> None:
    made = table(Deployment(name="shop", live=BLUE), world(), {"shop-1": 0, "shop-9": 100})
    assert made
    assert made.weights == {}


def test_who_has_the_name_of_a_revision_and_is_made_of_something_else_is_none_of_it() -> None:
    ready = replica(ReplicaState.READY, revision="shop-2")
    seen = world(
        replace(ready, made_of=made_of(GREEN)),
        replace(ready, index=1, made_of="of a lost history"),
        replace(ready, index=2),  # started by a Noren that did not take it down
        replace(ready, index=3, state=ReplicaState.BROKEN, made_of="of a lost history"),
        replace(ready, revision="cart-9", made_of="another deployment's"),
    )

    states = [r.state for r in without_strays(seen, [during()]).replicas]

    assert states == [ReplicaState(word) for word in ("ready", "stopping", "ready", "broken", "ready")]


def test_what_a_replica_is_made_of_is_its_bento_and_how_that_is_run() -> None:
    limited = replace(BLUE, resources=Resources(cpu=1))
    assert made_of(limited) == made_of(replace(limited, resources=Resources(cpu=1.0)))
    assert made_of(BLUE) == made_of(replace(BLUE, number=9, replicas=3, gates=Gates(smoke=False), twin=True))
    others = [{"bento": "shop:v2"}, {"workers": 2}, {"env": {"A": "1"}}, {"resources": Resources(memory_bytes=1)}]
    assert len({made_of(BLUE), made_of(limited), *(made_of(replace(BLUE, **other)) for other in others)}) == 6  # type: ignore[arg-type]
