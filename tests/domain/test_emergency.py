"""Blue is broken while green is healthy: absolute limits decide, and green gets all traffic at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from noren.domain import commands
from noren.domain.actions import Fail, Hold, Judge, RunGate, Shift, Start, Stop, StopGate, Wait
from noren.domain.commands import Deployment
from noren.domain.decide import decide
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Strategy
from noren.domain.observation import Counts, GateState, Lost, Observation
from noren.domain.rollout import Rollout, record
from noren.domain.verdict import Outcome, Verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE = Revision(
    deployment="shop",
    number=1,
    bento="shop:v1",
    route=Route(prefix="/shop", host="shop.localhost"),
    strategy=Strategy(step_wait=timedelta(seconds=5), bake=timedelta(seconds=10)),
)
GREEN = replace(BLUE, number=2, bento="shop:v2")
TWIN = replace(BLUE, twin=True)
READY = Rollout(green=GREEN, blue=BLUE, started_at=NOON, running_at=NOON, ready_at=NOON, emergency=1)
ALL = Shift({"shop-2": 100}, 2)


def seen(
    *,
    gate: GateState | Lost | Verdict = GateState.ABSENT,
    blue: int = 0,
    twin: int = 0,
    on_green: int = 0,
    counts: dict[str, Counts] | None = None,
    now: datetime = NOON,
) -> Observation:
    """Green is ready; of blue everything runs, and `blue` replicas answer."""
    there = {"shop-1": 1, "shop-2": 1} | ({"shop-1_twin": twin} if twin else {})
    shares = {"shop-1": 100 - on_green, "shop-2": on_green}
    return Observation(
        now=now,
        present=there,
        running=there,
        ready={"shop-1": blue, "shop-2": 1},
        weights={name: share for name, share in shares.items() if share},
        gate=gate,
        counts=counts or {},
    )


def verdict(outcome: Outcome, attempt: int = 1) -> Verdict:
    return Verdict(
        revision="shop-2", attempt=attempt, outcome=outcome, reason="because", started_at=NOON, ended_at=NOON
    )


def test_green_is_judged_alone_without_waiting_for_a_copy_of_blue() -> None:
    starting = replace(READY, ready_at=None)
    assert decide(starting, replace(seen(), ready={})) == Wait("shop-2 is starting")
    assert decide(starting, replace(seen(), running={})) == Start(GREEN)
    assert decide(READY, seen()) == RunGate(GREEN, None, 1)


def test_a_green_that_keeps_absolute_limits_gets_all_traffic_at_once_and_blue_stays_warm() -> None:
    judged = replace(READY, attempt=1, attempt_at=NOON, verdict=verdict(Outcome.PASS))
    assert decide(judged, seen()) == ALL
    switched = record(judged, ALL, seen())
    assert isinstance(decide(switched, seen(on_green=100)), Wait)  # the bake
    later = seen(on_green=100, now=NOON + timedelta(seconds=10))
    assert decide(switched, later) == Stop("shop-1")


@pytest.mark.parametrize(("outcome", "action"), [(Outcome.FAIL, Fail), (Outcome.HOLD, Hold)])
def test_a_green_that_does_not_keep_them_is_not_promoted(outcome: Outcome, action: type) -> None:
    judged = replace(READY, attempt=1, attempt_at=NOON, verdict=verdict(outcome))
    assert isinstance(decide(judged, seen()), action)


def test_an_emergency_ends_the_attempt_that_compares_and_begins_one_that_does_not() -> None:
    comparing = replace(READY, emergency=None, attempt=1, attempt_at=NOON)
    asked = commands.promote(Deployment(name="shop", live=BLUE, rollout=comparing), emergency=True).rollout
    assert asked
    assert decide(asked, seen(gate=GateState.RUNNING)) == StopGate("an emergency: green is judged alone")
    stopped = seen(gate=Lost("it was stopped"))
    alone = decide(asked, stopped)
    assert alone == RunGate(GREEN, None, 2)
    begun = record(asked, alone, stopped)
    assert decide(begun, seen()) == alone  # stored, and then killed before it was begun
    assert isinstance(decide(begun, seen(gate=GateState.RUNNING)), Wait)
    assert decide(begun, seen(gate=verdict(Outcome.PASS, 2))) == Judge(verdict(Outcome.PASS, 2))


def test_a_held_rollout_is_judged_again_alone_and_not_just_passed() -> None:
    held = replace(READY, emergency=None, attempt=3, attempt_at=NOON, verdict=verdict(Outcome.INVALID), held_at=NOON)
    asked = commands.promote(Deployment(name="shop", live=BLUE, rollout=held), emergency=True).rollout
    assert asked
    assert asked.phase == "gating"
    assert decide(asked, seen(gate=Lost())) == RunGate(GREEN, None, 4)


def test_a_rollout_that_has_passed_goes_on_to_all_traffic_without_steps_and_guests() -> None:
    waiting = replace(
        READY, emergency=None, attempt=1, verdict=verdict(Outcome.PASS), step=0, step_at=NOON, step_green=Counts()
    )
    assert isinstance(decide(waiting, seen(on_green=10)), Wait)
    asked = commands.promote(Deployment(name="shop", live=BLUE, rollout=waiting), emergency=True).rollout
    assert asked
    assert decide(asked, seen(on_green=10)) == ALL


def test_a_copy_of_blue_that_runs_already_is_ended_once_green_has_passed() -> None:
    judged = replace(READY, attempt=1, attempt_at=NOON, verdict=verdict(Outcome.PASS))
    assert decide(READY, seen(twin=1)) == RunGate(GREEN, None, 1)
    assert decide(judged, seen(twin=1)) == Stop("shop-1_twin")


def test_neither_the_guests_of_a_broken_blue_nor_a_comparison_with_it_stop_green() -> None:
    before = Counts(requests=1000)
    running = replace(READY, attempt=1, attempt_at=NOON, attempt_blue=before)
    suffering = seen(
        gate=GateState.RUNNING,
        counts={"shop-1": Counts(requests=2000, errors=900)},
        now=NOON + timedelta(seconds=30),
    )
    assert isinstance(decide(replace(running, emergency=None), suffering), Judge)
    assert decide(running, suffering) == Wait("the gate is running")

    shared = replace(
        READY, attempt=1, verdict=verdict(Outcome.PASS), step=0, step_at=NOON, step_green=Counts(), step_blue=Counts()
    )
    worse = {"shop-2": Counts(requests=1000, errors=9), "shop-1": Counts(requests=9000)}
    assert isinstance(decide(replace(shared, emergency=None), seen(on_green=10, counts=worse)), Fail)
    assert decide(shared, seen(on_green=10, counts=worse)) == ALL


def test_greens_own_limit_of_errors_still_holds() -> None:
    shared = replace(READY, attempt=1, verdict=verdict(Outcome.PASS), step=0, step_at=NOON, counted_from=Counts())
    faulty = seen(on_green=10, counts={"shop-2": Counts(requests=1000, errors=100)})
    assert isinstance(decide(shared, faulty), Fail)


def test_without_any_gate_green_gets_all_traffic_when_it_is_ready() -> None:
    ungated = replace(GREEN, gates=Gates(smoke=False, load=LoadGate(enabled=False)))
    assert decide(replace(READY, green=ungated), seen()) == ALL
