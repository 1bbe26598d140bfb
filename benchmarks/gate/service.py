"""A real service that can be made worse: a random forest behind noren-serve, and what INJECT asks for.

Delays do not occupy the worker (they are awaited), so that blue, on the same core, does not pay for them. With
RECORD, a file, it writes down when each request came and when its answer left, and when it stood still (stalls.py).
"""

import asyncio
import json
import os
import random
import time

import bentoml
import numpy as np

from benchmarks.gate import work
from benchmarks.gate.scenarios import Injection

_TREES = int(os.environ.get("TREES", work.MOST_TREES))
_INJECTION = Injection(**json.loads(os.environ.get("INJECT", "{}")))
_RECORD = os.environ.get("RECORD")


@bentoml.service
class Forest:
    """Some trees on rows of 30 numbers."""

    def __init__(self) -> None:
        self._forest = work.forest(_TREES)
        self._chance = random.Random(_INJECTION.seed)
        self._pauses: asyncio.Task[None] | None = None
        # One line is one write: a service that is killed has left whole lines.
        self._record = os.open(_RECORD, os.O_CREAT | os.O_WRONLY | os.O_APPEND) if _RECORD else None
        for _ in range(20):
            self._score([[0.0] * 30])

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, rows: list[list[float]], asked: int = -1) -> list[float]:
        """Probability that each row is of the second class. `asked` is the number of the request, for the record."""
        came_s = time.monotonic()
        # First, as if it had come later. Afterwards it would wait for those that are scored meanwhile as well.
        await self._inject()
        scores = self._score(rows)
        self._note(asked, came_s)
        return scores

    @bentoml.api  # type: ignore[untyped-decorator]
    async def describe(self, asked: int = -1) -> dict[str, int]:
        """How many trees there are."""
        came_s = time.monotonic()
        if _INJECTION.broken_endpoint:
            raise RuntimeError("injected")
        self._note(asked, came_s)
        return {"trees": _TREES}

    def _score(self, rows: list[list[float]]) -> list[float]:
        scores: list[float] = self._forest.predict_proba(np.asarray(rows))[:, 1].tolist()
        return scores

    async def _inject(self) -> None:
        if _INJECTION.pause_s and self._pauses is None:
            self._pauses = asyncio.create_task(self._pause())
        if self._chance.random() < _INJECTION.error_rate:
            raise RuntimeError("injected")
        late = _INJECTION.tail_ms if self._chance.random() < _INJECTION.tail_share else 0.0
        if _INJECTION.delay_ms + late:
            # In a thread: uvloop's own clock knows whole milliseconds only, and they are as much as is asked for.
            await asyncio.to_thread(time.sleep, (_INJECTION.delay_ms + late) / 1000)

    async def _pause(self) -> None:
        """Stand still every so often, as for a garbage collection.

        Whoever sleeps here holds up the event loop of the only worker: nobody is accepted, read, scored or answered
        meanwhile, also those who were in the middle of it, and new guests wait in the kernel's queue.
        """
        while True:
            begins_s = _INJECTION.next_pause(time.monotonic())
            await asyncio.sleep(begins_s - time.monotonic())
            began_s = time.monotonic()
            time.sleep(_INJECTION.pause_s)
            self._note(None, began_s)

    def _note(self, asked: int | None, began_s: float) -> None:
        if self._record is not None:
            what = "pause" if asked is None else str(asked)
            os.write(self._record, f"{what} {began_s:.6f} {time.monotonic():.6f}\n".encode())
