"""Exponential smoothing and Theta for one series, in NumPy: a whole grid of parameters at once.

Smoothing is linear in the series and in the state it starts from. So one pass over the series, for all parameters of a
grid side by side, and least squares for the start are the best fit up to the width of the grid. No optimiser can fail
or stop early, every smoothing is stable, and the time it takes is known. Tests hold the arithmetic to statsmodels.

Sources: Holt 1957 and Gardner & McKenzie 1985 (trend, damped trend), Hyndman et al. 2008 (their state space form),
Assimakopoulos & Nikolopoulos 2000 (Theta), Hyndman & Billah 2003 (what Theta is), Fiorucci et al. 2016 (dynamic Theta),
Makridakis & Hibon 2000 (the test for seasons), Miller & Williams 2003 (shrinking seasonal factors).
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CANDIDATES = ("naive", "simple", "trend", "damped", "theta", "dynamic theta")

_RIDGE = 1e-9  # keeps a start that changes nothing, such as the trend of simple smoothing, at 0
_FLAT = 1e-12  # mean step, relative to the largest value, below which a series is constant up to rounding
_LEAST_FACTOR = 0.01  # of a season: dividing by less would make noise of rounding
_TINY = 1e-300  # products and parts of anything smaller may be 0


def _grid(alphas: Floats, shares: tuple[float, ...], phis: tuple[float, ...]) -> Floats:
    """[3, k]: every alpha, beta (a share of alpha, as stability asks) and phi."""
    alpha, share, phi = (axis.ravel() for axis in np.meshgrid(alphas, shares, phis, indexing="ij"))
    return np.stack([alpha, alpha * share, phi])


_COARSE = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99])
_FINE = np.array([0.02, *(np.arange(1, 20) / 20), 0.99])
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8)
_FAMILIES = {
    "simple": _grid(_FINE, (0.0,), (0.0,)),
    "trend": _grid(_COARSE, _SHARES, (1.0,)),
    "damped": _grid(_COARSE, _SHARES, (0.8, 0.9, 0.95, 0.98)),
}
_ALPHA, _BETA, _PHI = np.concatenate(list(_FAMILIES.values()), axis=1)
_ENDS = np.cumsum([family.shape[1] for family in _FAMILIES.values()]).tolist()
_PLACES = {name: slice(start, end) for name, start, end in zip(_FAMILIES, [0, *_ENDS[:-1]], _ENDS, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a pass over n values leaves, for all K parameters.

    It is three in one, because the errors of a sum of starts are the sum of their errors: over the series from nothing,
    over zeros from a level of 1, and over zeros from a trend of 1.

    errors  [n, 3, K] of the forecasts one step ahead
    level   [3, K] at the end
    trend   [3, K] at the end
    """

    errors: Floats
    level: Floats
    trend: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The best smoothing of a family.

    start         level and trend before the first value
    level, trend  after the last one
    sse           sum of the squared errors one step ahead
    """

    alpha: float
    beta: float
    phi: float
    start: tuple[float, float]
    level: float
    trend: float
    sse: float

    def path(self, horizon: int) -> Floats:
        """The next `horizon` values."""
        return np.asarray(self.level + self.trend * np.cumsum(self.phi ** np.arange(1, horizon + 1)))


def smooth(values: Floats) -> Pass:
    """Pass over the values."""
    series = np.zeros((len(values), 3, 1))
    series[:, 0, 0] = values
    errors = np.empty((len(values), 3, len(_ALPHA)))
    level, trend = np.zeros((2, 3, len(_ALPHA)))
    level[1] = trend[2] = 1.0
    for value, error in zip(series, errors, strict=True):
        carried = _PHI * trend
        expected = level + carried
        np.subtract(value, expected, out=error)
        level = expected + _ALPHA * error
        trend = carried + _BETA * error
    return Pass(errors=errors, level=level, trend=trend)


def best(done: Pass, family: str) -> Fit:
    """The smoothing of the family ("simple", "trend" or "damped") with the least squared errors."""
    place = _PLACES[family]
    level, trend, sse = _start(_moments(done.errors[:, :, place]))
    found = int(sse.argmin())
    start = np.array([1.0, level[found], trend[found]])
    k = place.start + found
    return Fit(
        alpha=float(_ALPHA[k]),
        beta=float(_BETA[k]),
        phi=float(_PHI[k]),
        start=(float(start[1]), float(start[2])),
        level=float(start @ done.level[:, k]),
        trend=float(start @ done.trend[:, k]),
        sse=float(sse[found]),
    )


def theta(values: Floats, done: Pass, horizon: int, *, dynamic: bool, share: tuple[float, float]) -> Floats:
    """The next values by simple smoothing that follows a part of the slope of a line through the values.

    dynamic   the line is that of what was seen so far, forecasts included; else that of all values
    share     least and largest part, 1 - 1/theta of the papers: exactly 1/2 in the method of 2000. The best one between
              them is found by least squares, with the starting level: the errors are linear in both
    """
    place, n = _PLACES["simple"], len(values)
    seen = np.arange(n + 1.0)
    total, moment = (np.concatenate([[0.0], np.cumsum(terms)]) for terms in (values, seen[1:] * values))
    lines = np.stack(_line(seen, total, moment))[:, :, None]
    pull = _pull(_ALPHA[place], seen[:-1, None], *(lines[:, :-1] if dynamic else lines[:, -1:]))
    errors = done.errors[:, :, place].copy()
    errors[:, 2] = -pull  # in the place of the trend, which simple smoothing has not
    start, follow, sse = _start(_moments(errors), *share)
    found = int(sse.argmin())
    alpha, part = float(_ALPHA[place][found]), float(follow[found])
    level = float(done.level[0, place][found] + start[found] * done.level[1, place][found])
    sums, line = (float(total[-1]), float(moment[-1])), (float(lines[0, -1, 0]), float(lines[1, -1, 0]))
    path = np.empty(horizon)
    for step in range(horizon):
        path[step] = point = level + part * _pull(alpha, n + step, *line)
        level += alpha * (point - level)
        if dynamic:  # the forecast is taken for a value
            sums = sums[0] + point, sums[1] + (n + step + 1) * point
            line = _line(n + step + 1, *sums)
    return path


def _line(count: Any, total: Any, moment: Any) -> tuple[Any, Any]:
    """Intercept and slope of the line through values number 1 .. count, by least squares; flat through a single one.

    total, moment   sums of the values, and of their number * value
    """
    slope = 12 * (moment - (count + 1) / 2 * total) / np.maximum(count * (count * count - 1), 1)
    return total / np.maximum(count, 1) - slope * (count + 1) / 2, slope


def _pull(alpha: Any, count: Any, intercept: Any, slope: Any) -> Any:
    """What following the line entirely would add to simple smoothing, `count` values after the start."""
    decay = (1 - alpha) ** count
    return decay * intercept + (1 - decay * (1 - alpha)) / alpha * slope


def _moments(errors: Floats) -> Floats:
    """[3, 3, k]: sums of the products of the three errors."""
    return np.asarray(np.einsum("nik,njk->ijk", errors, errors))


def _start(moments: Floats, low: float = -np.inf, high: float = np.inf) -> tuple[Floats, Floats, Floats]:
    """The two numbers that make error 0 + first * error 1 + second * error 2 least, and its sum of squares: [k] each.

    `second` stays between `low` and `high`.
    """
    (m00, m01, m02), (_, m11, m12), (_, _, m22) = moments
    second = np.clip((m01 * m12 / m11 - m02) / (m22 - m12 * m12 / m11 + _RIDGE), low, high)
    first = -(m01 + second * m12) / m11
    sse = m00 + first * (first * m11 + 2 * m01) + second * (second * m22 + 2 * m02) + 2 * first * second * m12
    return first, second, sse


def candidates(values: Floats, horizon: int, *, period: int = 1) -> tuple[Floats, tuple[str, ...]]:
    """[C, horizon]: what each of CANDIDATES expects, and who diverged and was replaced by the naive forecast.

    period   length of the season; 1: none. Needs twice as many values, and at least 2
    """
    seasons = decompose(values, period)
    adjusted = seasons.removed(values)
    paths, diverged = _tamed(_paths(adjusted, horizon), adjusted)
    return seasons.restored(paths, after=len(values)), diverged


def _paths(adjusted: Floats, horizon: int) -> Floats:
    step = mean_step(adjusted)
    if not step:
        return np.full((len(CANDIDATES), horizon), adjusted[-1])
    scaled = (adjusted - adjusted[0]) / step  # one size for all series, so that _RIDGE is small for each
    done = smooth(scaled)
    found = [
        np.full(horizon, scaled[-1]),
        *(best(done, family).path(horizon) for family in _FAMILIES),
        theta(scaled, done, horizon, dynamic=False, share=(0.5, 0.5)),
        theta(scaled, done, horizon, dynamic=True, share=(0.0, 1.0)),
    ]
    points: Floats = adjusted[0] + step * np.stack(found)
    return points


def mean_step(values: Floats) -> float:
    """Mean distance of neighbours; 0 for a series that is constant up to rounding."""
    step = float(np.abs(np.diff(values)).mean()) if len(values) > 1 else 0.0
    return step if step > max(_FLAT * float(np.abs(values).max()), _TINY) else 0.0


def _tamed(paths: Floats, adjusted: Floats) -> tuple[Floats, tuple[str, ...]]:
    """With the naive path in place of those that leave the room which the past makes plausible."""
    horizon = paths.shape[1]
    room = np.ptp(adjusted) * (2 + 4 * np.arange(1, horizon + 1) / len(adjusted))
    inside = (np.abs(paths - paths[0]) <= room).all(axis=1)  # false for NaN, too
    diverged = tuple(name for name, fits in zip(CANDIDATES, inside, strict=True) if not fits)
    return np.where(inside[:, None], paths, paths[0]), diverged


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons:
    """A factor (a term, where values are not all positive) for each place in the season, from the first value on."""

    factors: Floats
    multiplicative: bool

    def removed(self, values: Floats) -> Floats:
        """The values without seasons."""
        by = self._at(0, len(values))
        return values / by if self.multiplicative else values - by

    def restored(self, paths: Floats, *, after: int) -> Floats:
        """Paths [..., H] that follow `after` values, with seasons."""
        by = self._at(after, paths.shape[-1])
        return paths * by if self.multiplicative else paths + by

    def _at(self, start: int, count: int) -> Floats:
        return self.factors[np.arange(start, start + count) % len(self.factors)]


def decompose(values: Floats, period: int) -> Seasons:
    """Classical decomposition: the mean of each place in the season, beside a moving average of one season.

    The factors are drawn to 1 as far as they may be noise (Miller & Williams 2003, by James-Stein): at most by
    (period - 3) / (period - 1), and hardly at all where they differ much more than their means are uncertain.
    """
    multiplicative = bool(values.min() > _TINY)
    neutral = 1.0 if multiplicative else 0.0
    if period < 2:
        return Seasons(factors=np.array([neutral]), multiplicative=multiplicative)
    ratios, place = _beside_average(values, period, multiplicative=multiplicative)
    count = np.bincount(place, minlength=period)
    means = np.bincount(place, ratios, period) / count
    spare = len(ratios) - period
    noise = float(np.sum((ratios - means[place]) ** 2 / count[place])) / spare if spare > 0 else 0.0
    means = means / means.mean() if multiplicative else means - means.mean()
    signal = float(np.sum((means - neutral) ** 2)) / (period - 1)
    drawn = max(0, period - 3) / (period - 1) * (noise / max(signal, noise) if noise else 0.0)
    factors = drawn * neutral + (1 - drawn) * means
    return Seasons(
        factors=np.maximum(factors, _LEAST_FACTOR) if multiplicative else factors, multiplicative=multiplicative
    )


def _beside_average(values: Floats, period: int, *, multiplicative: bool) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Values over (or minus) the centred moving average, where there is one, and their places in the season."""
    window = np.ones(period) if period % 2 else np.concatenate([[0.5], np.ones(period - 1), [0.5]])
    average = np.convolve(values, window / period, mode="valid")
    first = period // 2
    inner = values[first : first + len(average)]
    place = (first + np.arange(len(average))) % period
    return (inner / average if multiplicative else inner - average), place


def is_seasonal(values: Floats, period: int) -> bool:
    """Whether the autocorrelation at the season is positive at 90 %, as in the M competitions; needs three seasons.

    Asked of the values and of their steps: a trend hides the season in the one, noise hides it in the other.
    """
    if period < 2 or len(values) < 3 * period:
        return False
    return _repeats(values, period) or _repeats(np.diff(values), period)


def _repeats(values: Floats, period: int) -> bool:
    around = values - values.mean()
    size = float(np.abs(around).max())
    if size <= max(_FLAT * float(np.abs(values).max()), _TINY):
        return False
    around = around / size  # squares of huge or tiny values stay numbers
    *before, at_season = (float(around[lag:] @ around[:-lag] / (around @ around)) for lag in range(1, period + 1))
    return bool(at_season > 1.645 * sqrt((1 + 2 * sum(r * r for r in before)) / len(values)))


def origins(count: int, horizon: int, *, shortest: int, most: int) -> list[int]:
    """Where the past of a rolling back-test ends: up to `most` places, evenly spaced over the last `horizon` values."""
    step = ceil(horizon / most)
    return [origin for origin in range(count - step, count - step * most - 1, -step) if origin >= shortest]
