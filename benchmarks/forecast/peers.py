"""The same forecasts by statsmodels as it comes: damped Holt-Winters, multiplicative where it can be."""

import time
import warnings
from dataclasses import dataclass

import numpy as np

from models.forecast import SEASONS, smape
from training.series import Task

_FAR = 10.0  # ranges of the past from its last value, as in training/calibration.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How it did on a series."""

    name: str
    took_ms: float
    smape: float
    diverged: bool


def holt_winters(task: Task) -> Peer:
    """Fit it once, without a back-test, and forecast."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    period = SEASONS.get(task.frequency, 1)
    seasonal = None if period == 1 or len(task.values) < 2 * period else "mul" if task.values.min() > 0 else "add"
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that did not converge: that is part of the comparison
        fitted = ExponentialSmoothing(
            task.values, trend="add", damped_trend=True, seasonal=seasonal, seasonal_periods=seasonal and period
        ).fit()
        points = np.asarray(fitted.forecast(len(task.actual)), dtype=np.float64)
    took_ms = (time.perf_counter() - began) * 1000
    room = _FAR * np.ptp(task.values)
    diverged = not bool((np.abs(points - task.values[-1]) <= room).all())
    wrong = np.where(np.isfinite(points), points, -task.actual)  # 200 %, the most there is
    return Peer(name=task.name, took_ms=took_ms, smape=float(smape(task.actual, wrong).mean()), diverged=diverged)
