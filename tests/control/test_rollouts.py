"""Whole rollouts, from a person's wish to their end, as the history tells them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from noren.domain.deployment import Gates, LoadGate, Route, Strategy
from noren.domain.errors import Conflict, NotFound
from noren.domain.observation import Counts
from noren.domain.verdict import Outcome

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.control.conftest import House


def since(house: House, first: str) -> list[str]:
    """The history from the line that begins so."""
    lines = house.history()
    return lines[next(i for i, line in enumerate(lines) if line.startswith(first)) :]


def test_the_first_deployment_gets_all_traffic_at_once_after_its_gate(house: House) -> None:
    house.apply("shop:v1")
    house.run(1)

    assert house.history() == [
        "0 apply: shop-1: shop:v1",
        "0 state: shop-1: warming",
        "0 rungate: gate of shop-1, attempt 1",
        "0 state: shop-1: gating",
        "0 judge: PASS: as the test says",
        "0 shift: traffic: shop-1 100 %",
        "0 state: shop-1: baking",
        "0 state: shop-1: done",
    ]
    assert house.weights() == {"shop-1": 100}
    assert house.replicas() == {"shop-1": 1}


def test_a_promotion_shifts_step_by_step_bakes_and_then_stops_blue(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30)

    assert since(house, "12 apply") == [
        "12 apply: shop-2: shop:v2",
        "12 state: shop-2: warming",
        "12 state: shop-2: gating",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 1",
        "12 judge: PASS: as the test says",
        "12 shift: traffic: shop-2 10 %, shop-1 90 %",
        "12 state: shop-2: shifting(10)",
        "17 shift: traffic: shop-2 50 %, shop-1 50 %",
        "17 state: shop-2: shifting(50)",
        "22 shift: traffic: shop-2 100 %",
        "22 state: shop-2: baking",
        "32 stop: stopping shop-1",
        "32 state: shop-2: done",
    ]
    assert house.weights() == {"shop-2": 100}
    assert house.replicas() == {"shop-2": 1}
    now = house.deployment()
    assert now.live
    assert now.previous
    assert (now.live.name, now.previous.name) == ("shop-2", "shop-1")


def test_blue_keeps_its_full_size_until_the_bake_ends(house: House) -> None:
    house.live("shop:v1", replicas=3)
    house.apply("shop:v2")
    for _ in range(20):
        house.runtime.wanted["shop-1"] = 1  # two of its three replicas die
        house.settle()
        assert house.replicas()["shop-1"] == 3
        house.run(1)
    house.run(5)
    assert house.replicas() == {"shop-2": 1}


def test_a_failed_gate_leaves_guests_with_blue_and_removes_green(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v2")
    house.run(3)

    assert since(house, "12 apply") == [
        "12 apply: shop-2: shop:v2",
        "12 state: shop-2: warming",
        "12 state: shop-2: gating",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 1",
        "12 judge: FAIL: as the test says",
        "12 fail: shop-2 failed its gate: as the test says",
        "12 state: shop-2: undoing",
        "12 state: shop-2: undone",
    ]
    assert house.weights() == {"shop-1": 100}
    assert house.replicas() == {"shop-1": 1}
    assert [v.outcome for v in house.store.verdicts("shop")] == [Outcome.PASS, Outcome.FAIL]


def test_a_failed_first_deployment_leaves_nothing_behind_and_can_be_applied_again(house: House) -> None:
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v1")
    house.run(3)
    assert (house.state(), house.weights(), house.replicas()) == ("undone", {}, {})

    house.gate.outcome = Outcome.PASS
    again = house.apply("shop:v1")
    house.run(3)
    assert again.number == 2
    assert (house.state(), house.weights()) == ("done", {"shop-2": 100})


def test_a_measurement_that_is_invalid_three_times_is_held_for_a_person_who_may_promote(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.INVALID
    house.apply("shop:v2")
    house.run(60)

    assert since(house, "12 state: shop-2: gating") == [
        "12 state: shop-2: gating",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 1",
        "12 judge: INVALID: as the test says",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 2",
        "12 judge: INVALID: as the test says",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 3",
        "12 judge: INVALID: as the test says",
        "12 hold: no valid measurement in 3 attempts: as the test says",
        "12 state: shop-2: held",
    ]
    assert house.weights() == {"shop-1": 100}

    house.commands.promote("shop")
    house.run(40)
    assert since(house, "72")[:3] == [
        "72 promote: promote shop",
        "72 shift: traffic: shop-2 10 %, shop-1 90 %",
        "72 state: shop-2: shifting(10)",
    ]
    assert (house.state(), house.weights()) == ("done", {"shop-2": 100})


def test_a_held_rollout_that_nobody_decides_is_undone_in_time(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.HOLD
    house.apply("shop:v2", strategy=Strategy(hold_within=timedelta(seconds=20)))
    house.run(19)
    assert house.state() == "held"

    house.run(2)
    assert house.state() == "undone"
    assert house.weights() == {"shop-1": 100}
    assert since(house, "32")[0] == "32 fail: nobody decided within 0:00:20"


def test_a_gate_without_a_verdict_in_time_is_stopped_and_tried_again(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2", strategy=Strategy(gate_within=timedelta(seconds=10)))
    house.run(35)

    assert len(house.gate.lost) == 3
    assert since(house, "12 state: shop-2: gating") == [
        "12 state: shop-2: gating",
        "12 rungate: gate of shop-2 against shop-1_twin, attempt 1",
        "22 rungate: gate of shop-2 against shop-1_twin, attempt 2",
        "32 rungate: gate of shop-2 against shop-1_twin, attempt 3",
        "42 hold: no valid measurement in 3 attempts: the gate ended without a verdict: it was stopped",
        "42 state: shop-2: held",
    ]


def test_a_rollback_while_blue_is_warm_moves_only_weights(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(15)
    assert house.state() == "baking"

    house.commands.rollback("shop")
    house.settle()

    assert since(house, "27 rollback") == [
        "27 rollback: rollback shop",
        "27 shift: traffic: shop-1 100 %",
        "27 state: shop-2: undone",
    ]
    assert house.weights() == {"shop-1": 100}
    assert house.replicas() == {"shop-1": 1}
    live = house.deployment().live
    assert live
    assert live.name == "shop-1"


def test_a_rollback_to_a_cold_revision_starts_it_and_asks_no_gate_again(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30)
    house.gate.outcome = Outcome.FAIL

    house.commands.rollback("shop")
    house.run(15)

    assert since(house, "42 rollback") == [
        "42 rollback: rollback shop",
        "42 state: shop-1: warming",
        "42 shift: traffic: shop-1 100 %",
        "42 state: shop-1: baking",
        "52 stop: stopping shop-2",
        "52 state: shop-1: done",
    ]
    assert house.weights() == {"shop-1": 100}


def test_a_rollback_goes_to_the_revision_of_any_number(house: House) -> None:
    for bento in ("shop:v1", "shop:v2", "shop:v3"):
        house.live(bento, strategy=Strategy(steps=(100,), bake=timedelta(0)))

    house.commands.rollback("shop", 1)
    house.run(1)

    assert house.weights() == {"shop-1": 100}
    with pytest.raises(NotFound, match="no revision 9"):
        house.commands.rollback("shop", 9)
    with pytest.raises(Conflict, match="is the live revision"):
        house.commands.rollback("shop", 1)


def test_a_rollback_of_a_rollback_comes_back(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30)
    for expected in ("shop-1", "shop-2"):
        house.commands.rollback("shop")
        house.run(15)
        assert house.weights() == {expected: 100}


def test_a_newer_revision_supersedes_a_rollout_that_has_not_switched(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    assert house.state() == "shifting(50)"

    house.apply("shop:v3")
    house.settle()

    assert since(house, "18 apply") == [
        "18 apply: shop-3: shop:v3",
        "18 fail: superseded by revision 3",
        "18 state: shop-2: undoing",
        "18 shift: traffic: shop-1 100 %",
        "18 state: shop-2: undone",
        "18 state: shop-3: starting",
        "18 state: shop-3: warming",
        "18 state: shop-3: gating",
        "18 rungate: gate of shop-3 against shop-1_twin, attempt 1",
        "18 judge: PASS: as the test says",
        "18 shift: traffic: shop-3 10 %, shop-1 90 %",
        "18 state: shop-3: shifting(10)",
    ]
    house.run(25)
    assert house.weights() == {"shop-3": 100}
    assert house.replicas() == {"shop-3": 1}


def test_of_many_revisions_applied_during_a_rollout_only_the_last_is_rolled_out(house: House) -> None:
    house.live("shop:v1")
    for bento in ("shop:v2", "shop:v3", "shop:v4"):
        house.apply(bento)
    house.run(30)

    assert house.weights() == {"shop-4": 100}
    assert "shop-3" not in house.runtime.ever
    assert [r.number for r in house.store.revisions("shop")] == [1, 2, 3, 4]


def test_blue_is_stopped_when_the_rollout_says_and_nothing_is_said_where_nobody_waits(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(15)
    baking = house.deployment().active
    assert baking
    assert replace(baking, rushed=True).warm_until is None

    house.run(10)
    stopped = {event.message: event.at for event in house.store.events("shop") if event.kind == "stop"}
    assert stopped["stopping shop-1"] == baking.warm_until


def test_a_revision_applied_while_baking_ends_the_bake_and_takes_green_as_its_blue(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(12)
    assert house.state() == "baking"

    house.apply("shop:v3")
    house.settle()

    assert "24 rungate: gate of shop-3 against shop-2_twin, attempt 1" in house.history()
    live = house.deployment().live
    assert live
    assert live.name == "shop-2"


def test_an_aborted_rollout_is_undone_with_the_reason(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(2)
    house.commands.abort("shop")
    house.settle()

    assert since(house, "14 abort") == [
        "14 abort: abort shop",
        "14 shift: traffic: shop-1 100 %",
        "14 state: shop-2: undone",
    ]
    rollout = house.deployment().rollout
    assert rollout
    assert rollout.failure == "aborted by a person"


def test_abort_ends_a_gate_that_runs(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.run(1)
    house.commands.abort("shop")
    house.settle()

    assert house.state() == "undone"
    assert len(house.gate.lost) == 1


def test_a_paused_rollout_moves_no_traffic_until_it_is_resumed(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.pause("shop")
    house.run(100)
    assert house.weights() == {"shop-2": 10, "shop-1": 90}

    house.commands.resume("shop")
    house.settle()
    assert house.weights() == {"shop-2": 50, "shop-1": 50}


def test_a_paused_green_with_too_many_errors_is_undone_all_the_same(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.pause("shop")
    house.door.counts["shop-2"] = Counts(requests=100, errors=50)
    house.settle()

    assert house.state() == "undone"
    assert "13 fail: shop-2 answered 50 of 100 guests with 5xx (limit 1.00%)" in house.history()


def test_promote_skips_the_waiting_that_is_left(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.promote("shop")
    house.settle()

    assert since(house, "13 promote") == [
        "13 promote: promote shop",
        "13 shift: traffic: shop-2 100 %",
        "13 state: shop-2: baking",
        "13 stop: stopping shop-1",
        "13 state: shop-2: done",
    ]


def test_a_green_that_crashes_during_its_steps_is_undone(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.runtime.broken["shop-2"] = "MemoryError"
    house.settle()

    assert "13 fail: shop-2 keeps crashing: MemoryError" in house.history()
    assert house.end() == (
        "undone",
        "shop-2 keeps crashing: MemoryError",
        house.deployment().live,
        None,
        None,
        {"shop-1": 100},
        {"shop-1": 1},
    )


def test_a_green_that_gets_sick_after_the_switch_gives_way_to_the_warm_blue(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(12)
    house.runtime.sick.add("shop-2")
    house.settle()

    assert "24 fail: shop-2 became unhealthy after the switch" in house.history()
    assert house.weights() == {"shop-1": 100}


def test_blue_is_stopped_only_when_its_last_guest_has_gone_or_the_time_to_drain_is_over(house: House) -> None:
    house.live("shop:v1")
    strategy = Strategy(steps=(100,), bake=timedelta(seconds=2), drain_within=timedelta(seconds=8))
    house.apply("shop:v2", strategy=strategy)
    house.settle()
    house.door.in_flight["shop-1"] = 1
    house.run(7)
    assert house.replicas() == {"shop-1": 1, "shop-2": 1}

    house.run(1)
    assert house.replicas() == {"shop-2": 1}


def test_without_any_gate_green_goes_straight_to_its_first_step(house: House) -> None:
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v1", gates=Gates(smoke=False, load=LoadGate(enabled=False)))
    house.settle()

    assert house.weights() == {"shop-1": 100}
    assert house.gate.runs == {}


def test_a_live_revision_that_loses_a_replica_gets_it_back_without_a_rollout(house: House) -> None:
    house.live("shop:v1", replicas=2)
    house.runtime.wanted.clear()
    house.settle()

    assert house.replicas() == {"shop-1": 2}
    assert house.weights() == {"shop-1": 100}


def test_a_front_door_that_forgot_everything_is_told_again(house: House) -> None:
    house.live("shop:v1")
    house.door.tables.clear()
    house.settle()

    assert house.weights() == {"shop-1": 100}


def test_replicas_of_a_revision_that_nobody_wants_are_stopped(house: House) -> None:
    live = house.live("shop:v1")
    house.runtime.start(replace(live, number=99))
    house.settle()

    assert house.replicas() == {"shop-1": 1}


def test_green_is_reached_where_guests_find_blue_until_it_has_all_traffic(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2", route=Route(prefix="/new", host="new.localhost"))
    house.run(6)
    assert house.door.tables["shop"].route.prefix == "/shop"

    house.run(10)
    assert house.door.tables["shop"].route.prefix == "/new"


def test_the_gate_is_given_both_arms_and_the_examples_of_green(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2", route=Route(prefix="/new", host="new.localhost"))
    house.settle()

    run = next(run for run in house.gate.runs.values() if run.blue)
    assert run.green_url == run.blue_url == "http://127.0.0.1:7480/shop"
    assert run.headers == {"green": {"x-noren-revision": "shop-2"}, "blue": {"x-noren-revision": "shop-1_twin"}}
    assert [example["path"] for example in run.examples] == ["/predict"]


def test_green_is_judged_beside_a_twin_of_blue_that_only_the_gate_can_reach(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()

    run = next(run for run in house.gate.runs.values() if run.blue)
    assert (run.blue and run.blue.name, run.degraded) == ("shop-1_twin", "")
    assert house.replicas() == {"shop-1": 1, "shop-2": 1, "shop-1_twin": 1}
    assert set(house.door.tables["shop"].backends) == {"shop-1", "shop-2", "shop-1_twin"}
    assert house.weights() == {"shop-1": 100}

    house.gate.give(run.name, Outcome.PASS)
    house.settle()
    assert house.replicas() == {"shop-1": 1, "shop-2": 1}
    assert set(house.door.tables["shop"].backends) == {"shop-1", "shop-2"}


def test_a_twin_that_crashes_leaves_a_verdict_that_says_so(house: House) -> None:
    house.live("shop:v1")
    house.runtime.broken["shop-1_twin"] = "no such file"
    house.apply("shop:v2")
    house.settle()

    verdict = house.store.verdicts("shop")[-1]
    assert (verdict.outcome, verdict.degraded) == (Outcome.PASS, "a copy of it keeps crashing: no such file")
    assert any("against shop-1, attempt 1, which serves guests meanwhile" in line for line in house.history())
    assert "shop-1_twin" not in house.replicas()


def test_a_load_test_that_guests_suffer_from_is_stopped_and_left_to_a_person(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    house.door.counts["shop-1"] = Counts(requests=100, errors=50)
    house.run(5)

    assert house.state() == "held"
    assert "the load test was stopped: shop-1 answered 50 of 100 guests with 5xx" in house.history()[-3]
    assert len(house.gate.lost) == 1
    assert house.replicas() == {"shop-1": 1, "shop-2": 1}
    house.commands.promote("shop")
    house.run(30)
    assert house.state() == "done"


def test_a_step_without_guests_goes_on_when_they_come(house: House) -> None:
    house.live("shop:v1")
    strategy = Strategy(step_wait=timedelta(seconds=5), bake=timedelta(seconds=10))
    house.apply("shop:v2", strategy=strategy)
    house.run(10)
    assert house.state() == "unvisited(10)"
    house.door.counts["shop-2"] = Counts(requests=20)
    house.settle()
    assert house.state() == "shifting(50)"
    house.run(10)
    assert house.state() == "unvisited(50)"
    house.commands.promote("shop")
    house.settle()
    assert house.weights() == {"shop-2": 100}


def test_a_removed_deployment_has_no_traffic_no_replicas_and_no_row(house: House) -> None:
    house.live("shop:v1")
    house.live("other:v1")
    house.commands.remove("shop")
    with pytest.raises(Conflict, match="is being removed"):
        house.apply("shop:v2")
    house.settle()

    assert not house.exists()
    assert house.replicas() == {"other-1": 1}
    assert list(house.door.tables) == ["other"]


def test_a_deployment_removed_during_its_rollout_is_removed_with_both_revisions(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.commands.remove("shop")
    house.settle()

    assert house.end() == ("gone", {}, {})


def test_removal_ends_a_gate_that_runs_and_no_other_command_is_taken_any_more(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    house.commands.remove("shop")
    with pytest.raises(Conflict, match="is being removed"):
        house.commands.rollback("shop")
    house.settle()

    assert len(house.gate.lost) == 1
    assert house.end() == ("gone", {}, {})


def test_a_removed_deployment_can_be_made_again(house: House) -> None:
    house.live("shop:v1")
    house.commands.remove("shop")
    house.settle()
    made = house.live("shop:v2")

    assert made.number == 1
    assert house.weights() == {"shop-1": 100}


def test_load_tests_take_turns(house: House) -> None:
    house.gate.outcome = None
    house.apply("shop:v1")
    house.apply("tea:v1")
    house.run(2)
    (first,) = house.gate.runs.values()

    house.gate.give(first.name, Outcome.PASS)
    house.run(2)

    other = {"shop": "tea", "tea": "shop"}[first.green.deployment]
    assert house.state(first.green.deployment) == "done"
    assert [run.green.deployment for run in house.gate.runs.values()][1:] == [other]
