"""Who asked for what and why, and what it changed: in the history, and there for good."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from noren.control.audit import ANYBODY, Asker, snapshot
from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route
from noren.domain.errors import Conflict, NotFound, SpecError
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.control.conftest import House

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.x"))
GREEN = replace(BLUE, number=2, bento="shop:v2")
STARTED = Rollout(green=GREEN, blue=BLUE, started_at=NOON, ready_at=NOON)
ADA = Asker(who="ada", reason="friday")


def last(house: House, kind: str) -> Event:
    return next(event for event in reversed(house.store.history("shop")) if event.kind == kind)


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume", "rollback", "remove"])
def test_every_command_says_who_gave_it_and_why_and_what_it_changed(house: House, verb: str) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    if verb == "resume":
        house.commands.pause("shop")

    getattr(house.commands, verb)("shop", by=ADA)

    told = last(house, verb)
    assert (told.who, told.reason, told.claimed, told.at) == ("ada", "friday", True, house.clock)
    assert told.before != told.after or verb == "promote"
    assert told.after == snapshot(house.deployment())
    assert told.before["weights"] == {"shop-2": 10, "shop-1": 90}


def test_an_apply_says_who_and_why_and_the_first_one_has_nothing_before_it(house: House) -> None:
    house.build("shop:v1")
    house.commands.apply(BLUE, ADA)
    told = last(house, "apply")
    assert (told.who, told.reason, told.before) == ("ada", "friday", {})
    assert told.after == {"live": None, "weights": {}, "rollout": "shop-1", "phase": "starting", "step": None}


def test_a_command_of_nobody_in_particular_is_anonymous_and_norens_own_steps_are_norens(house: House) -> None:
    house.live("shop:v1")
    lines = house.store.history("shop")
    assert {(line.who, line.claimed) for line in lines if line.kind == "apply"} == {(ANYBODY.who, True)}
    assert {(line.who, line.claimed, line.reason) for line in lines if line.kind != "apply"} == {("", False, "")}


def test_each_step_of_noren_leads_from_the_state_that_the_one_before_led_to(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30)
    steps = [(line.before, line.after) for line in house.store.history("shop", limit=1000)]
    for earlier, later in pairwise(steps):  # lines of the same step have the same states
        assert later == earlier or later[0] == earlier[1]
    weights = [after["weights"] for _, after in steps]
    seen = [w for n, w in enumerate(weights) if n == 0 or w != weights[n - 1]]
    assert seen == [
        {},
        {"shop-1": 100},
        {"shop-2": 10, "shop-1": 90},
        {"shop-2": 50, "shop-1": 50},
        {"shop-2": 100},
    ]


def test_a_reason_is_part_of_why_a_rollout_was_undone(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.abort("shop", Asker(who="ada", reason="wrong model"))
    rollout = house.deployment().rollout
    assert rollout
    assert rollout.failure == "aborted by a person: wrong model"


def test_what_was_asked_for_in_vain_is_written_down_and_changes_nothing(house: House) -> None:
    house.live("shop:v1")
    before = house.deployment()
    with pytest.raises(Conflict):
        house.commands.pause("shop", ADA)

    told = last(house, "refused")
    assert told.message == "pause: no rollout of shop is under way, so there is nothing to pause"
    assert (told.who, told.reason, told.before, told.after) == ("ada", "friday", {}, {})
    assert house.deployment() == before


def test_a_wrong_wish_for_what_exists_is_written_down_too(house: House) -> None:
    house.live("shop:v1")
    with pytest.raises(NotFound):
        house.commands.rollback("shop", 9, ADA)
    assert last(house, "refused").message == "rollback: shop has no revision 9"
    with pytest.raises(SpecError):
        house.commands.promote("shop", Asker(who="ada"), emergency=True)
    assert last(house, "refused").message.startswith("promote: an emergency needs a reason")


def test_traffic_that_is_moved_without_a_new_decision_is_written_down_with_what_was_in_force(house: House) -> None:
    house.live("shop:v1")
    house.door.tables["shop"] = replace(house.door.tables["shop"], weights={})
    house.run(3)
    told = last(house, "shift")
    assert (told.message, told.before, told.after) == (
        "traffic: shop-1 100 %",
        {"weights": {}},
        {"weights": {"shop-1": 100}},
    )
    assert [line.kind for line in house.store.history("shop")].count("shift") == 2  # the other one was the promotion


def test_a_name_that_never_was_gets_no_history(house: House) -> None:
    with pytest.raises(NotFound):
        house.commands.pause("nosuch", ADA)
    assert house.store.history() == []


def test_an_emergency_without_a_reason_is_refused(house: House) -> None:
    house.live("shop:v1")
    house.build("shop:v2")
    with pytest.raises(SpecError, match="an emergency needs a reason"):
        house.commands.apply(GREEN, emergency=True)
    house.apply("shop:v2")
    with pytest.raises(SpecError, match="an emergency needs a reason"):
        house.commands.promote("shop", emergency=True)
    rollout = house.deployment().rollout
    assert rollout
    assert rollout.emergency is None


def test_an_emergency_is_audited_and_gets_a_healthy_green_past_a_broken_blue(house: House) -> None:
    first = house.live("shop:v1")
    house.runtime.sick.add("shop-1")
    house.runtime.broken["shop-1_twin"] = "it crashes"
    house.build("shop:v2")

    house.commands.apply(replace(first, bento="shop:v2"), Asker(who="ada", reason="blue is down"), emergency=True)
    house.run(12)

    assert (house.state(), house.weights()) == ("done", {"shop-2": 100})
    told = last(house, "apply")
    assert told.message == "shop-2: shop:v2, in an emergency: nothing is compared with blue"
    assert (told.who, told.reason, told.after["marks"]) == ("ada", "blue is down", ["emergency"])
    (run,) = [run for run in house.gate.runs.values() if run.green.name == "shop-2"]
    assert (run.blue, run.blue_url, run.emergency) == (None, None, True)
    assert run.green_url == "http://127.0.0.1:7480/shop"
    assert not [line for line in house.history() if "shop-2 10 %" in line]
    assert "shop-1_twin" not in house.runtime.ever


def test_a_held_rollout_is_judged_again_alone_when_a_person_calls_it_an_emergency(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.INVALID
    house.apply("shop:v2")
    house.run(1)
    assert house.state() == "held"

    house.gate.outcome = Outcome.PASS
    house.commands.promote("shop", Asker(reason="blue answers 500"), emergency=True)
    house.run(1)

    assert house.state() == "baking"
    assert [line for line in house.history() if "rungate" in line][-1] == "13 rungate: gate of shop-2, attempt 4"


def test_the_history_of_a_deleted_deployment_stays_and_has_its_end(house: House) -> None:
    house.live("shop:v1")
    house.commands.remove("shop", ADA)
    house.settle()

    assert not house.exists()
    *_, removed, gone = [line for line in house.store.history("shop") if line.kind in ("remove", "state")]
    assert (removed.kind, removed.who, removed.after["removed"]) == ("remove", "ada", True)
    assert (gone.message, gone.after) == ("shop: nothing of it is left", {})
    house.live("shop:v2")
    assert len([line for line in house.store.history("shop") if line.kind == "apply"]) == 2


def test_no_value_of_an_environment_variable_is_in_the_history(house: House) -> None:
    house.live("shop:v1", env={"TOKEN": "geheim"})
    house.apply("shop:v2", env={"TOKEN": "geheim"})
    house.run(30)
    assert "geheim" not in str(house.store.history(limit=1000))


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, {"shop-1": 100}),
        ({"step": 0}, {"shop-2": 10, "shop-1": 90}),
        ({"step": 2, "switched_at": NOON}, {"shop-2": 100}),
        ({"step": 0, "failure": "x"}, {"shop-2": 10, "shop-1": 90}),  # until it is sent back
        ({"step": 0, "failure": "x", "returned_at": NOON}, {"shop-1": 100}),
        ({"blue": None}, {}),
        ({"blue": None, "step": 2, "switched_at": NOON}, {"shop-2": 100}),
        ({"step": 2, "ended_at": NOON}, {"shop-1": 100}),
    ],
)
def test_a_snapshot_has_the_weights_that_the_front_door_was_told_last(
    changes: dict[str, Any], weights: dict[str, int]
) -> None:
    live = None if "blue" in changes else BLUE
    assert snapshot(Deployment(name="shop", live=live, rollout=replace(STARTED, **changes)))["weights"] == weights


def test_a_snapshot_says_what_a_person_did_to_the_rollout() -> None:
    marked = replace(STARTED, paused=True, emergency=2, step=1, step_at=NOON + timedelta(seconds=1))
    deployment = Deployment(name="shop", live=BLUE, rollout=marked, queued=replace(GREEN, number=3), removed=True)
    assert snapshot(deployment) == {
        "live": "shop-1",
        "weights": {"shop-2": 50, "shop-1": 50},
        "rollout": "shop-2",
        "phase": "shifting(50)",
        "step": 1,
        "queued": "shop-3",
        "removed": True,
        "marks": ["paused", "emergency"],
    }
