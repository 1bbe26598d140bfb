"""The bounded pool of threads in which `def` endpoints run."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any


class Call:
    """A function on its way through a thread. Either awaited, or told `then` what to call in the event loop.

    A call back costs a turn of the event loop less than a future would: a lone request notices that.
    """

    __slots__ = (
        "_bell", "_context", "_failed", "_function", "_future", "_loop", "_outcome", "_over", "_then", "cancelled",
    )  # fmt: skip

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function: Callable[[], Any] | None = function
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] | None = None
        self._then: Callable[[Call], None] | None = None
        self._outcome: Any = None
        self._failed = self._over = False
        self._bell: threading.Lock | None = None
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result."""
        self._future = self._loop.create_future()
        try:
            return (yield from self._future)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def then(self, callback: "Callable[[Call], None]") -> None:
        """Have `callback` called with this once it is done or cancelled."""
        self._then = callback

    def result(self) -> Any:
        """What the function gave. Raises what it raised."""
        if self._failed:
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        """Do not wait any longer; a function that has not begun is not called."""
        self.cancelled = True
        if self._future and not self._future.done():
            self._future.cancel()
        elif self._then:
            self._loop.call_soon(self._then, self)
            self._then = None

    def leave_alone(self, at_most_s: float) -> None:
        """Block until the function has ended, or for a while: the thread has the interpreter for itself."""
        bell = threading.Lock()
        bell.acquire()
        self._bell = bell  # before the look: either this sees that it is over, or the thread sees the bell
        if not self._over:
            bell.acquire(timeout=at_most_s)

    def run(self) -> None:
        """In the thread. Nothing of the request is kept by an idle thread."""
        function, context = self._function, self._context
        self._function = self._context = None
        if self.cancelled or function is None or context is None:
            return
        try:
            self._outcome = context.run(function)
        except StopIteration as end:
            # A future cannot carry it (PEP 479); generators are read by a sentinel instead.
            self._outcome, self._failed = RuntimeError(f"the endpoint raised StopIteration: {end.value!r}"), True
        except BaseException as error:  # noqa: BLE001  it belongs to the caller
            self._outcome, self._failed = error, True

    def post(self, closed: Callable[[], None]) -> None:
        """In the thread: hand the outcome over to the event loop."""
        self._over = True
        if self._bell:
            self._bell.release()
        try:
            self._loop.call_soon_threadsafe(self._deliver, closed)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _deliver(self, closed: Callable[[], None]) -> None:
        closed()
        if self._then:
            self._then(self)
        elif self._future and not self._future.done():
            if self._failed:
                self._future.set_exception(self._outcome)
            else:
                self._future.set_result(self._outcome)


class Threads:
    """As many threads as the service asks for (`threads`, BentoML's default is 1), started when first needed.

    Leaner than a ThreadPoolExecutor, whose futures of its own and their chaining cost more than many a model.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._started = self._open = 0  # threads; calls that wait or run

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a thread, with the caller's context variables."""
        return await self.call(function)

    def call(self, function: Callable[[], Any]) -> Call:
        """The same, without waiting. The outcome is lost unless it is awaited, or told `then`, in this turn."""
        call = Call(function)
        if self._started < min(self._open + 1, self._size):
            # Counted once it runs: where the machine allows no more threads, the next call tries again.
            threading.Thread(target=self._work, name=f"endpoint-{self._started + 1}", daemon=True).start()
            self._started += 1
        self._open += 1
        self._calls.put(call)
        return call

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            call.run()
            call.post(self._closed)
            del call

    def _closed(self) -> None:
        self._open -= 1
