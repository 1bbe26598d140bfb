"""Rules of patience: exactly the overdue are ended."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import noren_serve.patience
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noren_serve.patience import Patience

LIMIT_S = 10.0


class Clock:
    """Time, and timers that ring when it has passed."""

    def __init__(self, patch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop) -> None:
        self.now, self.timers = 0.0, list[tuple[float, Any]]()
        patch.setattr(noren_serve.patience, "perf_counter", lambda: self.now)
        patch.setattr(loop, "call_later", lambda delay, call, *args: self.timers.append((self.now + delay, call)))

    async def forward(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1]()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self.now = end


class Request:
    """A request whose task waits until it is told to answer."""

    def __init__(self, patience: Patience, clock: Clock) -> None:
        self.ending, self.late = asyncio.Event(), False
        self.streams = False
        self.task = asyncio.create_task(self._serve(patience, clock.now))

    async def _serve(self, patience: Patience, now: float) -> str:
        patience.begin(self, now)
        try:
            await self.ending.wait()
        except asyncio.CancelledError:
            self.late = patience.end(self)
            return "cancelled"
        finally:
            assert not patience.end(self)  # once told, not told again
        return "answered"


def with_clock(test: Any) -> None:
    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            await test(Clock(patch, asyncio.get_running_loop()))

    coroutine: Coroutine[Any, Any, None] = run()
    asyncio.run(coroutine)


@given(st.lists(st.tuples(st.floats(0, 3), st.one_of(st.none(), st.floats(0, 15))), min_size=1, max_size=15))
def test_exactly_those_who_are_overdue_are_ended_and_soon(plan: list[tuple[float, float | None]]) -> None:
    """(pause before it comes, seconds until it answers; None: never)"""

    async def test(clock: Clock) -> None:
        patience = Patience(LIMIT_S)
        requests = []
        ends: list[tuple[float, Request]] = []
        for pause, takes in plan:
            await forward(clock, pause, ends)
            request = Request(patience, clock)
            await asyncio.sleep(0)
            requests.append((request, takes))
            if takes is not None:
                ends.append((clock.now + takes, request))
        await forward(clock, LIMIT_S + 6, ends)

        for request, takes in requests:
            assert request.task.done()
            if takes is None or takes > LIMIT_S + 0.11:
                assert (request.task.result(), request.late) == ("cancelled", True)
            elif takes < LIMIT_S:
                assert (request.task.result(), request.late) == ("answered", False)
        assert not patience._open
        assert not patience._expired

    with_clock(test)


async def forward(clock: Clock, seconds: float, ends: list[tuple[float, Request]]) -> None:
    """Time passes, and requests answer when it is their turn."""
    until = clock.now + seconds
    for at, request in sorted(ends, key=lambda end: end[0]):
        if at <= until:
            await clock.forward(max(0.0, at - clock.now))
            request.ending.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ends.remove((at, request))
    await clock.forward(max(0.0, until - clock.now))


def test_a_request_whose_answer_has_begun_may_take_as_long_as_it_likes() -> None:
    async def test(clock: Clock) -> None:
        patience = Patience(LIMIT_S)
        stream = Request(patience, clock)
        await asyncio.sleep(0)
        assert not patience.end(stream)  # its first byte

        await clock.forward(10 * LIMIT_S)

        assert not stream.task.done()
        stream.ending.set()
        assert await stream.task == "answered"

    with_clock(test)


def test_one_timer_serves_all_requests_and_none_when_there_are_none() -> None:
    async def test(clock: Clock) -> None:
        patience = Patience(LIMIT_S)
        requests = [Request(patience, clock) for _ in range(50)]
        await asyncio.sleep(0)
        assert len(clock.timers) == 1

        for request in requests:
            request.ending.set()
        await clock.forward(1)
        assert clock.timers == []

        again = Request(patience, clock)
        await asyncio.sleep(0)
        await clock.forward(LIMIT_S + 1)
        assert again.late

    with_clock(test)


def test_ending_a_request_that_never_began_is_harmless() -> None:
    assert Patience(LIMIT_S).end(object()) is False
