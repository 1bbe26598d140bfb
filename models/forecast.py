"""Forecasts of one series: smoothing and Theta, averaged by how well each did on the series' own past, with intervals.

A series is studied alone: every candidate of models/smoothing.py forecasts it, now and from a few origins in its past.
What that means is read with settings that training found on many series of the same frequency: how much to trust each
candidate to begin with, how strongly its back-test changes that, how errors grow with the horizon, and how many times
its mean back-test error a forecast is off in 50 ... 99 % of the cases. That last is a conformal prediction whose
calibration set is other series (Vovk et al. 2005, Stankeviciute et al. 2021): it holds whatever the errors look like.

Why averages: in the M competitions the mean of several methods beat each of them (Makridakis & Hibon 2000).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from models.smoothing import CANDIDATES, Floats, candidates, is_seasonal, mean_step, origins

SEASONS: Mapping[str, int] = {"quarterly": 4, "monthly": 12, "weekly": 52, "daily": 7, "hourly": 24}
OTHER = "other"  # settings of series without a frequency
ANY = "any"  # settings of frequencies that were not in training
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # of the intervals that are calibrated

WINDOW = 1_000  # values that are looked at; smoothing has forgotten what is older
SHORTEST = 6  # values below which there is no past to test anything on
ORIGINS = 6
_LEAST_PAST = 5  # values before the first origin
_DOUBT = 4.0  # mean steps that count like back-test errors, so that a few lucky ones do not make an interval narrow
_FORMAT = 1  # of to_bytes(); raise it when what is stored changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What training found for a frequency.

    weights    [C] trust in each candidate, before its back-test on the series
    power      trust is multiplied by (error of the best candidate / own error) ** power
    growth     errors grow with horizon ** growth
    quantiles  of |error| / (scale * horizon ** growth), at LEVELS; see `scale_of`

    Raises ValueError when a value cannot work.
    """

    weights: tuple[float, ...]
    power: float
    growth: float
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(CANDIDATES) or not (min(self.weights) >= 0 and 0 < sum(self.weights) < np.inf):
            raise ValueError(f"weights must be {len(CANDIDATES)} numbers from 0 on, not all 0, not {self.weights}")
        rising = all(a <= b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False))
        if len(self.quantiles) != len(LEVELS) or not (rising and self.quantiles[0] > 0 and self.quantiles[-1] < np.inf):
            raise ValueError(f"quantiles must be {len(LEVELS)} positive, rising numbers, not {self.quantiles}")
        if not (0 <= self.power < np.inf and 0 <= self.growth < np.inf):
            raise ValueError(f"power and growth must be numbers from 0 on, not {self.power} and {self.growth}")

    def reach(self, level: float) -> float:
        """How many scales an interval of this level reaches to each side; between LEVELS as a normal law would bend."""
        known = np.array([_normal(one) for one in LEVELS])
        wanted = _normal(level)
        at = float(np.clip(wanted, known[0], known[-1]))
        return float(np.interp(at, known, self.quantiles)) * wanted / at


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What a series says by itself; C candidates, horizon H, back-tested from O origins up to B steps ahead.

    points   [C, H]
    errors   [C, O, B] actual - forecast; NaN beyond the end of the series. O = 0: too short or constant
    actual   [O, B]
    step     mean distance of neighbours
    period   length of the season that was found; 1: none. `expected_period` is that of the frequency
    count    values that were given, of which the last WINDOW were used
    positive whether no value is below zero
    diverged candidates that were replaced by the naive forecast
    """

    points: Floats
    errors: Floats
    actual: Floats
    step: float
    period: int
    expected_period: int
    count: int
    positive: bool
    diverged: tuple[str, ...]

    @property
    def tested(self) -> bool:
        """Whether there was enough past to test on."""
        return self.errors.size > 0

    @property
    def skill(self) -> Floats:
        """[C]: error of the best candidate over the own error, in the back-test; 1 where there was none."""
        if not self.tested:
            return np.ones(len(CANDIDATES))
        errors = np.nanmean(np.abs(self.errors), axis=(1, 2)) + 1e-9 * self.step
        return np.asarray(errors.min() / errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a future value is with a probability of `level`: [H] each."""

    level: float
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """Errors of the average on the series' own past: mean sMAPE in %, mean absolute, and that of the naive forecast."""

    smape: float
    mae: float
    naive_mae: float
    origins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The answer. `model` is the candidate with the largest share in the average."""

    points: Floats
    intervals: tuple[Interval, ...]
    model: str
    shares: dict[str, float]
    seasonal: bool
    backtest: Backtest | None
    warnings: tuple[str, ...]


class ForecastModel:
    """Settings by frequency. Immutable; safe to share between threads."""

    def __init__(self, settings: Mapping[str, Settings]) -> None:
        if ANY not in settings:
            raise ValueError(f"there must be settings for {ANY!r}")
        self._settings = dict(settings)

    @property
    def settings(self) -> Mapping[str, Settings]:
        """By frequency, OTHER and ANY."""
        return self._settings

    def forecast(
        self, values: Floats, *, horizon: int, frequency: str | None = None, levels: Sequence[float] = (0.8, 0.95)
    ) -> Forecast:
        """The next `horizon` values after finite `values`, oldest first. Deterministic."""
        return self.read(study(values, horizon, frequency), frequency, levels)

    def read(self, found: Study, frequency: str | None, levels: Sequence[float]) -> Forecast:
        """What a study means, for a series of this frequency."""
        own = self._settings.get(frequency or OTHER)
        settings = own or self._settings[ANY]
        shares = shares_of(found, settings)
        points = shares @ found.points
        scale = scale_of(found, shares, settings)
        clipped = found.positive and bool((points < 0).any())
        floor = 0.0 if found.positive else -np.inf
        return Forecast(
            points=np.maximum(points, floor),
            intervals=tuple(
                Interval(
                    level=level,
                    lower=np.maximum(points - settings.reach(level) * scale, floor),
                    upper=np.maximum(points + settings.reach(level) * scale, floor),
                )
                for level in sorted(levels)
            ),
            model=CANDIDATES[int(shares.argmax())],
            shares={name: float(share) for name, share in zip(CANDIDATES, shares, strict=True) if share > 0},
            seasonal=found.period > 1,
            backtest=_backtest_of(found, shares),
            warnings=tuple(_warnings(found, known=own is not None or frequency is None, clipped=clipped)),
        )

    def to_bytes(self) -> bytes:
        """The settings as JSON."""
        settings = {name: asdict(one) for name, one in self._settings.items()}
        document = {"forecast": _FORMAT, "candidates": CANDIDATES, "levels": LEVELS, "settings": settings}
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ForecastModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        try:
            stored = json.loads(data)
            if stored["forecast"] != _FORMAT:
                raise ValueError(f"format {stored['forecast']!r}, and this code reads {_FORMAT}: train again")
            if (tuple(stored["candidates"]), tuple(stored["levels"])) != (CANDIDATES, LEVELS):
                raise ValueError("it was trained for other candidates: train again")
            return cls({name: _settings(one) for name, one in stored["settings"].items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is not a stored forecast model: {error}") from error


def study(values: Floats, horizon: int, frequency: str | None) -> Study:
    """Let every candidate forecast finite `values`, and test each on their past."""
    recent = values[-WINDOW:]
    expected = SEASONS.get(frequency or OTHER, 1)
    step = mean_step(recent)
    testable = len(recent) >= SHORTEST and step > 0
    # Whether there are seasons is asked once, of all values; a back-test of 3 years knows little of a season of 12.
    period = expected if testable and is_seasonal(recent, expected) else 1
    if testable:
        points, diverged = candidates(recent, horizon, period=period)
        errors, actual = _backtest(recent, horizon, period)
    else:
        points, diverged = np.full((len(CANDIDATES), horizon), recent[-1]), ()
        errors, actual = np.empty((len(CANDIDATES), 0, 0)), np.empty((0, 0))
    return Study(
        points=points,
        errors=errors,
        actual=actual,
        step=step,
        period=period,
        expected_period=expected,
        count=len(values),
        positive=bool(recent.min() >= 0),
        diverged=diverged,
    )


def _backtest(values: Floats, horizon: int, period: int) -> tuple[Floats, Floats]:
    """Errors [C, O, B] and actual values [O, B] from rolling origins; each sees nothing of what comes after it."""
    reach = min(horizon, len(values) // 2)
    places = origins(len(values), reach, shortest=max(_LEAST_PAST, 2 * period), most=ORIGINS)
    errors = np.full((len(CANDIDATES), len(places), reach), np.nan)
    actual = np.full((len(places), reach), np.nan)
    for place, origin in enumerate(places):
        after = values[origin : origin + reach]
        points, _ = candidates(values[:origin], len(after), period=period)
        errors[:, place, : len(after)] = after - points
        actual[place, : len(after)] = after
    return errors, actual


def shares_of(found: Study, settings: Settings) -> Floats:
    """[C]: part of each candidate in the average; they add up to 1. The naive forecast where nothing was tested."""
    if not found.tested:
        return np.asarray([float(name == "naive") for name in CANDIDATES])
    trust = np.array(settings.weights) * found.skill**settings.power
    return np.asarray(trust / trust.sum())


def scale_of(found: Study, shares: Floats, settings: Settings) -> Floats:
    """[H]: mean error to be expected at each horizon, from the back-test of the average."""
    growth = settings.growth if found.tested else max(0.5, settings.growth)  # at least that of a random walk
    mixed = np.abs(np.tensordot(shares, found.errors, 1))
    one_step = mixed / np.arange(1, mixed.shape[1] + 1) ** growth
    known = one_step[np.isfinite(one_step)]
    scale = (known.sum() + _DOUBT * found.step) / (known.size + _DOUBT)
    return np.asarray(scale * np.arange(1, found.points.shape[1] + 1) ** growth)


def smape(actual: Floats, points: Floats) -> Floats:
    """Symmetric absolute percentage error of each value, 0 to 200; 0 where both are 0."""
    size = np.abs(actual) + np.abs(points)
    return np.asarray(200 * np.abs(actual - points) / np.where(size > 0, size, 1.0))


def filled(values: Sequence[float | None]) -> tuple[Floats, int]:
    """With what is missing put on the line between its neighbours (at the ends: equal to the next), and how many were.

    At least one value must be there.
    """
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    missing = np.isnan(numbers)
    if not missing.any():
        return numbers, 0
    at = np.arange(len(numbers))
    return np.interp(at, at[~missing], numbers[~missing]), int(missing.sum())


def _backtest_of(found: Study, shares: Floats) -> Backtest | None:
    if not found.tested:
        return None
    mixed = np.tensordot(shares, found.errors, 1)
    there = np.isfinite(mixed)
    return Backtest(
        smape=float(smape(found.actual[there], (found.actual - mixed)[there]).mean()),
        mae=float(np.abs(mixed[there]).mean()),
        naive_mae=float(np.abs(found.errors[CANDIDATES.index("naive")][there]).mean()),
        origins=len(mixed),
    )


def _warnings(found: Study, *, known: bool, clipped: bool) -> list[str]:
    """What the reader should know. No values in them: they may be logged."""
    horizon = found.points.shape[1]
    told = []
    if found.step == 0:
        told.append("the series is constant: its value is repeated, and the intervals have no width")
    elif not found.tested:
        told.append(f"fewer than {SHORTEST} values: the last one is repeated, and the intervals rest on very little")
    elif found.count < 3 * found.expected_period:
        told.append("fewer than three seasons: seasons are not modelled")
    if found.count > WINDOW:
        told.append(f"only the last {WINDOW:,} values were used")
    if horizon > found.count:
        told.append("the horizon is longer than the series")
    if found.diverged:
        told.append(f"diverged, and replaced by the naive forecast: {', '.join(found.diverged)}")
    if clipped:
        told.append("the series is never below zero: points below zero were set to zero")
    if not known:
        told.append("the model was not trained on this frequency: settings of all others together were used")
    return told


def _settings(stored: Mapping[str, Any]) -> Settings:
    return Settings(
        weights=tuple(map(float, stored["weights"])),
        power=float(stored["power"]),
        growth=float(stored["growth"]),
        quantiles=tuple(map(float, stored["quantiles"])),
    )


def _normal(level: float) -> float:
    """Standard deviations to either side that hold `level` of a normal law."""
    return NormalDist().inv_cdf((1 + level) / 2)
