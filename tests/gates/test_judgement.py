"""What the figures of a duet mean."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from noren.domain.deployment import LoadGate, Margins, Slo
from noren.domain.verdict import Check, Outcome, overall
from noren.gates.duet import DROPPED, NO_ENDPOINT, ROW, Measured, Plan, Samples, Target
from noren.gates.judgement import ALPHA, SPENDING, judge, looks

SLO = Slo(error_rate=0.01)
DURATION_S = 45.0
N = 2250


def arm(
    requests: int = N,
    *,
    ms: float = 20,
    seed: int = 0,
    errors: int = 0,
    spread: float = 0.3,
    times: float = 1.0,
    tail: float = 1.0,
) -> Samples:
    """Log-normal latencies, all `times` slower, and the slowest 2 % of each second `tail` slower still."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(requests, dtype=ROW)
    rows["arrival"] = np.arange(requests)
    rows["due_s"] = np.arange(requests) * DURATION_S / max(requests, 1)
    rows["latency_ms"] = np.exp(rng.normal(math.log(ms), spread, requests)) * times
    slow = rows["latency_ms"] > ms * times * math.exp(spread * 2.05)
    rows["latency_ms"][slow] *= tail
    rows["ok"] = True
    if errors:
        rows["ok"][:: requests // errors] = False
    return Samples(rows=rows, failures={"POST /brew: 500": errors} if errors else {})


def plan(slo: Slo = SLO, **gate: Any) -> Plan:
    chosen = LoadGate(duration=timedelta(seconds=DURATION_S), **gate)
    return Plan(targets={"green": Target(url="http://g"), "blue": Target(url="http://b")}, gate=chosen, slo=slo, seed=1)


def judged(
    green: Samples, blue: Samples | None, *, slo: Slo = SLO, look: int = -1, gate: Mapping[str, Any] | None = None,
    **rest: Any,
) -> tuple[Check, ...]:  # fmt: skip
    known: dict[str, Any] = {
        "arms": {"green": green} | ({"blue": blue} if blue else {}),
        "endpoints": ("POST /brew",),
        "arrivals": N,
        "elapsed_s": DURATION_S,
        "generator_cpu": 0.1,
        "dispatch_lag_p99_ms": 2.0,
        "ended": True,
    }
    return judge(plan(slo, **(gate or {})), Measured(**(known | rest)), looks(DURATION_S)[look])


def outcome(checks: tuple[Check, ...]) -> Outcome:
    return overall(checks)


def named(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_looks_share_what_may_go_wrong() -> None:
    assert [look.until_s for look in looks(45)] == [15, 30, 45]
    assert sum(look.alpha for look in looks(45)) == pytest.approx(ALPHA)
    assert sum(SPENDING) == pytest.approx(1)
    assert [look.last for look in looks(45)] == [False, False, True]


def test_a_green_like_blue_passes_and_says_how_sure_that_is() -> None:
    checks = judged(arm(seed=1), arm(seed=2))

    assert outcome(checks) is Outcome.PASS
    assert [check.name for check in checks] == ["errors", "throughput", "p50", "p95", "p99"]
    found = named(checks, "p50")
    assert found.figures["ratio_low"] < found.figures["ratio"] < found.figures["ratio_high"] < 1.15
    assert "x blue's" in found.detail
    assert "(margin 1.15x)" in found.detail


@pytest.mark.parametrize(
    ("green", "failing"),
    [
        (arm(seed=1, times=1.35), {"p50"}),
        (arm(seed=1, tail=2.0), {"p99"}),
        (arm(seed=1, times=3), {"p50", "p95", "p99"}),
    ],
)
def test_a_green_that_is_slower_than_the_margin_fails(green: Samples, failing: set[str]) -> None:
    checks = judged(green, arm(seed=2))

    assert outcome(checks) is Outcome.FAIL
    assert failing <= {check.name for check in checks if check.outcome is Outcome.FAIL}


def test_a_green_that_is_much_slower_fails_at_the_first_look() -> None:
    assert outcome(judged(arm(seed=1, times=3), arm(seed=2), look=0)) is Outcome.FAIL


def test_a_green_exactly_at_its_margin_seldom_passes() -> None:
    passed = sum(outcome(judged(arm(seed=2 * n, times=1.15), arm(seed=2 * n + 1))) is Outcome.PASS for n in range(60))
    assert passed <= 60 * ALPHA + 3 * math.sqrt(60 * ALPHA)


def test_equal_arms_pass_almost_always_and_never_fail() -> None:
    found = [outcome(judged(arm(seed=2 * n), arm(seed=2 * n + 1))) for n in range(40)]
    assert Outcome.FAIL not in found
    assert found.count(Outcome.PASS) >= 36


def test_few_requests_do_not_decide() -> None:
    checks = judged(arm(300, seed=1), arm(300, seed=2))
    assert outcome(checks) is Outcome.HOLD
    assert "not enough requests to tell" in named(checks, "errors").detail


def test_a_difference_that_nobody_can_tell_is_none() -> None:
    quick, slower = arm(ms=1.0, seed=1), arm(ms=1.0, seed=2, times=1.5)
    assert named(judged(slower, quick), "p50").outcome is Outcome.PASS
    assert named(judged(slower, quick, gate={"slack_ms": 0.0}), "p50").outcome is Outcome.FAIL


def test_margins_are_the_users() -> None:
    green, blue = arm(seed=1, times=1.35), arm(seed=2)
    wide = Margins(p50=0.8, p95=0.8, p99=0.9)
    assert outcome(judged(green, blue, gate={"margins": wide})) is Outcome.PASS


def test_a_machine_whose_launches_differ_needs_more_room() -> None:
    green, blue = arm(seed=1), arm(seed=2)
    assert named(judged(green, blue, gate={"launch_sigma": 0.2}), "p50").outcome is Outcome.HOLD


# Errors and limits


@pytest.mark.parametrize(
    ("errors", "blue_errors", "limit", "expected"),
    [
        (0, 0, 0.01, Outcome.PASS),
        (1, 0, 0.01, Outcome.PASS),
        (11, 0, 0.01, Outcome.HOLD),  # 0.5 %: below the limit, but more than blue
        (11, 11, 0.01, Outcome.HOLD),  # as blue: but it may be 0.3 % more
        (40, 0, 0.05, Outcome.FAIL),  # within the limit, and surely more than blue
        (120, 0, 0.01, Outcome.FAIL),
        (0, 0, 0.0, Outcome.PASS),
        (1, 0, 0.0, Outcome.FAIL),
    ],
)
def test_errors_are_held_against_the_limit_and_against_blue(
    errors: int, blue_errors: int, limit: float, expected: Outcome
) -> None:
    checks = judged(arm(seed=1, errors=errors), arm(seed=2, errors=blue_errors), slo=Slo(error_rate=limit))
    assert named(checks, "errors").outcome is expected, named(checks, "errors").detail


def test_errors_beyond_doubt_fail_at_once() -> None:
    checks = judged(arm(100, seed=1, errors=50), arm(100, seed=2), look=0)
    assert [check.outcome for check in checks] == [Outcome.FAIL]
    assert "17 of 34 requests failed (50.00%, limit 1.00%), most of them with POST /brew: 500" in checks[0].detail


@pytest.mark.parametrize(("times", "expected"), [(0.9, Outcome.FAIL), (1.0, Outcome.HOLD), (1.1, Outcome.PASS)])
def test_a_first_green_is_judged_by_the_limits_alone(times: float, expected: Outcome) -> None:
    green = arm(seed=3)
    checks = judged(green, None, slo=Slo(p50_ms=times * green.quantile_ms(0.5)))
    assert named(checks, "slo p50").outcome is outcome(checks) is expected, named(checks, "slo p50").detail


def test_a_limit_of_the_tail_needs_enough_requests() -> None:
    few = judged(arm(200, seed=1), None, slo=Slo(p99_ms=1000, error_rate=0.5))
    assert named(few, "slo p99").outcome is Outcome.HOLD


def endpoints(samples: Samples, last: int, *, ok: bool) -> Samples:
    """The last rows belong to a second endpoint."""
    rows = samples.rows.copy()
    rows["endpoint"][-last:], rows["ok"][-last:] = 1, ok
    return Samples(rows=rows, failures={} if ok else {"POST /pour: 500": last})


@pytest.mark.parametrize(
    ("failing", "blue_ok", "fails"),
    [(3, True, True), (3, False, False), (2, True, False)],  # green's doing; not its own; perhaps an id in the URL
)
def test_an_endpoint_that_only_fails_fails_at_once(failing: int, blue_ok: bool, fails: bool) -> None:
    green, blue = endpoints(arm(seed=1), failing, ok=False), endpoints(arm(seed=2), failing, ok=blue_ok)

    checks = judged(green, blue, endpoints=("POST /brew", "POST /pour"))

    assert (outcome(checks) is Outcome.FAIL) == fails
    if fails:
        assert checks[0].detail == "all 3 requests of POST /pour failed: POST /pour: 500"


def dropped(samples: Samples, count: int) -> Samples:
    rows = samples.rows.copy()
    rows["endpoint"][:count], rows["ok"][:count], rows["latency_ms"][:count] = DROPPED, False, np.nan
    return replace(samples, rows=rows)


def test_a_green_that_cannot_keep_up_fails() -> None:
    checks = judged(dropped(arm(seed=1), 200), arm(seed=2))
    assert named(checks, "throughput").outcome is Outcome.FAIL
    assert "200 could not be sent" in named(checks, "throughput").detail


def test_a_task_that_sent_nothing_is_an_error_without_a_latency() -> None:
    green = arm(seed=1)
    green.rows["latency_ms"][:2], green.rows["endpoint"][:2], green.rows["ok"][:2] = np.nan, NO_ENDPOINT, False
    checks = judged(green, arm(seed=2))
    assert named(checks, "errors").figures["errors"] == 2
    assert math.isfinite(named(checks, "p99").figures["green_ms"])


def test_the_warm_up_is_not_counted() -> None:
    warm, blue = arm(seed=1), arm(seed=2)
    for rows in (warm.rows, blue.rows):
        rows["due_s"][:1000] -= 100
    warm.rows["latency_ms"][:1000] *= 50
    checks = judged(warm, blue)
    assert named(checks, "errors").figures["requests"] == N - 1000
    assert named(checks, "p50").outcome is not Outcome.FAIL


# Trust


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"generator_cpu": 0.76}, "used 76% of a core"),
        ({"dispatch_lag_p99_ms": 26.0}, "26.0 ms late"),
        ({"stopped": "the locustfile stopped the test"}, "ended early: the locustfile stopped the test"),
        ({"problem": "locustfile.py, line 3: ImportError"}, "locustfile.py, line 3"),
    ],
)
def test_a_measurement_that_cannot_be_trusted_judges_nobody(rest: dict[str, Any], said: str) -> None:
    (found,) = judged(arm(seed=1), arm(seed=2), **rest)
    assert found.outcome is Outcome.INVALID
    assert said in found.detail


def misrouted(samples: Samples, count: int) -> Samples:
    rows = samples.rows.copy()
    rows["misrouted"][:count] = True
    return replace(samples, rows=rows)


@pytest.mark.parametrize(
    ("green", "blue", "said"),
    [
        (arm(0), arm(), "no request was sent to green"),
        (arm(), arm(0), "no request was sent to blue"),
        (arm(0), None, "no request was sent to green"),
        (arm(49), arm(49), "49 requests to green are too few"),
        (arm(), arm(2200), "2250 requests and blue 2200"),
        (arm(), dropped(arm(), 100), "100 of 2250 requests to blue were dropped"),
        (misrouted(arm(), 2), arm(), "2 requests meant for green were answered by another revision"),
        (arm(), misrouted(arm(), 1), "meant for blue"),
        (arm(), arm(errors=50), "blue itself is over the limit: 50 of 2250 requests failed"),
        (arm(errors=2000), arm(errors=2000), "blue itself is over the limit"),
    ],
)
def test_arms_that_cannot_be_compared_judge_nobody(green: Samples, blue: Samples | None, said: str) -> None:
    (found,) = judged(green, blue)
    assert found.outcome is Outcome.INVALID
    assert said in found.detail


def test_a_blue_over_its_own_limit_is_nobody_to_compare_with() -> None:
    (found,) = judged(arm(seed=1), arm(seed=2, ms=60), slo=Slo(p50_ms=50))
    assert found.outcome is Outcome.INVALID
    assert "blue itself is over the limit: p50" in found.detail


def test_a_slow_service_may_be_asked_a_little_later() -> None:
    green, blue = arm(seed=1, ms=400), arm(seed=2, ms=400)
    assert outcome(judged(green, blue, dispatch_lag_p99_ms=35.0)) is Outcome.PASS
    assert outcome(judged(green, blue, dispatch_lag_p99_ms=45.0)) is Outcome.INVALID
