"""Locust users of the forecast service.

    locust -f loadtests/forecast.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import math
import random
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: chooses among test series.
chance = random.Random()  # noqa: S311

LEVELS = [0.5, 0.8, 0.95]
FIELDS = {"points", "dates", "intervals", "model", "shares", "seasonal", "backtest", "warnings", "model_version"}


class ForecastUser(FastHttpUser):
    """Mostly new monthly series, sometimes one that was asked for before, and now and then several at once."""

    wait_time = between(0.2, 0.6)

    def on_start(self) -> None:
        """Choose the series that this user comes back to."""
        self.favourite = _request(96, season=12, horizon=12, frequency="monthly", start="2015-01-31")

    @task(6)
    def monthly(self) -> None:
        """Ten years of months."""
        self._predict(_request(120, season=12, horizon=18, frequency="monthly"), name="/predict monthly")

    @task(3)
    def repeated(self) -> None:
        """What was asked before."""
        self._predict(self.favourite, name="/predict repeated")

    @task(2)
    def yearly(self) -> None:
        """A short series without seasons."""
        self._predict(_request(chance.randint(3, 40), season=1, horizon=6, frequency="yearly"), name="/predict yearly")

    @task(1)
    def daily(self) -> None:
        """Two years of days."""
        self._predict(_request(730, season=7, horizon=28, frequency="daily"), name="/predict daily")

    @task(1)
    def batch(self) -> None:
        """Some quarterly series in one request."""
        series = [_request(40, season=4, horizon=8, frequency="quarterly") for _ in range(chance.randint(2, 4))]
        with self.rest("POST", "/predict_batch", json={"series": series}, name="/predict_batch") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(series):
                response.failure(f"expected {len(series)} predictions")
            else:
                for request, answer in zip(series, response.js, strict=True):
                    if problem := _problem(request, answer):
                        response.failure(problem)

    def _predict(self, request: dict[str, Any], *, name: str) -> None:
        with self.rest("POST", "/predict", json=request, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(request, response.js):
                response.failure(problem)


def _request(count: int, *, season: int, horizon: int, **more: Any) -> dict[str, Any]:
    """A series with a level, a trend, a season and noise."""
    level, trend, swing = chance.uniform(50, 5_000), chance.uniform(-0.002, 0.01), chance.uniform(0, 0.3)
    values = [
        round(level * (1 + trend * i) * (1 + swing * math.sin(2 * math.pi * i / season)) * chance.gauss(1, 0.03), 2)
        for i in range(count)
    ]
    return {"values": values, "horizon": horizon, "levels": LEVELS, **more}


def _problem(request: dict[str, Any], answer: Any) -> str | None:
    """What is wrong with a prediction; None if it is sound."""
    if not isinstance(answer, dict) or answer.keys() != FIELDS:
        return "not a prediction with its fields"
    points, horizon = answer["points"], request["horizon"]
    if not isinstance(points, list) or len(points) != horizon:
        return f"expected {horizon} points"
    if not all(isinstance(point, float | int) and math.isfinite(point) for point in points):
        return "a point is not a number"
    if [interval["level"] for interval in answer["intervals"]] != request["levels"]:
        return f"expected intervals of {request['levels']}"
    lower, upper = points, points
    for interval in answer["intervals"]:
        inner = list(zip(interval["lower"], lower, upper, interval["upper"], strict=False))
        if len(inner) != horizon or not all(a <= b <= c <= d for a, b, c, d in inner):
            return f"the interval of {interval['level']} does not hold what it should"
        lower, upper = interval["lower"], interval["upper"]
    dates = None if answer["dates"] is None else len(answer["dates"])
    if dates != (horizon if "start" in request else None):
        return "dates do not fit start"
    if not answer["model_version"]:
        return "model_version is empty"
    return None
