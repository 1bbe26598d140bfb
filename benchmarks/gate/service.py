"""A real service that can be made worse: a random forest behind noren-serve, and what INJECT asks for.

Delays do not occupy the worker (they are awaited), so that they shift latencies by exactly what is asked.
"""

import asyncio
import json
import os
import random
import time

import bentoml
import joblib
import numpy as np

from benchmarks.gate.scenarios import Injection
from benchmarks.serve.scorers import MODELS

_TREES = 60
_INJECTION = Injection(**json.loads(os.environ.get("INJECT", "{}")))


@bentoml.service
class Forest:
    """60 trees on rows of 30 numbers."""

    def __init__(self) -> None:
        self._forest = joblib.load(MODELS / "forest.joblib")
        self._forest.estimators_ = self._forest.estimators_[:_TREES]
        self._chance = random.Random(_INJECTION.seed)
        self._began = time.monotonic()
        for _ in range(20):
            self._score([[0.0] * 30])

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, rows: list[list[float]]) -> list[float]:
        """Probability that each row is of the second class."""
        await self._inject()
        return self._score(rows)

    @bentoml.api  # type: ignore[untyped-decorator]
    async def describe(self) -> dict[str, int]:
        """How many trees there are."""
        if _INJECTION.broken_endpoint:
            raise RuntimeError("injected")
        return {"trees": _TREES}

    def _score(self, rows: list[list[float]]) -> list[float]:
        scores: list[float] = self._forest.predict_proba(np.asarray(rows))[:, 1].tolist()
        return scores

    async def _inject(self) -> None:
        into = (time.monotonic() - self._began) % _INJECTION.pause_every_s
        if into < _INJECTION.pause_s:
            time.sleep(_INJECTION.pause_s - into)  # as a garbage collection would: nobody is served
        if self._chance.random() < _INJECTION.error_rate:
            raise RuntimeError("injected")
        late = _INJECTION.tail_ms if self._chance.random() < _INJECTION.tail_share else 0.0
        if _INJECTION.delay_ms + late:
            await asyncio.sleep((_INJECTION.delay_ms + late) / 1000)
