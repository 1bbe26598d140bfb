"""What the front door's counts say: whether guests are served as they should be. Pure."""

from collections.abc import Iterator

from noren.domain.deployment import Slo
from noren.domain.evidence import ENOUGH, evidence
from noren.domain.observation import Counts

MIN_REQUESTS = 20  # fewer answers than this say nothing of an error rate
_MIN_FOR_P99 = 100
_WORSE_ODDS = 1.5  # how many times its part of the bad answers green may have while it shares the traffic with blue
_SLOWER, _NOTICED_MS = 2.0, 100.0  # times what guests had before, and more than so much: less than that nobody notices
_SLOW_SHARE = 0.05  # of the answers, where 0.01 is what a p99 allows
_BEYOND_DOUBT = 1e-5  # asked at every tick of a load test


def too_many_errors(name: str, counts: Counts, limit: float) -> str | None:
    """Why a revision is over its own limit, or None."""
    # As in the gate, one error is forgiven among few requests, unless none is allowed at all.
    allowed = max(1.0, limit * counts.requests) if limit else 0.0
    if counts.requests >= MIN_REQUESTS and counts.errors > allowed:
        return f"{name} answered {counts.errors} of {counts.requests} guests with 5xx (limit {limit:.2%})"
    return None


def worse(
    names: tuple[str, str], green: Counts, blue: Counts, *, share: int, slow_ms: float | None, looks: int
) -> str | None:
    """Why green is worse than its part of the traffic explains, or None. What hits both alike is no reason.

    names    of green and blue
    share    green's per cent of the traffic
    slow_ms  answers that took longer are bad ones too; None: only 5xx are
    looks    in how many steps of the rollout this is asked: each may err in its part of the cases
    """
    asked = {"with 5xx": (green.errors, blue.errors)}
    if slow_ms is not None:
        asked[f"in more than {slow_ms:.0f} ms"] = (green.slower_than(slow_ms), blue.slower_than(slow_ms))
    # Both questions are always counted, so that the second is not asked at the expense of the first.
    enough = 2 * looks * ENOUGH
    for how, (of_green, of_blue) in asked.items():
        if evidence(of_green, of_blue, share / 100, _WORSE_ODDS) >= enough:
            return (
                f"{names[0]} answered {of_green} of {green.requests} guests {how} at {share} % of the traffic, "
                f"{names[1]} {of_blue} of {blue.requests}"
            )
    return None


def suffering(name: str, before: Counts, during: Counts, slo: Slo) -> str | None:
    """Why a load test should not go on beside the guests of `name`, or None: since then they are served badly."""
    return next(_complaints(name, before, during, slo), None)


def _complaints(name: str, before: Counts, during: Counts, slo: Slo) -> Iterator[str]:
    healthy = too_many_errors(name, before, slo.error_rate) is None
    if healthy and during.requests >= MIN_REQUESTS and _beyond(during.errors, during.requests, slo.error_rate):
        yield f"{name} answered {during.errors} of {during.requests} guests with 5xx (limit {slo.error_rate:.2%})"
    usual_ms = before.p99_ms() if before.requests >= _MIN_FOR_P99 else None
    limit_ms = slo.p99_ms or (usual_ms and max(_SLOWER * usual_ms, usual_ms + _NOTICED_MS))
    if limit_ms is None or during.requests < _MIN_FOR_P99:
        return
    slow, slow_before = during.slower_than(limit_ms), before.slower_than(limit_ms)
    if slow_before <= _SLOW_SHARE * before.requests and _beyond(slow, during.requests, _SLOW_SHARE):
        yield f"{slow} of {during.requests} guests of {name} waited longer than {limit_ms:g} ms"


def _beyond(bad: int, requests: int, limit: float) -> bool:
    """Whether so many are beyond doubt more than a rate of `limit` gives: the tail of the binomial distribution."""
    from scipy.special import bdtrc  # see evidence.py

    return bad > limit * requests and float(bdtrc(bad - 1, requests, limit)) < _BEYOND_DOUBT
