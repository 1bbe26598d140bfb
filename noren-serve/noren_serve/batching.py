"""Greedy adaptive batching: what arrived while the last batch ran becomes the next batch.

It never waits when idle, so a lone request is as quick as without batching; busy means full batches, and it
finds the best size by itself at every load (../docs/serving.md compares it with timed windows).
"""

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from noren_serve.cost import CostCurve

_HEADROOM = 0.8  # predictions err; a request is shed when it would use more than this part of its time


class Overloaded(Exception):  # noqa: N818  it is what the caller is told
    """The request cannot be answered in time. `retry_after_s` is when to try again, in whole seconds."""

    def __init__(self, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"overloaded; try again in {self.retry_after_s} s")


class Gone(Exception):  # noqa: N818
    """The caller hung up before its rows were computed."""


class Rows(Protocol):
    """How payloads of one kind are counted, cut and joined along their batch dimension."""

    def count(self, payload: Any) -> int:
        """Number of rows."""

    def cut(self, payload: Any, at: Sequence[int]) -> list[Any]:
        """Pieces of `payload` between the offsets `at`, which begin with 0 and end with its count."""

    def join(self, pieces: Sequence[Any]) -> Any:
        """One payload of all the pieces, in order."""


class _Job:
    """One caller's rows, of which some may already be done."""

    __slots__ = ("arrived", "context", "done", "future", "gone", "payload", "rows", "taken")

    def __init__(self, payload: Any, rows: int, arrived: float, gone: Callable[[], bool] | None) -> None:
        self.payload, self.rows, self.arrived, self.gone = payload, rows, arrived, gone
        self.context = contextvars.copy_context()
        self.taken = 0
        self.done: list[Any] = []
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def left(self) -> bool:
        """The caller is no longer there to hear an answer."""
        return self.future.done() or (self.gone is not None and self.gone())


_Piece = tuple[_Job, int, int]  # rows [start, stop) of a job


class Batcher:
    """Joins the rows of concurrent callers into calls of `run`, one at a time, oldest first.

    run           called with one payload of at most `max_rows` rows; gives as many rows, in the same order
    inputs        how the payloads of callers are cut and joined; `outputs` the same for what `run` gives
    max_latency   seconds from a request's arrival within which it is answered, or refused early
    observed      told (rows, seconds the oldest waited) after each batch
    refused       told of each request that was refused
    """

    def __init__(
        self,
        run: Callable[[Any], Awaitable[Any]],
        *,
        inputs: Rows,
        outputs: Rows,
        max_rows: int,
        max_latency: float,
        observed: Callable[[int, float], None] | None = None,
        refused: Callable[[], None] | None = None,
    ) -> None:
        self._run, self._inputs, self._outputs = run, inputs, outputs
        self._max_rows, self._max_latency = max_rows, max_latency
        self._observed, self._refused = observed, refused
        self._waiting: deque[_Job] = deque()
        self._waiting_rows = 0  # a job counts for one batch at most: its rest lets newer ones pass
        self._cost = CostCurve()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._started = self._expected = 0.0  # of the batch that runs now

    async def submit(self, payload: Any, gone: Callable[[], bool] | None = None) -> Any:
        """The results of `payload`'s rows. Raises Overloaded, or what `run` raises for exactly these rows.

        gone  tells whether the caller has hung up; rows of callers who have are not computed
        """
        rows = self._inputs.count(payload)
        self.admit(rows)
        job = _Job(payload, rows, perf_counter(), gone)
        self._waiting.append(job)
        self._waiting_rows += min(rows, self._max_rows)
        if not self._busy:
            self._busy = True
            # At the end of this turn of the event loop: whoever arrived in the same turn comes along.
            asyncio.get_running_loop().call_soon(self._next)
        return await job.future

    def admit(self, rows: int = 1) -> None:
        """Raise Overloaded when rows that arrive now would be answered too late."""
        if self._waiting_rows and (wait := self._wait_s(rows)) > self._max_latency * _HEADROOM:
            raise self._too_late(wait)

    def _too_late(self, wait_s: float) -> Overloaded:
        if self._refused:
            self._refused()
        return Overloaded(wait_s)

    def _wait_s(self, rows: int) -> float:
        full, rest = divmod(self._waiting_rows + rows, self._max_rows)
        running = max(0.0, self._started + self._expected - perf_counter()) if self._task else 0.0
        return running + full * self._cost.predict(self._max_rows) + (self._cost.predict(rest) if rest else 0.0)

    def _next(self) -> None:
        """Start the next batch, or fall idle."""
        pieces = self._assemble()
        if not pieces:
            self._busy = False
            return
        self._started = perf_counter()
        self._expected = self._cost.predict(_size(pieces))
        # In the context of the oldest caller, or else each batch would inherit that of a request long answered.
        context = pieces[0][0].context
        self._task = asyncio.get_running_loop().create_task(self._serve(pieces), context=context)

    def _assemble(self) -> list[_Piece]:
        """The oldest rows that fit into one batch, without those of callers who left or whose time is up."""
        pieces: list[_Piece] = []
        room, now = self._max_rows, perf_counter()
        # Who has just come is computed whatever is predicted: or one slow batch would have all later ones refused.
        longest = max(self._max_latency - self._cost.predict(1), self._max_latency * (1 - _HEADROOM))
        unfinished: list[_Job] = []
        while room and self._waiting:
            job = self._waiting.popleft()
            left = job.rows - job.taken
            self._waiting_rows -= min(left, self._max_rows)
            if job.left():
                if not job.future.done():
                    job.future.set_exception(Gone())
                continue
            if not job.taken and now - job.arrived > longest:
                job.future.set_exception(self._too_late(self._wait_s(0)))
                continue
            size = min(left, room)
            pieces.append((job, job.taken, job.taken + size))
            job.taken += size
            room -= size
            if job.taken < job.rows:
                # More rows than a batch holds: the rest goes behind those who came meanwhile, so that
                # one caller with a million rows does not keep the others waiting.
                unfinished.append(job)
        for job in unfinished:
            self._waiting.append(job)
            self._waiting_rows += min(job.rows - job.taken, self._max_rows)
        return pieces

    async def _serve(self, pieces: list[_Piece]) -> None:
        rows, waited = _size(pieces), self._started - min(job.arrived for job, _, _ in pieces)
        try:
            for (job, _, _), outcome in zip(pieces, await self._outcomes(pieces), strict=True):
                self._settle(job, outcome)
        except BaseException:  # a cancellation: nobody waits for ever, or gets an answer with a hole in it
            for job, _, _ in pieces:
                job.future.cancel()
            raise
        finally:
            self._task = None
            # After the answers above have been sent: those whose rows are ready come first, and what
            # arrives meanwhile joins. The time of sending counts, because the next batch waits for it.
            asyncio.get_running_loop().call_soon(self._after, rows, waited)

    def _after(self, rows: int, waited: float) -> None:
        took = perf_counter() - self._started
        self._cost.learn(rows, took)
        if self._observed:
            self._observed(rows, waited)
        self._next()

    async def _outcomes(self, pieces: list[_Piece]) -> list[Any]:
        """The result or the exception of each piece. A batch that fails is halved until the culprit is alone."""
        try:
            return await self._results(pieces)
        except SystemExit as error:  # asyncio would end the whole worker, and every other request with it
            failure: Exception = RuntimeError(f"the batch function raised SystemExit({error.code!r})")
        except Exception as error:  # noqa: BLE001  whatever the model raises belongs to its caller
            failure = error
        if len(pieces) == 1:
            return [_Failed(failure)]
        middle = len(pieces) // 2
        return [*await self._outcomes(pieces[:middle]), *await self._outcomes(pieces[middle:])]

    async def _results(self, pieces: list[_Piece]) -> list[Any]:
        payloads = [self._slice(piece) for piece in pieces]
        result = await self._run(payloads[0] if len(payloads) == 1 else self._inputs.join(payloads))
        rows, found = _size(pieces), self._outputs.count(result)
        if found != rows:
            raise ValueError(f"the batch function gave {found} results for {rows} inputs")
        if len(pieces) == 1:
            return [result]
        offsets = [0]
        for _, start, stop in pieces:
            offsets.append(offsets[-1] + stop - start)
        return self._outputs.cut(result, offsets)

    def _slice(self, piece: _Piece) -> Any:
        job, start, stop = piece
        if stop - start == job.rows:
            return job.payload
        cuts = sorted({0, start, stop, job.rows})
        return self._inputs.cut(job.payload, cuts)[cuts.index(start)]

    def _settle(self, job: _Job, outcome: Any) -> None:
        if job.future.done():
            return
        if isinstance(outcome, _Failed):
            job.future.set_exception(outcome.error)  # the rest of its rows is skipped: see _Job.left
            return
        job.done.append(outcome)
        if job.taken < job.rows:
            return
        try:
            job.future.set_result(job.done[0] if len(job.done) == 1 else self._outputs.join(job.done))
        except Exception as error:  # noqa: BLE001  say, of a model that pads to the longest of each batch
            job.future.set_exception(error)

    def close(self) -> None:
        """Cancel everyone who waits."""
        if self._task:
            self._task.cancel()
        for job in self._waiting:
            job.future.cancel()


class _Failed:
    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def _size(pieces: Sequence[_Piece]) -> int:
    return sum(stop - start for _, start, stop in pieces)
