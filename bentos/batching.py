"""Greedy micro-batching of single requests inside one process.

Why not BentoML's adaptive batching here: its dispatcher polls every millisecond and learns how long
to wait for company, which costs a lone request latency. Greedy batching never waits: what arrived
while the last batch ran becomes the next batch. Idle means at once; busy means full batches.

It pays when a batch is cheaper than its items one by one (scikit-learn, a neural network) or when one
item may hold up the event loop. Where neither is true it costs a thread hop per batch: about 0.2 ms
for a lone request. Measured in docs/services/sentiment.md.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class GreedyBatcher(Generic[Item, Result]):
    """Runs `run(items) -> results` (same length and order) in one thread, many callers at a time."""

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result]], *, max_size: int = 64) -> None:
        self._run = run
        self._max_size = max_size
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._drainer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")

    async def submit(self, item: Item) -> Result:
        """The result for `item`. Raises what `run` raises for it; no other caller notices."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._drainer is None:
            self._drainer = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        try:
            while batch := self._take():
                items = [item for item, _ in batch]
                outcomes = await loop.run_in_executor(self._thread, self._outcomes, items)
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    _settle(future, outcome)
        finally:
            # After a normal end both are empty; when the loop shuts down, nobody may wait for ever.
            self._drainer = None
            for _, future in [*batch, *self._waiting]:
                future.cancel()
            self._waiting.clear()

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Up to max_size waiting items, without those whose caller has gone."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def _outcomes(self, items: list[Item]) -> list[Result | Exception]:
        """One result or error per item. A failed batch is run again item by item to find the culprit."""
        try:
            results = list(self._run(items))
            if len(results) != len(items):
                raise RuntimeError(f"the batch function gave {len(results)} results for {len(items)} items")
            return [*results]
        except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to its caller
            return [error] if len(items) == 1 else [self._outcomes([item])[0] for item in items]


def _settle(future: "asyncio.Future[Result]", outcome: Result | Exception) -> None:
    if future.done():  # the caller left while the batch ran
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
