"""A control plane that dies, or is refused, at any of its steps comes to the same end as one that is left alone.

A tick is a row of calls: what is stored, and what each driver is asked for. Every call of every story is struck once.
Killed, the control plane dies before the call: dying after it is dying before the next one. Refused, the call is made,
and whoever made it is told that it was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest

from noren.control import reconcile as tick
from noren.control.ports import Replica
from noren.domain.actions import Action
from noren.domain.commands import Deployment
from noren.domain.deployment import Route, Strategy
from noren.domain.errors import DriverUnavailable
from noren.domain.observation import Counts, Observation
from noren.domain.verdict import Outcome

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.control.conftest import Fault, House

Story = Callable[["House"], None]
Step = tuple[str, str]  # the kind of action, and the call that is made for it

# Between which calls a control plane can die while it carries out an action of each kind.
CALLS = {
    "Start": {"Store.save", "FrontDoor.publish", "Runtime.start"},
    "RunGate": {"Store.save", "FrontDoor.publish", "Gate.start"},
    "StopGate": {"FrontDoor.publish", "Gate.stop"},
    "Judge": {"Store.save", "FrontDoor.publish", "Gate.stop"},
    "Hold": {"Store.save", "FrontDoor.publish"},
    "Shift": {"Store.save", "FrontDoor.publish", "FrontDoor.withdraw"},
    "Stop": {"Store.save", "FrontDoor.publish", "Runtime.stop"},
    "Wait": {"Store.save", "FrontDoor.publish", "Runtime.start"},
    "Fail": {"Store.save", "FrontDoor.publish"},
    "Finish": {
        *("Store.save", "FrontDoor.publish", "FrontDoor.withdraw"),
        *("Gate.stop", "Runtime.stop", "Store.delete"),
    },
}


def first(house: House) -> None:
    house.apply("shop:v1")


def first_that_fails(house: House) -> None:
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v1")


def promotion(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")


def beside_another(house: House) -> None:
    house.live("shop:v1")
    house.live("other:v1")
    house.apply("other:v2")
    house.apply("shop:v2")


def failed_gate(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v2")


def invalid_then_held(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.INVALID
    house.apply("shop:v2")


def held_then_promoted(house: House) -> None:
    invalid_then_held(house)
    house.settle()
    house.commands.promote("shop")


def braked_gate(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    house.door.counts["shop-1"] = Counts(requests=100, errors=50)


def aborted_gate(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.run(1)
    house.commands.abort("shop")


def crashing_twin(house: House) -> None:
    house.live("shop:v1")
    house.runtime.broken["shop-1_twin"] = "no such file"
    house.apply("shop:v2")


def too_many_errors(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.door.counts["shop-2"] = Counts(requests=100, errors=50)


def crashing_green(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.runtime.broken["shop-2"] = "MemoryError"


def without_guests(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2", strategy=Strategy(step_wait=timedelta(seconds=5)))


def paused(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.pause("shop")


def superseded(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.apply("shop:v3")


def superseded_while_baking(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(12)
    house.apply("shop:v3")


def warm_rollback(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(12)
    house.commands.rollback("shop")


def cold_rollback(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30, stride=5)
    house.commands.rollback("shop")


def rollback_called_off(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30, stride=5)
    house.runtime.sick.add("shop-1")
    house.commands.rollback("shop")
    house.settle()
    house.commands.abort("shop")


def lost_replicas(house: House) -> None:
    house.live("shop:v1", replicas=3)
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    house.runtime.wanted["shop-1"] = 1


def forgetful_front_door(house: House) -> None:
    house.live("shop:v1")
    house.runtime.sick.add("shop-2")
    house.apply("shop:v2")
    house.settle()
    house.door.tables.clear()


def removal(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.commands.remove("shop")


def removal_with_a_gate_that_runs(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    house.commands.remove("shop")


# With the state in which each of them is after 75 s.
STORIES: dict[Story, str] = {
    first: "done",
    first_that_fails: "undone",
    promotion: "done",
    beside_another: "done",
    failed_gate: "undone",
    invalid_then_held: "held",
    held_then_promoted: "done",
    braked_gate: "held",
    aborted_gate: "undone",
    crashing_twin: "done",
    too_many_errors: "undone",
    crashing_green: "undone",
    without_guests: "unvisited(10)",
    paused: "shifting(10)",
    superseded: "done",
    superseded_while_baking: "done",
    warm_rollback: "undone",
    cold_rollback: "done",
    rollback_called_off: "undone",
    lost_replicas: "gating",
    forgetful_front_door: "warming",
    removal: "gone",
    removal_with_a_gate_that_runs: "gone",
}


@pytest.mark.parametrize("how", ["killed before it", "refused after it"])
@pytest.mark.parametrize("story", STORIES)
def test_the_end_is_the_same_wherever_the_control_plane_breaks(
    story: Story, how: str, make_house: Callable[[Fault], House], never: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, steps, began = tell(story, make_house, never, monkeypatch)
    assert state(undisturbed) == STORIES[story]
    assert len(steps) == never.made > began

    for call in worth_striking(steps, began):
        error = type(never.error)() if how == "killed before it" else DriverUnavailable("no answer", fix="wait")
        house = make_house(replace(never, at=call, error=error, afterwards=how == "refused after it", made=0))
        story(house)
        house.run(75, stride=15)
        assert ends(house) == ends(undisturbed), f"broken at call {call}, {steps[call]}"


def test_every_call_of_every_kind_of_action_is_struck(
    make_house: Callable[[Fault], House], never: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: dict[str, set[str]] = {kind.__name__: set() for kind in get_args(Action)}
    for story in STORIES:
        _, steps, began = tell(story, make_house, replace(never, made=0), monkeypatch)
        for kind, name in (steps[call] for call in worth_striking(steps, began)):
            struck[kind].add(name)

    assert set(CALLS) == set(struck)
    assert {kind: calls - struck[kind] for kind, calls in CALLS.items() if calls - struck[kind]} == {}


def tell(
    story: Story, make_house: Callable[[Fault], House], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> tuple[House, list[Step], int]:
    """The story to its end, every call that changes something, and how many of them a person's commands were."""
    steps: list[Step] = []
    kind, follow, around = "", tick.follow, fault.around

    def decided(deployment: Deployment, action: Action, seen: Observation) -> Deployment:
        nonlocal kind
        kind = type(action).__name__
        return follow(deployment, action, seen)

    def listening(act: Callable[..., Any]) -> Callable[..., Any]:
        struck = around(act)

        def call(*arguments: object, **named: object) -> Any:
            steps.append((kind, act.__qualname__.removeprefix("Memory")))
            return struck(*arguments, **named)

        return call

    with monkeypatch.context() as listened:
        listened.setattr(tick, "follow", decided)
        listened.setattr(fault, "around", listening)
        house = make_house(fault)
        story(house)
        began = fault.made
        house.run(75, stride=15)
    return house, steps, began


def worth_striking(steps: list[Step], began: int) -> Iterator[int]:
    """All calls, but of those that only tell the front door again what it knows, the first of each row of them."""
    again = ("Wait", "FrontDoor.publish")
    return (n for n in range(began, len(steps)) if steps[n] != again or steps[n - 1] != again)


def state(house: House) -> str:
    return house.state() if house.exists() else "gone"


def ends(house: House) -> dict[str, object]:
    return {name: house.end(name) for name in ("shop", "other")}


# What a look does not show


def test_a_front_door_that_forgot_everything_while_green_starts_is_told_of_blue(house: House) -> None:
    forgetful_front_door(house)
    house.settle()

    assert house.state() == "warming"
    assert house.weights() == {"shop-1": 100}


def test_a_first_revision_that_failed_leaves_its_route_to_another_deployment(house: House) -> None:
    first_that_fails(house)
    house.run(1)
    assert house.door.tables == {}

    house.gate.outcome = Outcome.PASS
    house.apply("other:v1", route=Route(prefix="/shop", host="shop.localhost"))
    house.run(1)
    assert list(house.door.tables) == ["other"]


def test_a_replica_that_one_look_misses_does_not_outlive_its_deployment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    house.commands.remove("shop")
    house.loop.tick()  # no more traffic

    def nothing() -> list[Replica]:
        return []

    with monkeypatch.context() as blind:
        blind.setattr(house.runtime, "replicas", nothing)
        house.loop.tick()

    assert not house.exists()
    assert house.replicas() == {}


@pytest.mark.parametrize("broken", ["gate", "green", "store"])
def test_what_serves_is_kept_up_whatever_a_rollout_waits_for(
    house: House, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    house.live("shop:v1")
    if broken == "store":
        house.apply("shop:v2", strategy=Strategy(step_wait=timedelta(seconds=60), step_requests=0))
        house.run(2)
    refuse = _refusing(house, monkeypatch)
    if broken == "store":
        refuse(house.store, "save", lambda *_: True)
    elif broken == "gate":
        refuse(house.gate, "start", lambda *_: True)
    else:
        refuse(house.runtime, "start", lambda wanted: wanted.name == "shop-2")
    if broken != "store":
        house.apply("shop:v2")
    house.run(60)

    del house.runtime.wanted["shop-1"]
    house.run(2)

    assert house.replicas()["shop-1"] == 1
    assert house.weights()["shop-1"] > 0


def _refusing(house: House, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str, Callable[..., bool]], None]:
    def refuse(part: Any, act: str, when: Callable[..., bool]) -> None:
        real = getattr(part, act)

        def call(*arguments: Any, **named: Any) -> Any:
            if when(*arguments):
                raise DriverUnavailable("no space left", fix="make room")
            return real(*arguments, **named)

        monkeypatch.setattr(part, act, call)

    return refuse


def test_a_step_that_stores_nothing_is_not_taken_either_when_a_command_was_faster(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.settle()
    table = house.door.tables["shop"]
    house.door.tables["shop"] = replace(table, weights={"shop-1": 100})  # 10 % on green is stored, and not in force
    look = house.door.look

    def abort_first(*arguments: Any, **named: Any) -> Any:
        monkeypatch.undo()
        house.commands.abort("shop")
        return look(*arguments, **named)

    monkeypatch.setattr(house.door, "look", abort_first)
    house.loop.tick()
    assert house.weights() == {"shop-1": 100}

    house.settle()
    assert (house.state(), house.weights()) == ("undone", {"shop-1": 100})
