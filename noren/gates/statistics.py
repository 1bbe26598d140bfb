"""The statistics of the gate: shifts of quantiles, and rates of errors.

Everything here is pure: numbers in, numbers out, and the same numbers for the same input. Latencies are compared by
the logarithm of their ratio, so that 10 % slower means the same for a quick service and a slow one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special  # scipy.stats, which rests on it, takes half a second to import

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate between two bounds, each of which the truth passes with a probability of at most `alpha`."""

    estimate: float
    low: float
    high: float

    def widened(self, by: float) -> "Interval":
        """With another, independent error of this half-width: they add as the legs of a right triangle do."""
        return Interval(
            estimate=self.estimate,
            low=self.estimate - math.hypot(self.estimate - self.low, by),
            high=self.estimate + math.hypot(self.high - self.estimate, by),
        )


def normal_quantile(p: float) -> float:
    """What a standard normal variable stays below with probability `p`."""
    return float(special.ndtri(p))


def student_quantile(freedom: int, p: float) -> float:
    """What Student's t with so many degrees of freedom stays below with probability `p`."""
    return float(special.stdtrit(freedom, p))


# Shifts of latency


def hodges_lehmann(differences: Sequence[float] | Floats, alpha: float) -> Interval:
    """The typical difference: the median of all averages of two (Walsh averages), with its signed-rank interval.

    differences  one per block, independent and symmetric about the shift; not finite ones raise ValueError
    alpha        of each side. With few differences no bound of that strength exists, and it is infinite: one side of
                 5 % needs 5 differences, 1 % needs 7.

    Hodges & Lehmann, Estimates of location based on rank tests (1963); Hollander, Wolfe & Chicken, Nonparametric
    Statistical Methods, 3.2-3.4. R has it as wilcox.test(x, conf.int = TRUE).
    """
    values = np.asarray(differences, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ValueError("a shift needs at least one difference, and all of them finite")
    rows, columns = np.triu_indices(values.size)
    walsh = np.sort((values[rows] + values[columns]) / 2)
    outside = _signed_rank_quantile(values.size, alpha)
    low, high = (walsh[outside], walsh[-1 - outside]) if outside >= 0 else (-math.inf, math.inf)
    return Interval(estimate=float(np.median(walsh)), low=float(low), high=float(high))


def _signed_rank_quantile(n: int, alpha: float) -> int:
    """How many Walsh averages may be cut off at one end: the largest w with P(W+ <= w) <= alpha; or -1."""
    return int(np.searchsorted(_signed_rank_cdf(n), alpha, side="right")) - 1


@lru_cache(maxsize=64)
def _signed_rank_cdf(n: int) -> Floats:
    """P(W+ <= w) for w = 0, 1, ...: each rank 1..n is in the sum with probability one half."""
    chances = np.array([1.0])
    for rank in range(1, n + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return np.cumsum(chances)


def tail_shift(
    green: Sequence[Floats], blue: Sequence[Floats], q: float, alpha: float, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """ln(quantile q of all of green / that of all of blue), with a bootstrap interval over whole blocks.

    A typical shift ignores what is rare: a pause in every fourth block is not typical, but guests meet it.

    green, blue  latencies of each block, in the same order and unit; a block is drawn with both arms, because what
                 happened to the machine in it happened to both. An arm without any latency raises ValueError.
    q            in (0, 1); alpha: of each side

    Percentile intervals, of whole blocks: Davison & Hinkley, Bootstrap Methods and their Application, 5.3 and 8.2.3.
    Few blocks make any bootstrap too sure of itself; the width is corrected by Student's t and by n / (n - 1), as
    Hesterberg, What Teachers Should Know About the Bootstrap (2015), 5.2, does ("expanded percentile").
    """
    estimate = math.log(_quantile(green, q) / _quantile(blue, q))
    blocks = len(green)
    if blocks < 2:
        return Interval(estimate=estimate, low=-math.inf, high=math.inf)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)  # how often each block is taken
    ratios = np.log(_weighted_quantiles(green, drawn, q) / _weighted_quantiles(blue, drawn, q))
    if not np.isfinite(ratios).all():  # an arm answered in too few blocks
        return Interval(estimate=estimate, low=-math.inf, high=math.inf)
    expanded = special.ndtr(math.sqrt(blocks / (blocks - 1)) * student_quantile(blocks - 1, alpha))
    low, high = np.quantile(ratios, [expanded, 1 - expanded])
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _quantile(blocks: Sequence[Floats], q: float) -> float:
    pooled = np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks]) if blocks else np.array([])
    if not pooled.size:
        raise ValueError("a quantile needs at least one latency")
    return float(np.quantile(pooled, q, method="inverted_cdf"))


def _weighted_quantiles(blocks: Sequence[Floats], drawn: NDArray[np.int64], q: float) -> Floats:
    """The quantile of the pooled latencies for each row of `drawn`; NaN where nothing was drawn."""
    pooled = np.concatenate(blocks)
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(pooled, kind="stable")
    pooled, owner = pooled[order], owner[order]
    found = np.empty(len(drawn))
    for number, weights in enumerate(drawn):
        reached = np.cumsum(weights[owner])
        total = reached[-1] if reached.size else 0
        found[number] = pooled[np.searchsorted(reached, q * total)] if total else math.nan
    return found


def launch_half_width(sigma: float, launches: int, alpha: float) -> float:
    """How far apart two equal versions may be by having been started, on the logarithmic scale.

    sigma     standard deviation of one launch's log latency, from A/A runs
    launches  of each arm
    """
    return -normal_quantile(alpha) * sigma * math.sqrt(2 / launches)


def quantile_bounds(values: Floats, q: float, alpha: float) -> Interval:
    """A quantile of independent values with bounds from the order of the values alone; infinite where they are too few.

    The number of values below the true quantile is binomial: David & Nagaraja, Order Statistics, 7.1. No values raise
    ValueError.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = ordered.size
    if not n:
        raise ValueError("a quantile needs at least one value")
    counts = np.arange(n + 1)
    # The fewest below with a chance of at least alpha, and the fewest that more are with a chance of at most alpha.
    low = int(np.argmax(special.bdtr(counts, n, q) >= alpha)) - 1
    high = int(np.argmax(special.bdtrc(counts, n, q) <= alpha))
    return Interval(
        estimate=float(np.quantile(ordered, q)),
        low=float(ordered[low]) if low >= 0 else -math.inf,
        high=float(ordered[high]) if high < n else math.inf,
    )


# Rates of errors


def clopper_pearson_upper(errors: int, requests: int, alpha: float) -> float:
    """Upper bound of a rate; 1 when nothing is known.

    Exact: Clopper & Pearson, Biometrika 26 (1934).
    """
    return 1.0 if errors >= requests else float(special.betaincinv(errors + 1, requests - errors, 1 - alpha))


def clopper_pearson_lower(errors: int, requests: int, alpha: float) -> float:
    """Lower bound of a rate."""
    return 0.0 if errors <= 0 else float(special.betaincinv(errors, requests - errors + 1, alpha))


def newcombe(errors_1: int, requests_1: int, errors_2: int, requests_2: int, alpha: float) -> Interval:
    """Rate 1 minus rate 2, with the hybrid score interval.

    Method 10 of Newcombe, Interval estimation for the difference between independent proportions (1998): the square
    and add of two intervals of Wilson's.
    """
    if not requests_1 or not requests_2:
        return Interval(estimate=0.0, low=-1.0, high=1.0)
    p1, p2 = errors_1 / requests_1, errors_2 / requests_2
    low_1, high_1 = _wilson(p1, requests_1, alpha)
    low_2, high_2 = _wilson(p2, requests_2, alpha)
    return Interval(
        estimate=p1 - p2,
        low=p1 - p2 - math.hypot(p1 - low_1, high_2 - p2),
        high=p1 - p2 + math.hypot(high_1 - p1, p2 - low_2),
    )


def _wilson(p: float, n: int, alpha: float) -> tuple[float, float]:
    """Wilson, Probable inference, the law of succession, and statistical inference (1927), without correction."""
    z = -normal_quantile(alpha)
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (middle - width) / scale, (middle + width) / scale


# Variances


def variance_between(groups: Sequence[Floats], alpha: float) -> tuple[float, float]:
    """By how much the means of groups vary beyond what the scatter within them explains: estimate and upper bound.

    groups  at least two, of at least two values each, or ValueError; one-way random effects, both normal
    alpha   the chance that the truth is above the bound, at most about that

    The estimate is that of the method of moments (Searle, Casella & McCulloch, Variance Components, 3.6): the variance
    of the means less the mean of their squared standard errors, and never below 0. The bound, by chi-square and F:
    Williams, A confidence interval for variance components, Biometrika 49 (1962); with groups of several sizes as in
    Thomas & Hultquist, Interval estimation for the unbalanced case, Annals of Statistics 6 (1978).
    """
    if len(groups) < 2 or min(len(group) for group in groups) < 2:
        raise ValueError("a variance between groups needs two of them, with two values each")
    among, within = len(groups) - 1, sum(len(group) - 1 for group in groups)
    of_means = float(np.var([group.mean() for group in groups], ddof=1))
    scatter = sum(float(np.var(group, ddof=1)) * (len(group) - 1) for group in groups) / within
    squared_error = scatter * float(np.mean([1 / len(group) for group in groups]))
    bound = of_means - float(special.fdtri(among, within, alpha)) * squared_error
    high = bound * among / float(2 * special.gammaincinv(among / 2, alpha))  # of chi-square
    return max(0.0, of_means - squared_error), max(0.0, high)
