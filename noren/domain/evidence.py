"""Whether a canary is worse than what it replaces, asked at any time and as often as one likes."""

import math

ENOUGH = 100.0  # errs at most once in so many rollouts


def evidence(green: int, blue: int, share: float, odds: float) -> float:
    """How much the bad events of a canary speak for "green has more than its part of them"; against it below 1.

    green, blue  bad events of each so far
    share        green's part of the traffic, in (0, 1)
    odds         how much worse than blue green may be: 1.5 means half as bad again

    Rolling back at 100 errs at most once in 100 rollouts, whenever and however often one looks (Ville's inequality):
    the ratio of a mixture over all worse shares, Beta(20 r0, 20 - 20 r0) cut off below r0, to r0 itself, which is the
    worst of the allowed. What hits both alike cancels. Howard, Ramdas, McAuliffe & Sekhon, Time-uniform,
    nonparametric, nonasymptotic confidence sequences (2021); Robbins, Statistical methods related to the law of the
    iterated logarithm (1970). Raises ValueError for a share or odds that mean nothing.
    """
    from scipy.special import betaincc, betaln  # a tenth of a second, which no command line has to wait for

    if not 0 < share < 1 or odds <= 0:
        raise ValueError("a share is between 0 and 1, and odds are positive")
    r0 = odds * share / (odds * share + 1 - share)
    a, b = 20 * r0, 20 * (1 - r0)
    beyond = float(betaincc(a + green, b + blue, r0))
    if beyond <= 0:  # so little speaks for it that the number has no room for it
        return 0.0
    log = float(betaln(a + green, b + blue) - betaln(a, b)) + math.log(beyond / float(betaincc(a, b, r0)))
    log -= green * math.log(r0) + blue * math.log1p(-r0)
    return math.exp(min(log, 700.0))
