"""Settings of the forecast model, found on many series: which candidates to trust, and how wide intervals must be.

Found on one half of the series and judged on the other, both ways, every series is judged by settings that never saw
it. The model that is stored then gets those of all series.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.forecast import ANY, LEVELS, Forecast, ForecastModel, Settings, Study, scale_of, shares_of, smape
from models.smoothing import CANDIDATES, Floats
from training.series import Task

POWERS = (0.0, 0.5, 1.0, 2.0, 4.0)
ENOUGH = 20  # series of a frequency, below which it gets no settings of its own
JUDGED = (0.5, 0.8, 0.95)  # levels whose coverage is told
_UNITS, _ROUNDS = 4, 60  # trust is given in whole units: each candidate begins with some, and one moves at a time
_FAR = 10.0  # ranges of the past from its last value: a forecast beyond has diverged
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task, and what its series says by itself."""

    task: Task
    study: Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How good a forecast was. The means are over the horizon.

    smape, naive_smape   in %, of the model and of the naive forecast (with seasons it is Naive2 of the M competitions)
    log_ratio            logarithm of the mean absolute error over that of the naive forecast
    covered              by level: the part of the actual values inside the interval
    width                of the 95 % interval, in % of the mean absolute actual value
    """

    name: str
    frequency: str
    smape: float
    naive_smape: float
    log_ratio: float
    covered: Mapping[float, float]
    width: float
    diverged: bool


def fitted(cases: Sequence[Case]) -> ForecastModel:
    """A model with settings for each frequency that has ENOUGH series, and for any other."""
    by_frequency: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_frequency[case.task.frequency].append(case)
    groups = {name: group for name, group in by_frequency.items() if len(group) >= ENOUGH}
    return ForecastModel({name: _settings(group) for name, group in {ANY: cases, **groups}.items()})


def cross_fitted(cases: Sequence[Case]) -> list[Outcome]:
    """Each case judged by a model that was fitted on the other half, in the order of the halves."""
    outcomes = []
    for half in (0, 1):
        model = fitted([case for case in cases if case.task.half != half])
        outcomes += [judged(case, model) for case in cases if case.task.half == half]
    return outcomes


def judged(case: Case, model: ForecastModel) -> Outcome:
    """Hold the model's forecast of a case against what came."""
    task, found = case.task, case.study
    forecast = model.read(found, task.frequency, JUDGED)
    naive = found.points[CANDIDATES.index("naive")]
    tiny = _TINY * (found.step + float(np.abs(task.actual).max()) + _TINY)
    error, naive_error = (float(np.abs(task.actual - points).mean()) for points in (forecast.points, naive))
    room = _FAR * np.ptp(task.values)
    return Outcome(
        name=task.name,
        frequency=task.frequency,
        smape=float(smape(task.actual, forecast.points).mean()),
        naive_smape=float(smape(task.actual, naive).mean()),
        log_ratio=float(np.log((error + tiny) / (naive_error + tiny))),
        covered=_covered(task.actual, forecast),
        width=_width(task.actual, forecast),
        diverged=not bool((np.abs(forecast.points - task.values[-1]) <= room).all()),
    )


def scores(outcomes: Sequence[Outcome]) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of the model, and of the naive forecast where they make sense. Means over series.

    relative_mae        geometric mean of the ratio to the naive forecast's error (Davydenko & Fildes 2013)
    coverage_error_95   distance of the 95 % intervals' coverage from 0.95
    """
    metrics = {"smape": _mean(one.smape for one in outcomes)}
    naive = {"smape": _mean(one.naive_smape for one in outcomes), "relative_mae": 1.0}
    metrics["relative_mae"] = float(np.exp(_mean(one.log_ratio for one in outcomes)))
    for level in JUDGED:
        metrics[f"coverage_{level * 100:.0f}"] = _mean(one.covered[level] for one in outcomes)
    metrics["coverage_error_95"] = abs(metrics["coverage_95"] - 0.95)
    metrics["width_95"] = float(np.median([one.width for one in outcomes]))
    metrics["diverged"] = float(sum(one.diverged for one in outcomes))
    for frequency in dict.fromkeys(one.frequency for one in outcomes):
        group = [one for one in outcomes if one.frequency == frequency]
        metrics[f"smape_{frequency}"] = _mean(one.smape for one in group)
        metrics[f"coverage_95_{frequency}"] = _mean(one.covered[0.95] for one in group)
        naive[f"smape_{frequency}"] = _mean(one.naive_smape for one in group)
    return metrics, naive


def _settings(cases: Sequence[Case]) -> Settings:
    """Trust, then growth, then widths: each builds on what is found before it."""
    weights, power = _trust(cases)
    found = Settings(weights=weights, power=power, growth=0.5, quantiles=(1.0,) * len(LEVELS))
    found = replace(found, growth=_growth(cases, found))
    return replace(found, quantiles=_quantiles(cases, found))


def _trust(cases: Sequence[Case]) -> tuple[tuple[float, ...], float]:
    """Weights and power with the least mean sMAPE on these cases.

    Weights move by whole units from equal ones for as long as that helps (in the manner of Caruana et al. 2004): they
    stay near equal where little can be learned: fitted weights are notoriously worse than none (Clemen 1989).
    """
    ledger = _Ledger(cases)
    found = [(*_moved(ledger, ledger.skill**power), power) for power in POWERS]
    _, units, power = min(found, key=lambda one: one[0])
    return tuple((units / units.sum()).tolist()), power


def _moved(ledger: "_Ledger", odds: Floats) -> tuple[float, Floats]:
    """The least error that single moves lead to, and the units of each candidate then."""
    units = np.full(len(CANDIDATES), float(_UNITS))
    error = ledger.smape(units * odds)
    for _ in range(_ROUNDS):
        moves = [units + sign * one for one in np.eye(len(CANDIDATES)) for sign in (1, -1)]
        tried = [(ledger.smape(move * odds), move) for move in moves if move.min() >= 0 and move.sum() > 0]
        best, move = min(tried, key=lambda one: one[0])
        if best >= error:
            break
        error, units = best, move
    return error, units


class _Ledger:
    """All cases as arrays of one length, so that weights are tried on all at once."""

    def __init__(self, cases: Sequence[Case]) -> None:
        longest = max(len(case.task.actual) for case in cases)
        self._points = np.zeros((len(cases), len(CANDIDATES), longest))
        self._actual = np.zeros((len(cases), longest))
        self._part = np.zeros((len(cases), longest))  # of each value in the mean over series of means over horizons
        for row, case in enumerate(cases):
            here = slice(0, len(case.task.actual))
            self._points[row, :, here] = case.study.points
            self._actual[row, here] = case.task.actual
            self._part[row, here] = 1 / len(case.task.actual) / len(cases)
        self.skill = np.stack([case.study.skill for case in cases])

    def smape(self, trust: Floats) -> float:
        """Mean sMAPE over series, with this trust [N, C] in the candidates."""
        shares = trust / trust.sum(axis=1, keepdims=True)
        points = np.einsum("nc,nch->nh", shares, self._points)
        return float((self._part * smape(self._actual, points)).sum())


def _growth(cases: Sequence[Case], settings: Settings) -> float:
    """How the errors of the average grow with the horizon: the slope of a line through the logarithms of both."""
    by_horizon: dict[int, list[float]] = defaultdict(list)
    for case in cases:
        mixed = np.abs(np.tensordot(shares_of(case.study, settings), case.study.errors, 1))
        if not case.study.tested or not np.nansum(mixed):
            continue
        overall = float(mixed[np.isfinite(mixed)].mean())
        for horizon, errors in enumerate(mixed.T, start=1):
            if (there := errors[np.isfinite(errors)]).size:
                by_horizon[horizon].append(float(there.mean()) / overall)
    known = {horizon: np.mean(means) for horizon, means in by_horizon.items() if len(means) >= len(cases) / 4}
    if len(known) < 3 or min(known.values()) <= 0:
        return settings.growth
    slope, _ = np.polyfit(np.log(list(known)), np.log(list(known.values())), 1)
    return float(np.clip(slope, 0.0, 1.5))


def _quantiles(cases: Sequence[Case], settings: Settings) -> tuple[float, ...]:
    """Of |error| / scale over all cases and horizons.

    The level is raised by the (n + 1) / n of split conformal prediction, n being the number of series, as the errors
    of one series are not independent of each other.
    """
    ratios = []
    for case in cases:
        shares = shares_of(case.study, settings)
        scale = scale_of(case.study, shares, settings)
        if scale[0] > 0:
            ratios.append(np.abs(case.task.actual - shares @ case.study.points) / scale)
    if not ratios:
        return settings.quantiles
    levels = np.minimum(1.0, np.array(LEVELS) * (len(ratios) + 1) / len(ratios))
    found = np.quantile(np.concatenate(ratios), levels, method="higher")
    return tuple(np.maximum(found, _TINY).tolist())


def _covered(actual: Floats, forecast: Forecast) -> dict[float, float]:
    return {
        interval.level: float(((interval.lower <= actual) & (actual <= interval.upper)).mean())
        for interval in forecast.intervals
    }


def _width(actual: Floats, forecast: Forecast) -> float:
    interval = forecast.intervals[-1]  # the widest: JUDGED rises
    return 100 * float((interval.upper - interval.lower).mean()) / (float(np.abs(actual).mean()) or 1.0)


def _mean(numbers: Iterable[float]) -> float:
    return float(np.mean(list(numbers)))
