"""What a load test can tell, known before it runs. Pure."""

import math

from noren.domain.deployment import Revision

LAST_ALPHA = 0.035  # the level of the last look: see noren.gates.judgement.looks
LAST_Z = 1.8119  # its normal quantile


def too_few_requests(wanted: Revision, blue: Revision | None) -> str:
    """What a person should know of a load test that must end in HOLD, however well green does; "" when it need not.

    Without a single error the upper bound of green's rate is 1 - alpha ** (1 / n) (Clopper and Pearson 1934), and that
    of its difference to blue's is z² / (n + z²) (Newcombe 1998, method 10): each must come below its limit.
    """
    load, limit = wanted.gates.load, wanted.slo.error_rate
    if not load.enabled:
        return ""
    sent = int(load.rate * load.duration.total_seconds())
    needed = {f"slo.error_rate of {limit:.2%}": _for_limit(limit)}
    if blue:
        needed[f"gates.load.margins.errors of {load.margins.errors:.2%}"] = _for_margin(load.margins.errors)
    what, least = max(needed.items(), key=lambda item: item[1])
    if sent >= least:
        return ""
    return (
        f"its load test sends {sent:,} requests, and {least:,} without an error are needed to tell that it keeps its "
        f"{what}: it will end in HOLD. Raise gates.load.duration to {math.ceil(least / load.rate)}s, or that limit"
    )


def _for_limit(limit: float) -> int:
    """Requests; 0 where no number of them is asked for: a limit of zero is kept by answering everything."""
    return math.ceil(math.log(LAST_ALPHA) / math.log(1 - limit)) if 0 < limit < 1 else 0


def _for_margin(margin: float) -> int:
    return math.ceil(LAST_Z**2 * (1 - margin) / margin) if 0 < margin < 1 else 0
