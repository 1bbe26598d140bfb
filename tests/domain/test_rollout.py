"""The rules of a rollout, on examples and against an obedient world from any start."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noren.domain.actions import Action, Fail, Finish, Hold, Judge, RunGate, Shift, Start, Stop, StopGate, Wait
from noren.domain.decide import decide, uphold
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Strategy
from noren.domain.observation import LADDER_MS, Counts, GateState, Lost, Observation
from noren.domain.rollout import Rollout, record
from noren.domain.verdict import Check, Outcome, Verdict, overall

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STRATEGY = Strategy(step_wait=5 * SECOND, step_requests=0, bake=10 * SECOND)
NO_TWIN = Gates(load=LoadGate(twin=False))


def revision(number: int, **changes: object) -> Revision:
    made = Revision(
        deployment="shop",
        number=number,
        bento=f"shop:v{number}",
        route=Route(prefix="/shop", host="shop.localhost"),
        gates=NO_TWIN,
        strategy=STRATEGY,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


BLUE, GREEN = revision(1), revision(2)
COMPARED = revision(2, gates=Gates())  # a green that asks for a twin of blue
TWIN = replace(BLUE, twin=True)
OFF = "gates.load.twin is off"


def verdict(outcome: Outcome, attempt: int = 1) -> Verdict:
    return Verdict(
        revision=GREEN.name, attempt=attempt, outcome=outcome, reason="because", started_at=NOON, ended_at=NOON
    )


def rollout(**changes: object) -> Rollout:
    return replace(Rollout(green=GREEN, blue=BLUE, started_at=NOON), **changes)  # type: ignore[arg-type]


def seen(
    *,
    now: datetime = NOON,
    green: int = 1,
    blue: int = 1,
    twin: int = 0,
    ready: int | None = None,
    on_green: int = 0,
    gate: GateState | Lost | Verdict = GateState.ABSENT,
    broken: str = "",
    counts: Counts | None = None,
    in_flight: dict[str, int] | None = None,
) -> Observation:
    """A world where `green` and `blue` replicas run and answer, and green has `on_green` per cent."""
    running = {GREEN.name: green, BLUE.name: blue, TWIN.name: twin}
    weights = {name: share for name, share in ((GREEN.name, on_green), (BLUE.name, 100 - on_green)) if share}
    return Observation(
        now=now,
        present=running,
        running=running,
        ready=running | ({GREEN.name: ready} if ready is not None else {}),
        broken={GREEN.name: broken} if broken else {},
        weights=weights,
        gate=gate,
        counts={GREEN.name: counts} if counts else {},
        in_flight=in_flight or {},
    )


def passed(**changes: object) -> Rollout:
    return rollout(attempt=1, ready_at=NOON, running_at=NOON, verdict=verdict(Outcome.PASS), **changes)


def test_green_is_started_first() -> None:
    assert decide(rollout(), seen(green=0)) == Start(GREEN)


def test_green_that_is_not_ready_in_time_fails() -> None:
    late = NOON + STRATEGY.ready_within
    assert isinstance(decide(rollout(), seen(ready=0)), Wait)
    assert isinstance(decide(rollout(), seen(ready=0, now=late)), Fail)


def test_a_green_that_keeps_crashing_fails_with_its_last_words() -> None:
    assert decide(rollout(), seen(ready=0, broken="ImportError: x")) == Fail("shop-2 keeps crashing: ImportError: x")


def test_the_gate_runs_once_green_is_ready_and_is_asked_by_the_same_name_after_a_crash() -> None:
    first = decide(rollout(), seen())
    assert first == RunGate(GREEN, BLUE, 1, OFF)
    stored = record(rollout(), first, seen())
    assert decide(stored, seen()) == first  # stored, and then killed before it was begun
    assert isinstance(decide(stored, seen(gate=GateState.RUNNING)), Wait)


def test_load_tests_of_two_rollouts_run_one_after_the_other() -> None:
    others = replace(seen(), gate_busy=True)
    assert isinstance(decide(rollout(), others), Wait)
    assert isinstance(decide(rollout(attempt=1, verdict=verdict(Outcome.INVALID)), others), Wait)
    without = replace(GREEN, gates=replace(NO_TWIN, load=LoadGate(twin=False, enabled=False)))
    assert isinstance(decide(rollout(green=without), others), RunGate)


def test_a_verdict_is_stored_before_anything_follows_from_it() -> None:
    running = rollout(attempt=1, attempt_at=NOON, ready_at=NOON)
    action = decide(running, seen(gate=verdict(Outcome.PASS)))
    assert action == Judge(verdict(Outcome.PASS))
    stored = record(running, action, seen())
    assert decide(stored, seen()) == Shift({GREEN.name: 10, BLUE.name: 90}, 0)


def test_a_failed_gate_leaves_blue_serving_and_removes_green() -> None:
    failed = rollout(attempt=1, ready_at=NOON, verdict=verdict(Outcome.FAIL))
    action = decide(failed, seen())
    assert action == Fail("shop-2 failed its gate: because")
    undoing = record(failed, action, seen())
    assert decide(undoing, seen()) == Stop(GREEN.name)
    assert decide(undoing, seen(green=0)) == Finish(succeeded=False)


def test_an_invalid_measurement_is_repeated_twice_and_then_held() -> None:
    current, attempts = rollout(attempt=1, ready_at=NOON, verdict=verdict(Outcome.INVALID)), []
    while isinstance(action := decide(current, seen()), RunGate):
        attempts.append(action.attempt)
        current = replace(record(current, action, seen()), verdict=verdict(Outcome.INVALID, action.attempt))
    assert attempts == [2, 3]
    assert isinstance(action, Hold)
    assert record(current, action, seen()).phase == "held"


def test_a_gate_that_died_is_run_again_and_one_that_never_ends_is_stopped_first() -> None:
    current = rollout(attempt=1, attempt_at=NOON, ready_at=NOON)
    assert decide(current, seen(gate=Lost())) == RunGate(GREEN, BLUE, 2, OFF)
    late = NOON + STRATEGY.gate_within
    assert isinstance(decide(current, seen(gate=GateState.RUNNING, now=late)), StopGate)


def test_a_held_rollout_waits_for_a_person_but_not_for_ever() -> None:
    held = rollout(attempt=1, ready_at=NOON, verdict=verdict(Outcome.HOLD), held_at=NOON)
    assert isinstance(decide(held, seen()), Wait)
    assert decide(replace(held, approved=True), seen()) == Shift({GREEN.name: 10, BLUE.name: 90}, 0)
    assert isinstance(decide(held, seen(now=NOON + STRATEGY.hold_within)), Fail)


def test_each_step_is_watched_before_the_next() -> None:
    at_10 = passed(step=0, step_at=NOON)
    assert isinstance(decide(at_10, seen(on_green=10)), Wait)
    later = NOON + STRATEGY.step_wait
    assert decide(at_10, seen(on_green=10, now=later)) == Shift({GREEN.name: 50, BLUE.name: 50}, 1)


def test_a_step_that_was_stored_but_not_carried_out_is_carried_out() -> None:
    assert decide(passed(step=1, step_at=NOON), seen(on_green=10)) == Shift({GREEN.name: 50, BLUE.name: 50}, 1)


def test_a_paused_rollout_does_not_move_but_still_fails() -> None:
    paused = passed(step=0, step_at=NOON, paused=True)
    later = NOON + 10 * STRATEGY.step_wait
    assert isinstance(decide(paused, seen(on_green=10, now=later)), Wait)
    assert isinstance(decide(paused, seen(on_green=10, ready=0)), Fail)


def test_errors_of_guests_fail_the_rollout_and_those_before_its_first_guest_do_not_count() -> None:
    shifting = passed(step=0, step_at=NOON, counted_from=Counts(requests=1000, errors=500))
    few = Counts(requests=1010, errors=510)
    one = Counts(requests=1050, errors=501)
    many = Counts(requests=1100, errors=505)
    assert isinstance(decide(shifting, seen(on_green=10, counts=few)), Wait)
    assert isinstance(decide(shifting, seen(on_green=10, counts=one)), Wait)
    assert isinstance(decide(shifting, seen(on_green=10, counts=many)), Fail)


def test_a_green_with_more_than_its_part_of_the_errors_is_undone_though_it_keeps_its_limit() -> None:
    before = replace(
        seen(on_green=0), counts={GREEN.name: Counts(requests=7), BLUE.name: Counts(requests=50, errors=9)}
    )
    shifting = record(passed(), Shift({GREEN.name: 10, BLUE.name: 90}, 0), before)

    def after(green: int, blue: int, on_green: int = 10) -> Action:
        counts = {
            GREEN.name: Counts(requests=7 + 1000, errors=green),
            BLUE.name: Counts(requests=50 + 9000, errors=9 + blue),
        }
        return decide(shifting, replace(seen(on_green=on_green), counts=counts))

    said = "shop-2 answered 9 of 1000 guests with 5xx at 10 % of the traffic, shop-1 1 of 9000"
    assert after(9, 1) == Fail(said)
    assert isinstance(after(9, 80), Wait)  # what hits both alike is not green's doing
    assert isinstance(after(1, 0), Wait)
    assert after(9, 1, on_green=0) == Shift({GREEN.name: 10, BLUE.name: 90}, 0)  # they do not share the traffic yet


def test_each_step_is_counted_anew_and_the_last_one_has_nobody_to_be_compared_with() -> None:
    counts = {GREEN.name: Counts(requests=100, errors=1), BLUE.name: Counts(requests=900)}
    at_50 = record(passed(step=0), Shift({GREEN.name: 50, BLUE.name: 50}, 1), replace(seen(on_green=10), counts=counts))
    assert (at_50.step_green, at_50.step_blue) == (counts[GREEN.name], counts[BLUE.name])
    at_100 = record(at_50, Shift({GREEN.name: 100}, 2), replace(seen(on_green=50), counts=counts))
    assert (at_100.step_green, at_100.step_blue) == (None, None)


def _slower(count: int, *, than_ms: int) -> tuple[int, ...]:
    return tuple(count if rung <= than_ms else 0 for rung in LADDER_MS)


def test_a_green_with_more_than_its_part_of_the_slow_answers_is_undone() -> None:
    figures = {"blue_ms": 100.0, "margin": 1.3}  # slow: over 130 ms, so over the rung of 150
    check = Check(name="p99", outcome=Outcome.PASS, detail="", figures=figures)
    judged = replace(verdict(Outcome.PASS), checks=(check,))
    shifting = passed(step=0, step_at=NOON, step_green=Counts(), step_blue=Counts())

    def after(green: Counts, blue: Counts) -> Action:
        counts = {GREEN.name: green, BLUE.name: blue}
        return decide(replace(shifting, verdict=judged), replace(seen(on_green=10), counts=counts))

    slow = Counts(requests=1000, slower=_slower(40, than_ms=200))
    said = "shop-2 answered 40 of 1000 guests in more than 130 ms at 10 % of the traffic, shop-1 90 of 9000"
    assert after(slow, Counts(requests=9000, slower=_slower(90, than_ms=200))) == Fail(said)
    assert isinstance(after(slow, Counts(requests=9000, slower=_slower(360, than_ms=200))), Wait)
    assert isinstance(after(replace(slow, slower=_slower(40, than_ms=100)), Counts(requests=9000)), Wait)
    counts = {GREEN.name: slow, BLUE.name: Counts(requests=9000)}  # no gate has said what is slow
    assert isinstance(decide(shifting, replace(seen(on_green=10), counts=counts)), Wait)


def test_a_step_waits_for_guests_says_so_and_gives_up_when_nobody_decides() -> None:
    green = revision(2, strategy=replace(STRATEGY, step_requests=20))
    at_10 = passed(green=green, step=0, step_at=NOON, step_green=Counts(requests=5), step_blue=Counts())
    later, at = NOON + STRATEGY.step_wait, {"on_green": 10}

    waits = decide(at_10, seen(now=later, counts=Counts(requests=24), **at))  # type: ignore[arg-type]
    assert waits == Wait("shop-2 has met 19 of 20 guests at 10 %: `noren promote` sends it all traffic without them")
    unvisited = record(at_10, waits, seen(now=later, **at))  # type: ignore[arg-type]
    assert (unvisited.phase, unvisited.unvisited_at) == ("unvisited(10)", later)

    enough = seen(now=later, counts=Counts(requests=25), **at)  # type: ignore[arg-type]
    assert decide(unvisited, enough) == Shift({GREEN.name: 50, BLUE.name: 50}, 1)
    assert record(unvisited, decide(unvisited, enough), enough).unvisited_at is None
    assert isinstance(decide(replace(unvisited, rushed=True), seen(now=later, **at)), Shift)  # type: ignore[arg-type]
    late = seen(now=later + STRATEGY.hold_within, **at)  # type: ignore[arg-type]
    assert decide(unvisited, late) == Fail("shop-2 has met 0 of 20 guests at 10 %, and nobody decided within 1:00:00")
    assert isinstance(decide(replace(unvisited, paused=True), late), Wait)


# The twin of blue


def test_green_is_compared_with_a_fresh_copy_of_blue_that_is_started_beside_it() -> None:
    r = rollout(green=COMPARED)
    assert decide(r, seen(green=0)) == Start(COMPARED)
    assert decide(r, seen(ready=0)) == Start(TWIN)
    assert decide(r, seen(ready=0, twin=1)) == Wait("shop-2 is starting")
    assert decide(r, seen()) == Start(TWIN)
    slow = replace(seen(twin=1), ready={GREEN.name: 1, BLUE.name: 1})
    assert decide(r, slow) == Wait("shop-1_twin, the copy to compare with, is starting")
    assert decide(r, seen(twin=1)) == RunGate(COMPARED, TWIN, 1)


@pytest.mark.parametrize("ended", [{"verdict": verdict(Outcome.PASS)}, {"held_at": NOON}, {"failure": "it failed"}])
def test_the_twin_goes_when_there_is_nothing_more_to_compare(ended: dict[str, object]) -> None:
    r = rollout(green=COMPARED, attempt=1, ready_at=NOON, **ended)
    assert decide(r, seen(twin=1)) == Stop(TWIN.name)


def test_without_a_twin_green_is_compared_with_blue_and_the_reason_is_told() -> None:
    r = rollout(green=COMPARED, ready_at=NOON)
    poor = replace(seen(), memory_bytes={BLUE.name: 100_000_000}, spare_bytes=110_000_000)
    reason = "110 MB of memory are to spare, and a copy of it asks for 120"
    assert decide(r, poor) == RunGate(COMPARED, BLUE, 1, reason)
    assert decide(r, replace(poor, spare_bytes=120_000_000)) == Start(TWIN)
    assert decide(r, replace(seen(twin=1), memory_bytes=poor.memory_bytes, spare_bytes=1)) == RunGate(COMPARED, TWIN, 1)
    unknown = "what memory it takes is not known"
    assert decide(r, replace(seen(), spare_bytes=1)) == RunGate(COMPARED, BLUE, 1, unknown)

    crashing = replace(seen(), broken={TWIN.name: "no such file"})
    assert decide(r, crashing) == RunGate(COMPARED, BLUE, 1, "a copy of it keeps crashing: no such file")
    at = NOON + STRATEGY.ready_within
    late = replace(seen(now=at, twin=1), ready={GREEN.name: 1, BLUE.name: 1})
    assert decide(r, late) == RunGate(COMPARED, BLUE, 1, "a copy of it was not ready within 0:10:00")
    died = replace(r, attempt=1, verdict=replace(verdict(Outcome.INVALID), ended_at=at))  # under the load
    assert decide(died, seen(now=at)) == Start(TWIN)


def test_there_must_be_room_for_a_green_that_is_still_loading_too() -> None:
    memory = {BLUE.name: 100_000_000, GREEN.name: 30_000_000}
    loading = replace(seen(ready=0), memory_bytes=memory, spare_bytes=189_000_000)
    assert decide(rollout(green=COMPARED), loading) == Wait("shop-2 is starting")
    assert decide(rollout(green=COMPARED), replace(loading, spare_bytes=190_000_000)) == Start(TWIN)


def test_a_twin_that_does_not_end_is_left_behind() -> None:
    r = rollout(green=COMPARED, attempt=1, ready_at=NOON, verdict=verdict(Outcome.PASS))
    assert isinstance(decide(r, seen(twin=1, now=NOON + timedelta(minutes=1))), Shift)
    undoing = replace(r, failure="it failed", failed_at=NOON)
    assert decide(undoing, seen(twin=1, now=NOON + timedelta(minutes=1))) == Stop(GREEN.name)
    assert uphold(BLUE, seen(green=0, twin=1)) == Stop(TWIN.name)


@pytest.mark.parametrize("changes", [{"blue": None}, {"trusted": True}])
def test_a_first_revision_and_a_rollback_have_no_twin(changes: dict[str, object]) -> None:
    assert rollout(green=COMPARED, **changes).twin is None


# What a verdict is bound to


def test_a_pass_is_void_when_green_was_started_again_before_its_first_guest() -> None:
    judged = replace(verdict(Outcome.PASS), replicas=("0: pid 7",))
    r = replace(passed(), verdict=judged)
    same, other = {GREEN.name: ("0: pid 7",)}, {GREEN.name: ("0: pid 8",)}
    assert isinstance(decide(r, replace(seen(), identities=same)), Shift)
    restarted = replace(seen(), identities=other)
    assert decide(r, restarted) == RunGate(GREEN, BLUE, 2, OFF)
    # With guests the front door's counts tell more, and a person's word is bound to nothing.
    assert isinstance(
        decide(replace(r, step=0, step_at=NOON), replace(restarted, weights=seen(on_green=10).weights)), Wait
    )
    assert isinstance(decide(replace(r, approved=True), restarted), Shift)
    last = replace(r, attempt=3)
    held = decide(last, restarted)
    assert held == Hold("no valid measurement in 3 attempts: shop-2 was started again after it was judged")
    assert isinstance(decide(record(last, held, restarted), restarted), Wait)


# The brake


def test_the_load_test_is_stopped_when_the_guests_of_blue_notice_it() -> None:
    before = Counts(requests=1000, errors=1, slower=_slower(5, than_ms=20))  # p99 20 ms and less
    running = record(rollout(ready_at=NOON), RunGate(GREEN, BLUE, 1), replace(seen(), counts={BLUE.name: before}))

    def after(requests: int, errors: int = 0, slow: int = 0, slower_ms: int = 200) -> Action:
        rungs = tuple(
            was + (slow if rung <= slower_ms else 0) for was, rung in zip(before.slower, LADDER_MS, strict=True)
        )
        now = Counts(requests=before.requests + requests, errors=before.errors + errors, slower=rungs)
        observed = seen(gate=GateState.RUNNING, now=NOON + 5 * SECOND)
        return decide(running, replace(observed, counts={BLUE.name: now}))

    assert isinstance(after(500, errors=10, slow=40), Wait)  # more than their limits, and not beyond doubt
    assert isinstance(after(50, slow=50), Wait)  # too few to speak of a p99
    assert isinstance(after(500, slow=60, slower_ms=100), Wait)  # twice as slow, and nobody notices
    slow, faulty = after(500, slow=60), after(500, errors=20)
    assert isinstance(slow, Judge)
    assert isinstance(faulty, Judge)
    assert slow.verdict.outcome is faulty.verdict.outcome is Outcome.HOLD
    assert slow.verdict.reason.startswith("the load test was stopped: 60 of 500 guests of shop-1 waited longer than")
    assert "20 of 500 guests with 5xx" in faulty.verdict.reason

    stored = record(running, slow, seen())
    held = record(stored, decide(stored, seen()), seen())
    assert held.phase == "held"
    assert isinstance(decide(held, seen(gate=GateState.RUNNING)), StopGate)
    # A person may be faster than that, and guests suffer from it all the same.
    assert isinstance(decide(replace(held, approved=True), seen(gate=GateState.RUNNING)), StopGate)
    assert isinstance(decide(replace(held, approved=True), seen(gate=Lost("it was stopped"))), Shift)


def test_counters_that_were_reset_count_from_zero() -> None:
    assert Counts(requests=5, errors=1).since(Counts(requests=100, errors=0)) == Counts(requests=5, errors=1)


def test_blue_stays_warm_until_the_bake_ends_and_its_open_requests_end() -> None:
    switched = passed(step=2, step_at=NOON, switched_at=NOON)
    assert isinstance(decide(switched, seen(on_green=100)), Wait)
    baked = NOON + STRATEGY.bake
    busy = seen(on_green=100, now=baked, in_flight={BLUE.name: 3})
    assert decide(switched, busy) == Wait("draining shop-1")
    assert decide(switched, seen(on_green=100, now=baked)) == Stop(BLUE.name)
    released = record(switched, Stop(BLUE.name), seen(on_green=100, now=baked))
    assert released.released
    assert decide(released, seen(on_green=100, now=baked, blue=0)) == Finish(succeeded=True)


def test_a_green_that_falls_ill_after_the_switch_gives_traffic_back_to_a_healthy_blue_only() -> None:
    switched = passed(step=2, step_at=NOON, switched_at=NOON)
    assert isinstance(decide(switched, seen(on_green=100, ready=0)), Fail)
    assert not isinstance(decide(switched, seen(on_green=100, ready=0, blue=0)), Fail)
    failed = replace(switched, failure="ill", failed_at=NOON)
    assert decide(failed, seen(on_green=100)) == Shift({BLUE.name: 100})


def some(share: int, *, green: int, blue: int, **more: Any) -> Observation:
    """Three replicas of each run; so many of them answer."""
    three = {GREEN.name: 3, BLUE.name: 3}
    weights = {name: part for name, part in ((GREEN.name, share), (BLUE.name, 100 - share)) if part}
    ready = {GREEN.name: green, BLUE.name: blue}
    return replace(seen(), present=three, running=three, ready=ready, weights=weights, **more)


THREE = {"green": replace(GREEN, replicas=3), "blue": replace(BLUE, replicas=3)}


def test_guests_of_a_green_that_failed_do_not_wait_for_the_last_replica_of_blue() -> None:
    undone = passed(**THREE, step=1, step_at=NOON, failure="errors", failed_at=NOON)
    assert decide(undone, some(50, green=3, blue=1)) == Shift({BLUE.name: 100})
    assert decide(undone, some(50, green=0, blue=1)) == Shift({BLUE.name: 100})
    assert isinstance(decide(undone, some(50, green=3, blue=0)), Wait)
    baking = passed(**THREE, step=2, step_at=NOON, switched_at=NOON, counted_from=Counts())
    bad = {GREEN.name: Counts(requests=1000, errors=1000)}
    assert isinstance(decide(baking, some(100, green=3, blue=2, counts=bad)), Fail)


def test_a_part_of_blue_is_better_than_no_green_and_not_better_than_a_part_of_green() -> None:
    baking = passed(**THREE, step=2, step_at=NOON, switched_at=NOON)
    assert isinstance(decide(baking, some(100, green=0, blue=1)), Fail)
    assert not isinstance(decide(baking, some(100, green=2, blue=2)), Fail)
    assert isinstance(decide(baking, some(100, green=2, blue=3)), Fail)


@pytest.mark.parametrize(("superseded_by", "green", "ends"), [(None, 3, False), (None, 0, True), (3, 3, True)])
def test_a_blue_that_never_comes_back_keeps_no_fix_out(superseded_by: int | None, green: int, ends: bool) -> None:
    undone = passed(**THREE, step=1, step_at=NOON, failure="errors", failed_at=NOON, superseded_by=superseded_by)
    late = NOON + BLUE.strategy.ready_within
    assert isinstance(decide(undone, some(50, green=green, blue=0, now=late - SECOND)), Wait)
    assert (decide(undone, some(50, green=green, blue=0, now=late)) == Shift({BLUE.name: 100})) is ends


def test_green_is_drained_from_when_its_guests_were_sent_back_not_from_when_it_failed() -> None:
    back = NOON + STRATEGY.drain_within
    undone = passed(step=1, step_at=NOON, failure="errors", failed_at=NOON, returned_at=back)
    asked = {GREEN.name: 7}
    assert decide(undone, seen(now=back + SECOND, in_flight=asked)) == Wait(f"draining {GREEN.name}")
    assert decide(undone, seen(now=back + STRATEGY.drain_within, in_flight=asked)) == Stop(GREEN.name)


def test_the_live_revision_gets_its_guests_as_soon_as_one_replica_answers() -> None:
    live = replace(BLUE, replicas=3)
    assert uphold(live, replace(some(0, green=0, blue=1), weights={})) == Shift({BLUE.name: 100})
    assert isinstance(uphold(live, replace(some(0, green=0, blue=0), weights={})), Wait)


def test_superseding_undoes_a_rollout_before_the_switch_and_ends_the_bake_after_it() -> None:
    assert isinstance(decide(passed(step=0, superseded_by=3), seen(on_green=10)), Fail)
    switched = passed(step=2, step_at=NOON, switched_at=NOON, superseded_by=3)
    assert decide(switched, seen(on_green=100)) == Stop(BLUE.name)


def test_a_first_deployment_goes_straight_to_all_traffic_after_its_gate() -> None:
    first = passed(blue=None)
    assert decide(first, seen(blue=0)) == Shift({GREEN.name: 100}, 2)


def test_a_rollback_does_not_ask_the_gate_again() -> None:
    back = rollout(trusted=True, ready_at=NOON)
    assert decide(back, seen()) == Shift({GREEN.name: 100}, 2)


def test_without_gates_green_gets_traffic_when_it_is_ready() -> None:
    green = revision(2, gates=Gates(smoke=False, load=LoadGate(enabled=False)))
    assert isinstance(decide(rollout(green=green, ready_at=NOON), seen()), Shift)


def test_without_a_rollout_the_live_revision_gets_all_traffic_and_strays_go() -> None:
    assert uphold(BLUE, seen(blue=0, green=0)) == Start(BLUE)
    assert uphold(BLUE, seen(on_green=10)) == Shift({BLUE.name: 100})
    assert uphold(BLUE, seen()) == Stop(GREEN.name)
    assert isinstance(uphold(BLUE, seen(green=0)), Wait)
    assert uphold(None, seen()) == Shift({})


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Outcome.INVALID),
        ([Outcome.PASS, Outcome.PASS], Outcome.PASS),
        ([Outcome.PASS, Outcome.HOLD], Outcome.HOLD),
        ([Outcome.HOLD, Outcome.INVALID], Outcome.INVALID),
        ([Outcome.INVALID, Outcome.FAIL], Outcome.FAIL),
    ],
)
def test_a_verdict_passes_only_when_every_check_does(outcomes: list[Outcome], expected: Outcome) -> None:
    assert overall(tuple(Check(name="x", outcome=o, detail="") for o in outcomes)) is expected


# Properties

_maybe = st.booleans()
_times = st.none() | st.integers(-100, 100).map(lambda s: NOON + s * SECOND)
_strategies = st.builds(
    Strategy,
    steps=st.sampled_from([(100,), (10, 100), (10, 50, 100), (1, 2, 3, 100)]),
    step_wait=st.integers(0, 20).map(lambda s: s * SECOND),
    step_requests=st.sampled_from([0, 20]),
    bake=st.integers(0, 20).map(lambda s: s * SECOND),
)
_gates = st.builds(Gates, smoke=_maybe, load=st.builds(LoadGate, enabled=_maybe, twin=_maybe))
_greens = st.builds(
    lambda strategy, gates, replicas: revision(2, strategy=strategy, gates=gates, replicas=replicas),
    _strategies,
    _gates,
    st.integers(1, 3),
)
_verdicts = st.none() | st.builds(
    lambda outcome, replicas: replace(verdict(outcome), replicas=replicas),
    st.sampled_from(Outcome),
    st.sampled_from([(), ("0: pid 7",)]),
)


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Any rollout that could be stored, and many that could not."""
    green = draw(_greens)
    step = draw(st.integers(-1, len(green.strategy.steps) - 1))
    last = step == len(green.strategy.steps) - 1
    return Rollout(
        green=green,
        blue=draw(st.none() | st.just(BLUE)),
        started_at=NOON,
        trusted=draw(_maybe),
        running_at=draw(_times),
        ready_at=draw(_times),
        attempt=draw(st.integers(0, 3)),
        attempt_at=draw(_times),
        verdict=draw(_verdicts),
        held_at=draw(_times),
        approved=draw(_maybe),
        step=step,
        step_at=draw(_times),
        counted_from=draw(st.none() | st.just(Counts())),
        step_green=draw(st.none() | st.just(Counts())),
        step_blue=draw(st.none() | st.just(Counts())),
        attempt_blue=draw(st.none() | st.just(Counts())),
        unvisited_at=draw(_times),
        switched_at=NOON if last else None,
        rushed=draw(_maybe),
        emergency=draw(st.none() | st.integers(1, 4)),
        superseded_by=draw(st.none() | st.just(3)),
        failure=draw(st.none() | st.just("something failed")),
        failed_at=draw(_times),
        released=draw(_maybe),
    )


_gate_states = st.sampled_from(GateState) | st.sampled_from(Outcome).map(verdict)
_counts = st.builds(Counts, requests=st.integers(0, 200), errors=st.integers(0, 20))


@st.composite
def worlds(draw: st.DrawFn) -> Observation:
    present = {name: draw(st.integers(0, 3)) for name in (GREEN.name, BLUE.name, TWIN.name)}
    running = {name: draw(st.integers(0, count)) for name, count in present.items()}
    ready = {name: draw(st.integers(0, count)) for name, count in running.items()}
    share = draw(st.sampled_from([0, 1, 10, 50, 100]))
    weights = {n: s for n, s in ((GREEN.name, share), (BLUE.name, 100 - share)) if s} if draw(_maybe) else {}
    return Observation(
        now=NOON + draw(st.integers(-50, 5000)) * SECOND,
        present=present,
        running=running,
        ready=ready,
        broken={GREEN.name: "it crashes"} if draw(_maybe) else {},
        weights=weights,
        in_flight={GREEN.name: draw(st.integers(0, 2)), BLUE.name: draw(st.integers(0, 2))},
        counts={GREEN.name: draw(_counts), BLUE.name: draw(_counts)},
        identities={GREEN.name: draw(st.sampled_from([(), ("0: pid 7",), ("0: pid 8",)]))},
        memory_bytes={BLUE.name: 100},
        spare_bytes=draw(st.sampled_from([None, 50, 500])),
        gate=draw(_gate_states),
    )


@given(rollouts(), worlds())
@settings(max_examples=1000)
def test_traffic_goes_only_to_healthy_revisions_that_passed(r: Rollout, w: Observation) -> None:
    action = decide(r, w)
    if isinstance(action, Shift) and (share := action.weights.get(r.green.name)):
        assert not r.failure
        # After the switch green is all there is to route to; before it, it has passed and is ready.
        assert r.switched_at or (r.cleared and w.is_ready(r.green)), share
    if isinstance(action, Shift) and r.blue and action.weights.get(BLUE.name) == 100:
        given_up = r.failure and (r.superseded_by or not w.answers(r.green))
        assert w.answers(r.blue) or given_up


@given(rollouts(), worlds())
@settings(max_examples=1000)
def test_what_serves_is_never_stopped(r: Rollout, w: Observation) -> None:
    action = decide(r, w)
    if isinstance(action, Stop):
        assert not w.weights.get(action.revision)
        if action.revision == TWIN.name:
            return  # it never has guests
        keeper = r.blue if r.failure else r.green
        assert keeper is None or action.revision != keeper.name
        assert keeper is None or w.weights.get(keeper.name) == 100
    if isinstance(action, Finish):
        keeper = r.blue if not action.succeeded else r.green
        assert dict(w.weights) == ({keeper.name: 100} if keeper else {})


@given(rollouts(), worlds())
@settings(max_examples=1000)
def test_deciding_again_after_recording_repeats_or_goes_on_but_never_goes_back(r: Rollout, w: Observation) -> None:
    """A crash after `record` and before the action: the next decision is the same action, or one that may follow."""
    action = decide(r, w)
    after = record(r, action, w)
    assert record(after, action, w) == after
    if not isinstance(action, Judge | Fail | Hold | Finish):
        assert decide(after, w) == action or isinstance(action, Wait) or _forgiven(action, decide(after, w), w)


def _forgiven(action: Action, again: Action, w: Observation) -> bool:
    """Storing can settle what was asked: a fresh attempt's own gate is looked up by its own name."""
    if isinstance(action, Shift) and dict(action.weights) == dict(w.weights):
        return True  # traffic is there already: only the step was to be stored
    return (isinstance(action, RunGate) and w.gate is not GateState.ABSENT) or isinstance(again, Wait | Fail)


class ObedientWorld:
    """Does what it is told at once, its clock goes on, and its gate gives the verdict it was made with."""

    def __init__(self, start: Observation, outcome: Outcome, *, sick: bool) -> None:
        self.now = start.now
        self.running = dict(start.running)
        self.weights = dict(start.weights)
        self.outcome, self.sick = outcome, sick
        self.gate: GateState | Lost | Verdict = start.gate

    def look(self) -> Observation:
        ready = {name: 0 if self.sick and name == GREEN.name else count for name, count in self.running.items()}
        return Observation(
            now=self.now,
            present=self.running,
            running=self.running,
            ready=ready,
            weights=dict(self.weights),
            gate=self.gate,
        )

    def obey(self, action: Action) -> None:
        self.now += SECOND
        match action:
            case Start(target):
                self.running[target.name] = target.replicas
            case Stop(name):
                self.running[name] = 0
            case Shift(weights):
                self.weights = dict(weights)
            case RunGate(attempt=attempt):
                self.gate = verdict(self.outcome, attempt)
            case StopGate():
                self.gate = Lost()
            case Wait():
                self.now += timedelta(minutes=5)  # nothing to do: let time pass
            case _:
                pass


@given(rollouts(), worlds(), st.sampled_from(Outcome), _maybe)
@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
def test_an_obedient_world_always_reaches_an_end_from_any_start(
    r: Rollout, start: Observation, outcome: Outcome, sick: bool
) -> None:
    world = ObedientWorld(start, outcome, sick=sick)
    for _ in range(200):
        observed = world.look()
        action = decide(r, observed)
        r = record(r, action, observed)
        if r.blue and not r.released and not observed.complete(r.blue):
            world.running[BLUE.name] = r.blue.replicas  # the loop upholds blue, whatever the rollout waits for
        world.obey(action)
        if not r.active:
            break
    assert not r.active, (r, action)
    keeper = r.green if r.failure is None else r.blue
    assert world.weights == ({keeper.name: 100} if keeper else {})
