"""Greedy adaptive batching: what arrived while the last batch ran becomes the next batch.

It never waits for a clock; busy means full batches, and it finds the best size by itself at every load
(docs/serving.md compares it with others).
"""

import asyncio
import contextvars
import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from noren_serve.cost import CostCurve
from noren_serve.threads import Call

_QUIET_TURNS = 3  # a request takes two turns of the event loop from the socket to the queue
_NAP_S = 0.025  # what an overloaded worker's other answers may come later, at most: mostly a batch ends before
_HEADROOM = 0.8  # predictions err; a request is shed when it would use more than this part of its time
_WAY_BACK = 0.05  # of its time: until an answer is out, and what is predicted of a batch that is about to run errs by


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
        self._surely: float | None = None  # rows that may wait without anybody being late, whatever runs
        self._busy = False
        self._napping = False
        self._company = True  # the last batch had several callers; at first, who knows
        self._arrivals = 0
        self._task: asyncio.Task[None] | Call | None = None  # what is waited for
        self._started, self._rows = 0.0, 0  # of the batch that runs now

    async def submit(self, payload: Any, gone: Callable[[], bool] | None = None) -> Any:
        """The results of `payload`'s rows. Raises Overloaded, or what `run` raises for exactly these rows.

        gone  tells whether the caller has hung up; rows of callers who have are not computed
        """
        rows = self._inputs.count(payload)
        if not self._busy and not self._company and rows <= self._max_rows:
            return await self._alone(payload, rows)
        self.admit(rows)
        job = _Job(payload, rows, perf_counter(), gone)
        self._waiting.append(job)
        self._waiting_rows += min(rows, self._max_rows)
        self._arrivals += 1
        if not self._busy:
            self._busy = True
            self._soon()
        return await job.future

    async def _alone(self, payload: Any, rows: int) -> Any:
        """The rows of a caller who is used to have no company: there is nothing to join, to cut, or to wait for."""
        self._busy, self._rows, self._started = True, rows, perf_counter()
        call: Any = None
        try:
            call = self._run(payload)
            self._task = call if isinstance(call, Call) else asyncio.current_task()
            result = await call
            self._see_whole(result, rows)
        except asyncio.CancelledError:
            if isinstance(call, Call):  # its thread goes on, and one batch runs at a time
                call.then(lambda _: self._left_alone())
                call = None
            raise
        except (Exception, GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  as in a batch of several
            raise _harmless(error) from None
        finally:
            if call is not None:
                self._left_alone()
        return result

    def _left_alone(self) -> None:
        """The end of a lone caller's rows, who does not wait until they are noted: the answer goes out in this turn."""
        self._task = None
        asyncio.get_running_loop().call_soon(self._after, 0.0)

    def admit(self, rows: int = 1) -> None:
        """Raise Overloaded when rows that arrive now would be answered too late."""
        if not self._waiting_rows:
            return
        if self._surely is None:
            self._surely = self._surely_in_time()
        if self._waiting_rows + rows <= self._surely:
            return
        if (wait := self._wait_s(rows)) > self._max_latency * _HEADROOM:
            raise self._too_late(wait)

    def _too_late(self, wait_s: float) -> Overloaded:
        if self._refused:
            self._refused()
        if not self._napping:
            self._napping = True
            asyncio.get_running_loop().call_soon(self._nap)
        return Overloaded(wait_s)

    def _nap(self) -> None:
        """Leave the interpreter to the batch for a moment, so that refusals come in bursts.

        A model that lets go of the interpreter between two steps (a forest does, hundreds of times) waits for it
        whenever the event loop has something to do, which costs it several times what a refusal takes.
        """
        self._napping = False
        if isinstance(self._task, Call):
            self._task.leave_alone(_NAP_S)

    def _wait_s(self, rows: int) -> float:
        full, rest = divmod(self._waiting_rows + rows, self._max_rows)
        running = max(0.0, self._started + self._cost.predict(self._rows) - perf_counter()) if self._task else 0.0
        return running + full * self._cost.predict(self._max_rows) + (self._cost.predict(rest) if rest else 0.0)

    def _surely_in_time(self) -> float:
        """Reckoned once for each batch instead of for each request: a full one runs, and full ones wait."""
        full_s = self._cost.predict(self._max_rows)
        return (self._max_latency * _HEADROOM // full_s - 1) * self._max_rows if full_s else math.inf

    def _soon(self) -> None:
        """Start the next batch: at once for a caller who is used to be alone.

        While callers come together, those whose requests are already being read are let in first: reading has
        to be done anyway, and their rows are cheapest in this batch. Nobody waits for a clock.
        """
        if self._company:
            until = perf_counter() + self._cost.predict(self._waiting_rows) / 2
            asyncio.get_running_loop().call_soon(self._gather, self._arrivals, 0, until)
        else:
            self._next()

    def _gather(self, seen: int, quiet: int, until: float) -> None:
        """Go on to the batch after a few turns without arrivals, or when it is full, or when that took too long."""
        quiet = quiet + 1 if self._arrivals == seen else 0
        if quiet >= _QUIET_TURNS or self._waiting_rows >= self._max_rows or perf_counter() >= until:
            self._next()
        else:
            asyncio.get_running_loop().call_soon(self._gather, self._arrivals, quiet, until)

    def _next(self) -> None:
        """Start the next batch, or fall idle."""
        pieces = self._assemble()
        if not pieces:
            self._busy = False
            return
        self._company = len(pieces) > 1
        self._rows = _size(pieces)
        self._started = perf_counter()
        # In the context of the oldest caller, or else each batch would inherit that of a request long answered.
        self._start(pieces, pieces[0][0].context)

    def _start(self, pieces: list[_Piece], context: contextvars.Context) -> None:
        loop = asyncio.get_running_loop()
        try:
            call = context.run(self._call, pieces)
        except Exception as error:  # noqa: BLE001  say, of rows that cannot be joined
            self._task = loop.create_task(self._serve(pieces, self._halves(pieces, error)), context=context)
            return
        if isinstance(call, Call):  # a thread does it: no task is needed to wait for that
            self._task = call
            call.then(functools.partial(self._done, pieces))
        else:
            self._task = loop.create_task(self._serve(pieces, self._outcomes(pieces, call)), context=context)

    def _assemble(self) -> list[_Piece]:
        """The oldest rows that fit into one batch, without those of callers who left or whose time is up."""
        pieces: list[_Piece] = []
        room, now = self._max_rows, perf_counter()
        until_s = self._cost.predict(min(room, self._waiting_rows))
        unfinished: list[_Job] = []
        while room and self._waiting:
            job = self._waiting.popleft()
            left = job.rows - job.taken
            self._waiting_rows -= min(left, self._max_rows)
            if job.left():
                if not job.future.done():
                    job.future.set_exception(Gone())
                continue
            if not job.taken and self._is_late(now - job.arrived, until_s):
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

    def _is_late(self, waited_s: float, until_s: float) -> bool:
        """An answer after `until_s` more would come too late. Who has just come is computed whatever is predicted: or
        one slow batch would have all later ones refused.
        """
        just_come = waited_s <= self._max_latency * (1 - _HEADROOM)
        return not just_come and waited_s + until_s > self._max_latency * (1 - _WAY_BACK)

    def _done(self, pieces: list[_Piece], call: Call) -> None:
        """A thread has computed the batch."""
        if call.cancelled:
            return self._abandon(pieces)
        try:
            outcomes = self._shares(pieces, call.result())
        except BaseException as error:  # noqa: BLE001  whatever the model raises belongs to its caller
            halves = self._halves(pieces, error)
            self._task = asyncio.get_running_loop().create_task(self._serve(pieces, halves))
            return None
        return self._settle_all(pieces, outcomes)

    async def _serve(self, pieces: list[_Piece], outcomes: Awaitable[list[Any]]) -> None:
        try:
            self._settle_all(pieces, await outcomes)
        except BaseException:
            self._abandon(pieces)
            raise

    def _settle_all(self, pieces: list[_Piece], outcomes: list[Any]) -> None:
        for (job, _, _), outcome in zip(pieces, outcomes, strict=True):
            self._settle(job, outcome)
        self._end(pieces)

    def _abandon(self, pieces: list[_Piece]) -> None:
        """After a cancellation nobody waits for ever, or gets an answer with a hole in it."""
        for job, _, _ in pieces:
            job.future.cancel()
        self._end(pieces)

    def _end(self, pieces: list[_Piece]) -> None:
        self._task = None
        waited = self._started - min(job.arrived for job, _, _ in pieces)
        # After the answers have been sent: those whose rows are ready come first, and what arrives meanwhile
        # joins. The time of sending counts, because the next batch waits for it.
        asyncio.get_running_loop().call_soon(self._after, waited)

    def _after(self, waited: float) -> None:
        self._cost.learn(self._rows, perf_counter() - self._started)
        self._surely = None
        if self._observed:
            self._observed(self._rows, waited)
        if self._waiting:
            self._soon()
        else:
            self._busy = False

    async def _outcomes(self, pieces: list[_Piece], call: Awaitable[Any] | None = None) -> list[Any]:
        """The result or the exception of each piece. A batch that fails is halved until the culprit is alone."""
        try:
            return self._shares(pieces, await (call or self._call(pieces)))
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  whatever the model raises belongs to its caller
            return await self._halves(pieces, error)

    async def _halves(self, pieces: list[_Piece], error: BaseException) -> list[Any]:
        if len(pieces) == 1:
            return [_Failed(_harmless(error))]
        middle = len(pieces) // 2
        return [*await self._outcomes(pieces[:middle]), *await self._outcomes(pieces[middle:])]

    def _call(self, pieces: list[_Piece]) -> Awaitable[Any]:
        payloads = [self._slice(piece) for piece in pieces]
        return self._run(payloads[0] if len(payloads) == 1 else self._inputs.join(payloads))

    def _shares(self, pieces: list[_Piece], result: Any) -> list[Any]:
        """The part of the result that belongs to each piece. Raises ValueError when the rows do not match."""
        self._see_whole(result, _size(pieces))
        if len(pieces) == 1:
            return [result]
        offsets = [0]
        for _, start, stop in pieces:
            offsets.append(offsets[-1] + stop - start)
        shares = self._outputs.cut(result, offsets)
        if len(shares) != len(pieces):
            raise ValueError(f"results of type {type(result).__name__} were cut into {len(shares)}, not {len(pieces)}")
        return shares

    def _see_whole(self, result: Any, rows: int) -> None:
        """Raise ValueError unless there is a result for each row."""
        if (found := self._outputs.count(result)) != rows:
            raise ValueError(f"the batch function gave {found} results for {rows} inputs")

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


def _harmless(error: BaseException) -> Exception:
    """At SystemExit asyncio would end the whole worker, and every other request with it.

    A panic in a library written in Rust (tokenizers, polars) is no Exception either.
    """
    return error if isinstance(error, Exception) else RuntimeError(f"the batch function raised {error!r}")


def _size(pieces: Sequence[_Piece]) -> int:
    if len(pieces) == 1:
        return pieces[0][2] - pieces[0][1]
    return sum(stop - start for _, start, stop in pieces)
