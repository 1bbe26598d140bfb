"""From a request to its answer, for the service and for whole files."""

from dataclasses import asdict

from bentos.forecast import dates
from bentos.forecast.schema import Backtest, Interval, Prediction, PredictRequest
from models.forecast import ForecastModel, filled


def answer(model: ForecastModel, request: PredictRequest, *, version: str) -> Prediction:
    """The model's forecast of a valid request."""
    values, missing = filled(request.values)
    found = model.forecast(values, horizon=request.horizon, frequency=request.frequency, levels=request.levels)
    return Prediction(
        points=found.points.tolist(),
        dates=_dates(request),
        intervals=[
            Interval(level=one.level, lower=one.lower.tolist(), upper=one.upper.tolist()) for one in found.intervals
        ],
        model=found.model,
        shares=found.shares,
        seasonal=found.seasonal,
        backtest=Backtest(**asdict(found.backtest)) if found.backtest else None,
        warnings=[*_warnings(request, missing), *found.warnings],
        model_version=version,
    )


def _dates(request: PredictRequest) -> list[str] | None:
    if request.start is None or request.frequency is None:
        return None
    return dates.following(dates.parse(request.start), request.frequency, len(request.values), request.horizon)


def _warnings(request: PredictRequest, missing: int) -> list[str]:
    told = []
    if missing:
        told.append(f"{missing:,} missing values were put on the line between their neighbours")
    if request.start is not None and request.frequency is None:
        told.append("start without frequency gives no dates")
    return told
