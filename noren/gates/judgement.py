"""What a duet says of green: pure, and the same for the same measurement. docs/gate.md derives it."""

import math
import statistics as plain
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noren.domain.deployment import Slo
from noren.domain.verdict import Check, Outcome
from noren.gates import statistics
from noren.gates.duet import COMPLETED, QUANTILES, Measured, Plan, Samples
from noren.gates.statistics import Floats, Interval
from noren.gates.trust import distrust

ALPHA = 0.05  # the chance that a green exactly as bad as its margin passes
# The part of it that each look may use. Most is kept for the last (O'Brien & Fleming, A multiple testing procedure for
# clinical trials, 1979), and Bonferroni adds them up.
SPENDING = (0.1, 0.2, 0.7)
_BEYOND_DOUBT = 1e-5  # asked once a second
_BLOCKS = 16
_SHORTEST_BLOCK_S = 1.0
_FEWEST_BLOCKS = 5
MIN_REQUESTS = 50  # of one arm
_FEW = 3  # an endpoint with fewer requests is often a URL with an id in it: its one error says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One of the times at which a verdict may be given: the first `until_s` seconds, judged at level `alpha`."""

    until_s: float
    alpha: float
    last: bool


def looks(duration_s: float) -> tuple[Look, ...]:
    """After a third, two thirds, and all of the duration."""
    count = len(SPENDING)
    return tuple(
        Look(until_s=duration_s * number / count, alpha=ALPHA * part, last=number == count)
        for number, part in enumerate(SPENDING, 1)
    )


def look(duration_s: float, number: int, *, ended: bool) -> Look:
    """The look of this number, from 1; the last one when nothing more comes."""
    return looks(duration_s)[-1 if ended else number - 1]


def judge(plan: Plan, measured: Measured, at: Look) -> tuple[Check, ...]:
    """Every question that this look answers. HOLD: undecided; at a look that is not the last, measure on."""
    if measured.problem:
        return (Check(name="load", outcome=Outcome.INVALID, detail=measured.problem),)
    arms = {name: samples.until(at.until_s) for name, samples in measured.arms.items()}
    green, blue = arms["green"], arms.get("blue")
    # Order matters: first whether green answers at all, then who measured, and only then how fast.
    if broken := alarm(measured, arms, plan.slo):
        return (broken,)
    if reason := distrust(measured, plan, arms):
        return (Check(name="trust", outcome=Outcome.INVALID, detail=reason),)
    if reason := next(_too_few(arms), None):
        return (Check(name="samples", outcome=Outcome.INVALID, detail=reason),)
    checks = [_errors(green, blue, plan, at), _throughput(green, at), *_limits(green, plan.slo, at)]
    if blue:
        checks += [_shift(name, q, green, blue, plan, at) for name, q in QUANTILES.items()]
    return tuple(checks)


def alarm(measured: Measured, arms: Mapping[str, Samples], slo: Slo) -> Check | None:
    """What fails at once, at whatever time it is seen: an endpoint that never answers, errors beyond doubt."""
    green, blue = arms["green"], arms.get("blue")
    if broken := next(_broken_endpoints(measured, green, blue), None):
        return broken
    low = statistics.clopper_pearson_lower(green.errors, green.requests, _BEYOND_DOUBT)
    if low <= slo.error_rate or (blue and blue.errors * 2 > green.errors):
        return None
    figures = {"errors": green.errors, "requests": green.requests, "rate_low": low, "limit": slo.error_rate}
    return Check(name="errors", outcome=Outcome.FAIL, detail=_error_words(green, slo.error_rate), figures=figures)


def _too_few(arms: Mapping[str, Samples]) -> Iterator[str]:
    for name, samples in arms.items():
        if samples.requests < MIN_REQUESTS:
            advice = "raise gates.load.rate or gates.load.duration"
            yield f"{samples.requests} requests to {name} are too few to judge by (at least {MIN_REQUESTS}): {advice}"


# Errors


def _broken_endpoints(measured: Measured, green: Samples, blue: Samples | None) -> Iterator[Check]:
    """Endpoints of green that never answer, though blue's do."""
    for index, endpoint in enumerate(measured.endpoints):
        sent, good = len(green.of(index)), green.of(index)["ok"].any()
        if sent >= _FEW and not good and not (blue and len(blue.of(index)) and not blue.of(index)["ok"].any()):
            detail = f"all {sent} requests of {endpoint} failed: {worst(green)}"
            yield Check(name="errors", outcome=Outcome.FAIL, detail=detail, figures={"requests": sent})


def _errors(green: Samples, blue: Samples | None, plan: Plan, at: Look) -> Check:
    """Green's own rate of errors against its limit, and its difference to blue's against the margin."""
    limit, n, k = plan.slo.error_rate, green.requests, green.errors
    low = statistics.clopper_pearson_lower(k, n, at.alpha)
    high = statistics.clopper_pearson_upper(k, n, at.alpha)
    found = {"errors": k, "requests": n, "rate": k / n, "rate_low": low, "rate_high": high, "limit": limit}
    said = _error_words(green, limit)
    # A limit of zero is kept by answering everything: no number of answers proves that the next one will be good.
    outcome = _place(low, high, limit) if limit else (Outcome.FAIL if k else Outcome.PASS)
    if blue and outcome is not Outcome.FAIL:
        margin = plan.gate.margins.errors
        difference = statistics.newcombe(k, n, blue.errors, blue.requests, at.alpha)
        found |= {"blue_errors": blue.errors, "difference": difference.estimate, "difference_high": difference.high}
        found |= {"margin": margin}
        compared = _place(difference.low, difference.high, margin)
        if compared is not Outcome.PASS:
            said += f"; blue {blue.errors} of {blue.requests}: up to {difference.high:.2%} more (margin {margin:.2%})"
            outcome = compared
    if outcome is Outcome.HOLD:
        said += ": not enough requests to tell"
    return Check(name="errors", outcome=outcome, detail=said, figures=found)


def _error_words(samples: Samples, limit: float) -> str:
    rate = samples.errors / samples.requests
    said = f"{samples.errors} of {samples.requests} requests failed ({rate:.2%}, limit {limit:.2%})"
    return f"{said}, most of them with {worst(samples)}" if samples.errors else said


def worst(samples: Samples) -> str:
    """The commonest failure, in its own words."""
    return max(samples.failures, key=lambda message: samples.failures[message], default="no message")


# Absolute limits


def _limits(green: Samples, slo: Slo, at: Look) -> Iterator[Check]:
    for name, q in QUANTILES.items():
        limit_ms = getattr(slo, f"{name}_ms")
        if limit_ms is None:
            continue
        found = statistics.quantile_bounds(green.known["latency_ms"], q, at.alpha)
        outcome = _place(found.low, found.high, limit_ms)
        said = f"{name} {found.estimate:.1f} ms {_between(found, 'ms')}, limit {limit_ms:g} ms"
        figures = {"estimate_ms": found.estimate, "low_ms": found.low, "high_ms": found.high, "limit_ms": limit_ms}
        yield Check(name=f"slo {name}", outcome=outcome, detail=said, figures=_finite(figures))


def _throughput(green: Samples, at: Look) -> Check:
    """Whether green keeps up with what is offered. What is not sent, because so many are open, counts as not kept."""
    offered = green.requests + green.dropped
    answered = int(np.count_nonzero(green.rows["endpoint"] >= 0))
    share = answered / offered
    detail = f"{answered} of {offered} requests were answered ({share:.1%}, at {offered / at.until_s:.0f} a second)"
    if green.dropped:
        detail += f": {green.dropped} could not be sent, because so many were open"
    outcome = Outcome.PASS if share >= COMPLETED else Outcome.FAIL
    figures = {"offered": offered, "answered": answered, "dropped": green.dropped, "share": share}
    return Check(name="throughput", outcome=outcome, detail=detail, figures=figures)


# Shifts against blue


def _shift(name: str, q: float, green: Samples, blue: Samples, plan: Plan, at: Look) -> Check:
    """How much slower than blue green is at one quantile, with everything that may be chance."""
    parts = blocks(at.until_s)
    of_green, of_blue = cut(green, at.until_s, parts), cut(blue, at.until_s, parts)
    if q < 0.99:
        found = _typical(of_green, of_blue, q, at.alpha)
    else:  # what is rare is not typical of a block: the tail is taken over all of them
        found = statistics.tail_shift(of_green, of_blue, q, at.alpha, seed=plan.seed)
    width = statistics.launch_half_width(plan.gate.launch_sigma, 1, at.alpha)
    found = found.widened(width)
    green_ms, blue_ms = green.quantile_ms(q), blue.quantile_ms(q)
    allowed: float = getattr(plan.gate.margins, name)
    margin = max(allowed, plan.gate.slack_ms / blue_ms) if blue_ms > 0 else allowed
    outcome = _place(found.low, found.high, math.log1p(margin))
    low, ratio, high = (math.exp(min(v, 50)) for v in (found.low, found.estimate, found.high))
    said = f"{name} {green_ms:.1f} ms is {ratio:.2f}x blue's {blue_ms:.1f} ms"
    said += f", {low:.2f}-{high:.2f}x with all chance" if math.isfinite(found.high) else ""
    said += f" (margin {1 + margin:.2f}x" + (f", {plan.gate.slack_ms:g} ms)" if margin > allowed else ")")
    figures = {
        "green_ms": green_ms, "blue_ms": blue_ms, "ratio": ratio, "ratio_low": low, "ratio_high": high,
        "margin": 1 + margin, "blocks": parts,
    }  # fmt: skip
    return Check(name=name, outcome=outcome, detail=said, figures=_finite(figures))


def _typical(green: Sequence[Floats], blue: Sequence[Floats], q: float, alpha: float) -> Interval:
    logs = [
        math.log(np.quantile(g, q) / np.quantile(b, q)) for g, b in zip(green, blue, strict=True) if g.size and b.size
    ]
    if len(logs) < _FEWEST_BLOCKS:
        return Interval(estimate=plain.median(logs) if logs else 0.0, low=-math.inf, high=math.inf)
    return statistics.hodges_lehmann(logs, alpha)


def blocks(until_s: float) -> int:
    """How many blocks a measurement is cut into."""
    return max(1, min(_BLOCKS, int(until_s / _SHORTEST_BLOCK_S)))


def cut(samples: Samples, until_s: float, parts: int) -> list[Floats]:
    """Latencies of each block of equal length, by when their arrival was due."""
    known = samples.known
    index = np.minimum((known["due_s"] * parts / until_s).astype(int), parts - 1)
    latency_ms = np.maximum(known["latency_ms"], 1e-3)  # logarithms follow
    return [latency_ms[index == number] for number in range(parts)]


def _place(low: float, high: float, limit: float) -> Outcome:
    """Where an interval lies: surely within the limit, surely beyond it, or across."""
    if high < limit:
        return Outcome.PASS
    return Outcome.FAIL if low > limit else Outcome.HOLD


def _between(found: Interval, unit: str) -> str:
    return f"({found.low:.1f}-{found.high:.1f} {unit} with chance)" if math.isfinite(found.high) else ""


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}
