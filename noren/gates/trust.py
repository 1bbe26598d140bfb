"""Whether a measurement may judge anyone: who measured, and did both arms do the same?"""

import math
from collections.abc import Iterator, Mapping

from noren.gates.duet import COMPLETED, QUANTILES, Measured, Plan, Samples

_CPU_LIMIT = 0.75  # of one core: beyond it requests wait for the generator, and the wait looks like the server's
_MIN_LAG_LIMIT_MS = 25.0
_LAG_SHARE = 0.1  # of p50
_COUNT_SLACK = 0.01
_MIN_COUNT_SLACK = 5  # requests; tasks that branch on an answer need not send the same number


def distrust(measured: Measured, plan: Plan, arms: Mapping[str, Samples]) -> str | None:
    """Why this measurement says nothing, or None. `arms` without the warm-up."""
    return next(_faults(measured, plan, arms), None)


def _faults(measured: Measured, plan: Plan, arms: Mapping[str, Samples]) -> Iterator[str]:
    green, blue = arms["green"], arms.get("blue")
    if measured.generator_cpu > _CPU_LIMIT:
        yield (
            f"the load generator used {measured.generator_cpu:.0%} of a core (limit {_CPU_LIMIT:.0%}): "
            "it measured itself; lower the rate"
        )
    limit_ms = lag_limit_ms(green, blue)
    if measured.dispatch_lag_p99_ms > limit_ms:
        yield (
            f"the load generator sent requests {measured.dispatch_lag_p99_ms:.1f} ms late (p99, limit "
            f"{limit_ms:.1f} ms): the machine is too busy to measure on"
        )
    if measured.stopped:
        yield f"the load test ended early: {measured.stopped}"
    for name, samples in arms.items():
        if samples.misrouted:
            yield f"{samples.misrouted} requests meant for {name} were answered by another revision"
        if not samples.requests:
            yield f"no request was sent to {name}"
    if blue:
        yield from _blue_faults(blue, plan)
        counts = green.requests, blue.requests
        if not green.dropped and max(counts) - min(counts) > max(_MIN_COUNT_SLACK, _COUNT_SLACK * max(counts)):
            yield f"green was sent {counts[0]} requests and blue {counts[1]}: they did not do the same"


def lag_limit_ms(green: Samples, blue: Samples | None) -> float:
    """How late the generator may send, at the 99th percentile.

    The lag is part of every latency, so it must stay small beside them: a tenth of the quicker arm's p50. With
    quick services it is the scheduler that decides, for the generator shares its cores with both arms and the
    proxy: 3-6 ms were measured on two busy cores, 10 ms with HttpUser at 200 requests/s, 40 ms when saturated.
    """
    medians = [m for s in (green, blue) if s and math.isfinite(m := s.quantile_ms(0.5))]
    return max(_MIN_LAG_LIMIT_MS, _LAG_SHARE * min(medians, default=0.0))


def _blue_faults(blue: Samples, plan: Plan) -> Iterator[str]:
    """Whoever breaks the limits itself is nobody to compare with."""
    offered = blue.requests + blue.dropped
    if blue.dropped > (1 - COMPLETED) * offered:
        yield f"{blue.dropped} of {offered} requests to blue were dropped: too many were unanswered; lower the rate"
    allowed = max(1.0, plan.slo.error_rate * blue.requests) if plan.slo.error_rate else 0.0
    if blue.errors > allowed:
        yield f"blue itself is over the limit: {blue.errors} of {blue.requests} requests failed"
    for name, q in QUANTILES.items():
        limit_ms, found_ms = getattr(plan.slo, f"{name}_ms"), blue.quantile_ms(q)
        if limit_ms is not None and found_ms > limit_ms:
            yield f"blue itself is over the limit: {name} {found_ms:.1f} ms is over its limit of {limit_ms:g} ms"
