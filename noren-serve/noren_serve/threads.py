"""The bounded pool of threads in which `def` endpoints run."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class Threads:
    """As many threads as the service asks for (`threads`, BentoML's default is 1), started when first needed.

    Leaner than a ThreadPoolExecutor, whose futures of its own and their chaining cost more than many a model.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._started = self._open = 0  # threads; calls that wait or run

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread, with the caller's context variables."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._calls.put((loop, future, contextvars.copy_context(), function))
        self._open += 1
        if self._started < min(self._open, self._size):
            self._started += 1
            threading.Thread(target=self._work, name=f"endpoint-{self._started}", daemon=True).start()
        return await future

    def _work(self) -> None:
        while True:
            loop, future, context, function = self._calls.get()
            if future.cancelled():  # its request timed out while it waited
                self._post(loop, self._deliver, future, None, False)
                del loop, future, context, function
                continue
            try:
                outcome, failed = context.run(function), False
            except StopIteration as end:
                # A future cannot carry it (PEP 479); generators are read by a sentinel instead.
                outcome, failed = RuntimeError(f"the endpoint raised StopIteration: {end.value!r}"), True
            except BaseException as error:  # noqa: BLE001  it belongs to the caller
                outcome, failed = error, True
            self._post(loop, self._deliver, future, outcome, failed)
            del loop, future, context, function, outcome  # nothing of a request outlives it in an idle thread

    @staticmethod
    def _post(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
        try:
            loop.call_soon_threadsafe(*call)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _deliver(self, future: "asyncio.Future[Any]", outcome: Any, failed: bool) -> None:
        self._open -= 1
        if future.done():
            return
        if failed:
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
