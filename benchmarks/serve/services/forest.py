"""A random forest of 300 trees, served by standard BentoML services."""

import bentoml

from benchmarks.serve import scorers


@bentoml.service
class Plain:
    """Every request by itself."""

    def __init__(self) -> None:
        self._score = scorers.load("forest")

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> list[float]:
        """Probability that each row is benign."""
        return self._score(rows)


@bentoml.service
class Batchable:
    """Requests that come together are scored together."""

    def __init__(self) -> None:
        self._score = scorers.load("forest")

    @bentoml.api(batchable=True, max_batch_size=64)  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> list[float]:
        """Probability that each row is benign."""
        return self._score(rows)


@bentoml.service
class Narrow:
    """Small batches and a deadline: the model, not HTTP, is the limit. For the overload."""

    def __init__(self) -> None:
        self._score = scorers.load("forest")

    @bentoml.api(batchable=True, max_batch_size=4, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def predict(self, rows: list[list[float]]) -> list[float]:
        """Probability that each row is benign."""
        return self._score(rows)
