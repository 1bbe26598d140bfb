"""What the figures of a duet mean."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noren.domain.deployment import LoadGate, Slo
from noren.domain.verdict import Check, Outcome
from noren.gates.duet import NO_ENDPOINT, Measured, Samples, read_measured, write_measured
from noren.gates.load import allowed_errors, judge

SLO = Slo(p50_ms=60, p95_ms=150, p99_ms=400, error_rate=0.01)


def arm(requests: int = 400, *, ms: float = 40, slow: int = 0, slow_ms: float = 0, errors: int = 0) -> Samples:
    """`slow` of the requests take `slow_ms`; the first ones fail."""
    latency_ms = np.full(requests, float(ms))
    latency_ms[: slow or 0] = slow_ms
    return Samples(
        arrival=np.arange(requests, dtype=np.int32),
        due_s=np.linspace(0, 20, requests),
        latency_ms=latency_ms,
        ok=np.arange(requests) >= errors,
        endpoint=np.zeros(requests, dtype=np.int32),
        failures={"POST /brew: 500": errors} if errors else {},
    )


def measured(green: Samples, blue: Samples | None, **rest: Any) -> Measured:
    arms = {"green": green} | ({"blue": blue} if blue else {})
    defaults: dict[str, Any] = {
        "endpoints": ("POST /brew",),
        "arrivals": 400,
        "elapsed_s": 20.0,
        "generator_cpu": 0.1,
        "dispatch_lag_p99_ms": 2.0,
    }
    return Measured(arms=arms, **(defaults | rest))


def judged(green: Samples, blue: Samples | None, slo: Slo = SLO, **rest: Any) -> Check:
    return judge(measured(green, blue, **rest), slo, LoadGate(max_ratio=1.5))[0]


def test_a_green_like_blue_passes_with_all_its_figures() -> None:
    found = judged(arm(ms=44), arm(ms=40))

    assert found.outcome is Outcome.PASS
    assert found.detail == "400 requests, 0 errors, p50 44.0 ms, p95 44.0 ms: 1.10x blue's 40.0 ms (limit 1.5x)"
    assert found.figures == {
        "generator_cpu": 0.1,
        "dispatch_lag_p99_ms": 2.0,
        "offered_per_s": 20.0,
        **{f"{name}_requests": 400 for name in ("green", "blue")},
        **{f"{name}_errors": 0 for name in ("green", "blue")},
        **{f"{name}_dropped": 0 for name in ("green", "blue")},
        **{f"{name}_completed_per_s": 20.0 for name in ("green", "blue")},
        **{f"green_{q}_ms": 44.0 for q in ("p50", "p95", "p99")},
        **{f"blue_{q}_ms": 40.0 for q in ("p50", "p95", "p99")},
        **{f"{q}_ratio": 1.1 for q in ("p50", "p95", "p99")},
    }


def test_a_first_green_is_judged_by_the_limits_alone() -> None:
    assert judged(arm(ms=44), None).outcome is Outcome.PASS
    assert judged(arm(ms=61), None).outcome is Outcome.FAIL


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
    found = judged(arm(), arm(), **rest)

    assert found.outcome is Outcome.INVALID
    assert said in found.detail


@pytest.mark.parametrize(
    ("green", "blue", "said"),
    [
        (arm(0), arm(), "no request was sent to green"),
        (arm(), arm(0), "no request was sent to blue"),
        (arm(0), arm(0), "no request was sent to green"),
        (arm(0), None, "no request was sent to green"),
        (arm(19), arm(19), "19 requests to green are too few"),
        (arm(), arm(390), "400 requests and blue 390"),
        (replace(arm(), dropped=3), replace(arm(), dropped=2), "dropped"),
        (arm(), replace(arm(), dropped=1), "1 requests to blue were dropped"),
        (replace(arm(), misrouted=2), arm(), "2 requests meant for green were answered by another revision"),
        (arm(), replace(arm(), misrouted=1), "meant for blue"),
        (arm(), arm(errors=5), "blue itself is over the limit: 5 of 400 requests failed"),
        (arm(ms=30), arm(ms=61), "blue itself is over the limit: p50 61.0 ms"),
        (arm(errors=400), arm(errors=400), "blue itself is over the limit"),
    ],
)
def test_arms_that_cannot_be_compared_judge_nobody(green: Samples, blue: Samples | None, said: str) -> None:
    found = judged(green, blue)

    assert found.outcome is Outcome.INVALID
    assert said in found.detail


@pytest.mark.parametrize(
    ("green", "said"),
    [
        (
            arm(errors=5),
            "5 of 400 requests failed (1.2%, limit 1.0%), most of them with POST /brew: 500",
        ),
        (arm(10, errors=10), "10 of 10 requests failed"),
        (arm(200, errors=200), "200 of 200 requests failed"),  # stopped early: blue did more
        (replace(arm(), dropped=1), "green is too slow for this load"),
        (arm(ms=61), "p50 61.0 ms is over its limit of 60 ms"),
        (arm(slow=40, slow_ms=151), "p95 151.0 ms is over its limit of 150 ms"),
        (arm(slow=8, slow_ms=401), "p99 401.0 ms is over its limit of 400 ms"),
        (arm(slow=40, slow_ms=120), "p95 120.0 ms is 3.0x blue's 40.0 ms (limit 1.5x)"),
        (arm(ms=59.9), None),
        (arm(slow=40, slow_ms=60), None),
        (arm(errors=4), None),
        (arm(slow=8, slow_ms=399), None),  # the ratio is of p50 and p95 only
    ],
)
def test_green_fails_over_a_limit_and_not_below(green: Samples, said: str | None) -> None:
    found = judged(green, arm())

    assert found.outcome is (Outcome.FAIL if said else Outcome.PASS), found.detail
    assert not said or said in found.detail


def test_every_reason_for_being_slow_is_told() -> None:
    checks = judge(measured(arm(ms=200), arm()), SLO, LoadGate(max_ratio=1.5))

    assert [c.detail.split()[0] for c in checks] == ["p50", "p95", "p50", "p95"]
    assert {c.outcome for c in checks} == {Outcome.FAIL}


def test_a_ratio_of_a_few_milliseconds_is_no_reason() -> None:
    assert judged(arm(ms=3.9), arm(ms=1)).outcome is Outcome.PASS
    assert judged(arm(ms=4.1), arm(ms=1)).outcome is Outcome.FAIL


def test_a_slow_service_may_be_asked_a_little_later() -> None:
    slow = Slo()

    assert judged(arm(ms=400), arm(ms=400), slow, dispatch_lag_p99_ms=39.0).outcome is Outcome.PASS
    assert judged(arm(ms=400), arm(ms=400), slow, dispatch_lag_p99_ms=41.0).outcome is Outcome.INVALID


def test_one_error_among_few_requests_is_forgiven_unless_none_is_allowed() -> None:
    assert judged(arm(50, errors=1), arm(50)).outcome is Outcome.PASS
    assert judged(arm(50, errors=2), arm(50)).outcome is Outcome.FAIL
    assert judged(arm(50, errors=1), arm(50), Slo(error_rate=0)).outcome is Outcome.FAIL
    assert allowed_errors(Slo(error_rate=0.02), 1000) == 20


def with_endpoint(samples: Samples, rows: int, *, ok: bool) -> Samples:
    """The last rows belong to a second endpoint."""
    endpoint, okay = samples.endpoint.copy(), samples.ok.copy()
    endpoint[-rows:], okay[-rows:] = 1, ok
    return replace(samples, endpoint=endpoint, ok=okay, failures={} if ok else {"POST /pour: 500": rows})


@pytest.mark.parametrize(
    ("failing", "blue_ok", "outcome"),
    [
        (3, True, Outcome.FAIL),
        (3, False, Outcome.PASS),  # not green's doing, and within the rate
        (2, True, Outcome.PASS),  # perhaps a URL with an id in it
    ],
)
def test_an_endpoint_that_only_fails_fails_the_gate(failing: int, blue_ok: bool, outcome: Outcome) -> None:
    green, blue = with_endpoint(arm(), failing, ok=False), with_endpoint(arm(), failing, ok=blue_ok)

    found = judged(green, blue, endpoints=("POST /brew", "POST /pour"))

    assert found.outcome is outcome
    if outcome is Outcome.FAIL:
        assert found.detail == "all 3 requests of POST /pour failed: POST /pour: 500"


def test_the_warm_up_is_not_counted() -> None:
    warm = replace(arm(), due_s=np.linspace(-20, 20, 400), latency_ms=np.linspace(400, 40, 400))

    found = judged(warm, replace(arm(), due_s=np.linspace(-20, 20, 400)), Slo(p99_ms=230))

    assert found.figures["green_requests"] == 200
    assert found.figures["green_p99_ms"] < 230


def test_a_task_that_sent_nothing_is_an_error_without_a_latency() -> None:
    green = arm(errors=2)
    green.latency_ms[:2], green.endpoint[:2] = np.nan, NO_ENDPOINT

    found = judged(green, arm())

    assert found.outcome is Outcome.PASS
    assert (found.figures["green_errors"], found.figures["green_p99_ms"]) == (2, 40.0)
    assert found.figures["green_completed_per_s"] == 19.9


def test_the_evidence_gives_the_same_verdict_again(tmp_path: Path) -> None:
    before = measured(arm(slow=40, slow_ms=120, errors=3), arm())
    write_measured(tmp_path, before)

    after = read_measured(tmp_path)

    assert after is not None
    assert judge(after, SLO, LoadGate()) == judge(before, SLO, LoadGate())
    assert read_measured(tmp_path / "nothing") is None
