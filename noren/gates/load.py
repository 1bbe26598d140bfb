"""The load check: a duet of green and blue, and what its figures mean."""

import math
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from noren.control.ports import GateRun
from noren.domain.deployment import LoadGate, Slo
from noren.domain.verdict import Check, Outcome
from noren.gates import files
from noren.gates.duet import NO_ENDPOINT, Measured, Plan, Samples, Target, read_measured, write_plan

MIN_REQUESTS = 20  # of one arm; a p95 of fewer is the maximum
_CPU_LIMIT = 0.75  # of one core: beyond it requests wait for the generator, and the wait looks like the server's
_MIN_LAG_LIMIT_MS = 25.0
_LAG_SHARE = 0.1  # of p50
_COUNT_SLACK = 0.01
_MIN_COUNT_SLACK = 5  # requests; tasks that branch on an answer need not send the same number
_FEW = 3  # an endpoint with fewer requests is often a URL with an id in it: its one error says little
# Below this a ratio is about the scheduler and the timer of the generator (1 ms), not about the model: 1 ms
# against 2 ms is 2.0x, and no guest can tell.
_SAME_WITHIN_MS = 3.0
_START_WITHIN_S = 60.0  # importing Locust and the locustfile on a busy machine


def check(run: GateRun, folder: Path) -> tuple[Check, ...]:
    """Measure green beside blue and judge it. Takes warm-up and duration of the gate, and some seconds."""
    gate = run.green.gates.load
    if gate.locustfile is None and not run.examples:
        detail = "nothing to send: give the service's schema an example, or the deployment a locustfile"
        return (Check(name="load", outcome=Outcome.HOLD, detail=detail),)
    plan = make_plan(run, folder)
    write_plan(folder, plan)
    argv = [sys.executable, "-m", "noren.gates.locust_driver", str(folder), str(os.getpid())]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as driver:
        try:
            code = driver.wait(_START_WITHIN_S + plan.warmup_s + plan.duration_s + 2 * plan.drain_s)
        finally:  # also when SIGTERM ends us: it must not send on its own
            driver.kill()
    measured = read_measured(folder)
    if measured is None:
        return (_invalid(f"the load generator ended with code {code} and no result; see {folder / files.LOG}"),)
    return judge(measured, run.green.slo, gate)


def make_plan(run: GateRun, folder: Path) -> Plan:
    """The duet that the run asks for. The same run draws the same schedule."""
    gate = run.green.gates.load
    targets = {"green": Target(url=run.green_url, revision=run.green.name, headers=run.headers.get("green", {}))}
    if run.blue and run.blue_url:
        targets["blue"] = Target(url=run.blue_url, revision=run.blue.name, headers=run.headers.get("blue", {}))
    return Plan(
        targets=targets,
        locustfile=str(folder / files.LOCUSTFILE) if gate.locustfile else None,
        examples=run.examples,
        rate=gate.rate,
        warmup_s=gate.warmup.total_seconds(),
        duration_s=gate.duration.total_seconds(),
        error_rate=run.green.slo.error_rate,
        seed=zlib.crc32(run.name.encode()),
    )


def judge(measured: Measured, slo: Slo, gate: LoadGate) -> tuple[Check, ...]:
    """What the measurement says of green. An INVALID one says nothing else: its figures judge nobody."""
    if measured.problem:
        return (_invalid(measured.problem),)
    arms = {name: samples.counted() for name, samples in measured.arms.items()}
    green, blue = arms["green"], arms.get("blue")
    all_figures = figures(measured, arms)
    # Order matters: first who measured, then whether green answers, and only then how fast.
    if reason := next(_generator_faults(measured, green, blue), None) or (blue and _blue_fault(blue, slo)):
        return (_invalid(reason, all_figures),)
    if reason := next(_error_faults(measured, green, blue, slo), None):
        return (Check(name="load", outcome=Outcome.FAIL, detail=reason, figures=all_figures),)
    if reason := next(_sample_faults(measured, arms), None):
        return (_invalid(reason, all_figures),)
    slow = [*_limit_faults(green, slo), *(_ratio_faults(green, blue, gate) if blue else ())]
    if slow:
        return tuple(Check(name="load", outcome=Outcome.FAIL, detail=reason, figures=all_figures) for reason in slow)
    return (Check(name="load", outcome=Outcome.PASS, detail=_summary(green, blue, gate), figures=all_figures),)


# Who measured


def _generator_faults(measured: Measured, green: Samples, blue: Samples | None) -> Iterator[str]:
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
    for name, samples in (("green", green), ("blue", blue)):
        if samples and samples.misrouted:
            yield f"{samples.misrouted} requests meant for {name} were answered by another revision"


def lag_limit_ms(green: Samples, blue: Samples | None) -> float:
    """How late the generator may send, at the 99th percentile.

    The lag is part of every latency, so it must stay small beside them: a tenth of the quicker arm's p50. With
    quick services it is the scheduler that decides, for the generator shares its cores with both arms and the
    proxy: 3-6 ms were measured on two busy cores, 10 ms with HttpUser at 200 requests/s, 40 ms when saturated.
    """
    medians = [m for s in (green, blue) if s and math.isfinite(m := s.quantile_ms(0.5))]
    return max(_MIN_LAG_LIMIT_MS, _LAG_SHARE * min(medians, default=0.0))


def _blue_fault(blue: Samples, slo: Slo) -> str | None:
    if blue.errors > allowed_errors(slo, blue.requests):
        return f"blue itself is over the limit: {_error_words(blue, slo)}"
    return next((f"blue itself is over the limit: {fault}" for fault in _limit_faults(blue, slo)), None)


def _sample_faults(measured: Measured, arms: Mapping[str, Samples]) -> Iterator[str]:
    for name, samples in arms.items():
        if not samples.requests:
            yield f"no request was sent to {name}"
        elif samples.dropped:
            yield f"{samples.dropped} requests to {name} were dropped: too many were unanswered"
        elif measured.stopped:
            yield f"the load test ended early: {measured.stopped}"
        elif samples.requests < MIN_REQUESTS:
            yield (
                f"{samples.requests} requests to {name} are too few to judge by (at least {MIN_REQUESTS}): "
                "raise gates.load.rate or gates.load.duration"
            )
    counts = [samples.requests for samples in arms.values()]
    if max(counts) - min(counts) > max(_MIN_COUNT_SLACK, _COUNT_SLACK * max(counts)):
        yield f"green was sent {counts[0]} requests and blue {counts[1]}: they did not do the same"


# Whether green answers


def allowed_errors(slo: Slo, requests: int) -> float:
    """How many errors are within the limit. One among few requests says nothing, unless none is allowed."""
    return max(1.0, slo.error_rate * requests) if slo.error_rate > 0 else 0.0


def _error_faults(measured: Measured, green: Samples, blue: Samples | None, slo: Slo) -> Iterator[str]:
    if green.errors > allowed_errors(slo, green.requests):
        yield _error_words(green, slo)
    for index, endpoint in enumerate(measured.endpoints):
        failed, sent = _failed(green, index)
        if sent >= _FEW and failed == sent and not (blue and _failed(blue, index) == (sent, sent)):
            yield f"all {sent} requests of {endpoint} failed: {_worst(green)}"
    # Blue answered the same load, or is not there to blame the machine for.
    if green.dropped and not (blue and blue.dropped):
        yield f"green is too slow for this load: {green.dropped} requests could not be sent, so many were open"


def _failed(samples: Samples, endpoint: int) -> tuple[int, int]:
    ok = samples.ok[samples.endpoint == endpoint]
    return int((~ok).sum()), len(ok)


def _error_words(samples: Samples, slo: Slo) -> str:
    rate = samples.errors / samples.requests
    return (
        f"{samples.errors} of {samples.requests} requests failed ({rate:.1%}, limit {slo.error_rate:.1%}), "
        f"most of them with {_worst(samples)}"
    )


def _worst(samples: Samples) -> str:
    return max(samples.failures, key=lambda message: samples.failures[message], default="no message")


# How fast green answers


def _limit_faults(samples: Samples, slo: Slo) -> Iterator[str]:
    for name, q, limit_ms in (("p50", 0.5, slo.p50_ms), ("p95", 0.95, slo.p95_ms), ("p99", 0.99, slo.p99_ms)):
        found_ms = samples.quantile_ms(q)
        if limit_ms is not None and found_ms > limit_ms:
            yield f"{name} {found_ms:.1f} ms is over its limit of {limit_ms:g} ms"


def _ratio_faults(green: Samples, blue: Samples, gate: LoadGate) -> Iterator[str]:
    # The statistics of design/gate.md go here: they need no more than the samples of both arms.
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        green_ms, blue_ms = green.quantile_ms(q), blue.quantile_ms(q)
        if green_ms > gate.max_ratio * blue_ms and green_ms - blue_ms > _SAME_WITHIN_MS:
            yield (
                f"{name} {green_ms:.1f} ms is {green_ms / blue_ms:.1f}x blue's {blue_ms:.1f} ms "
                f"(limit {gate.max_ratio:g}x)"
            )


def _summary(green: Samples, blue: Samples | None, gate: LoadGate) -> str:
    said = f"{green.requests} requests, {green.errors} errors, p50 {green.quantile_ms(0.5):.1f} ms, "
    said += f"p95 {green.quantile_ms(0.95):.1f} ms"
    if blue is None:
        return f"{said}; there is no blue to compare with"
    ratio = green.quantile_ms(0.95) / blue.quantile_ms(0.95)
    return f"{said}: {ratio:.2f}x blue's {blue.quantile_ms(0.95):.1f} ms (limit {gate.max_ratio:g}x)"


def figures(measured: Measured, arms: Mapping[str, Samples]) -> dict[str, float]:
    """All the numbers, units in their names; what could not be measured is absent."""
    elapsed_s = max(measured.elapsed_s, 1e-9)
    found = {
        "generator_cpu": measured.generator_cpu,
        "dispatch_lag_p99_ms": measured.dispatch_lag_p99_ms,
        "offered_per_s": measured.arrivals / elapsed_s,
    }
    for name, samples in arms.items():
        answered = int((samples.endpoint != NO_ENDPOINT).sum())
        found |= {
            f"{name}_requests": samples.requests,
            f"{name}_errors": samples.errors,
            f"{name}_dropped": samples.dropped,
            f"{name}_completed_per_s": answered / elapsed_s,
            f"{name}_p50_ms": samples.quantile_ms(0.5),
            f"{name}_p95_ms": samples.quantile_ms(0.95),
            f"{name}_p99_ms": samples.quantile_ms(0.99),
        }
    if "blue" in arms:
        for name in ("p50", "p95", "p99"):
            blue_ms = found[f"blue_{name}_ms"]
            found[f"{name}_ratio"] = found[f"green_{name}_ms"] / blue_ms if blue_ms else math.nan
    return {name: round(float(value), 4) for name, value in found.items() if math.isfinite(value)}


def _invalid(reason: str, found: Mapping[str, float] | None = None) -> Check:
    return Check(name="load", outcome=Outcome.INVALID, detail=reason, figures=found or {})
