"""The least greedy batcher: what arrived while the last batch ran is the next one. One thread, no waiting."""

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.serve.scorers import Scorer


class Greedy:
    """Scores many callers' items together. Has no answer to errors: it is here to be compared with."""

    def __init__(self, score: Scorer, *, largest: int) -> None:
        self._score = score
        self._largest = largest
        self._waiting: list[tuple[Any, asyncio.Future[float]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def submit(self, item: Any) -> float:
        """The score of one item."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._busy is None:
            self._busy = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            scores: Sequence[float] = await asyncio.to_thread(self._score, [item for item, _ in batch])
            for (_, future), score in zip(batch, scores, strict=True):
                future.set_result(score)
        self._busy = None
