"""Sentiment without scikit-learn (models/sentiment.py), served by standard BentoML services."""

import bentoml

from benchmarks.serve import scorers
from benchmarks.serve.services.prediction import Prediction


@bentoml.service
class Plain:
    """Every request by itself."""

    def __init__(self) -> None:
        self._score = scorers.load("lean")

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> list[float]:
        """Probability that each text is positive."""
        return self._score(texts)


@bentoml.service
class Batchable:
    """Requests that come together are scored together."""

    def __init__(self) -> None:
        self._score = scorers.load("lean")

    @bentoml.api(batchable=True, max_batch_size=64)  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> list[float]:
        """Probability that each text is positive."""
        return self._score(texts)


@bentoml.service
class Async:
    """In the event loop: what takes microseconds needs no thread."""

    def __init__(self) -> None:
        self._score = scorers.load("lean")

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, texts: list[str]) -> list[float]:
        """Probability that each text is positive."""
        return self._score(texts)


@bentoml.service(tracing={"excluded_urls": "predict"}, logging={"access": {"enabled": False}})
class Tuned:
    """With every switch that makes `bentoml serve` faster (docs/serving.md)."""

    def __init__(self) -> None:
        self._score = scorers.load("lean")

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, texts: list[str]) -> Prediction:
        """Probability that the first text is positive."""
        return Prediction(score=self._score(texts)[0])
