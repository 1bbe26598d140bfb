"""Ends requests that take too long. One timer for all: they came in order, so the oldest is due first."""

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import Any


class Patience:
    """Cancels the task of each request that has not begun to answer `limit_s` seconds after it came.

    A timer for each request would be armed and cancelled thousands of times a second, almost never to fire.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._tick_s = min(0.1, limit_s / 10)
        self._open: OrderedDict[Any, tuple[float, asyncio.Task[Any]]] = OrderedDict()
        self._armed = False
        self._expired: set[Any] = set()

    def begin(self, request: Any, now: float) -> None:
        """The current task serves `request` from `now` on (perf_counter)."""
        task = asyncio.current_task()
        assert task is not None
        self._open[request] = now + self._limit_s, task
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_later(self._tick_s, self._look)

    def end(self, request: Any) -> bool:
        """The request was answered, or its answer begins; True when its time was up before."""
        self._open.pop(request, None)
        if self._expired and request in self._expired:
            self._expired.discard(request)
            return True
        return False

    def _look(self) -> None:
        now = perf_counter()
        while self._open:
            request, (due, task) = next(iter(self._open.items()))
            if due > now:
                break
            del self._open[request]
            self._expired.add(request)
            task.cancel()
        self._armed = bool(self._open)
        if self._armed:
            asyncio.get_running_loop().call_later(self._tick_s, self._look)
