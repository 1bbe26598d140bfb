"""Rules of the threads in which `def` endpoints run."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noren_serve.threads import Threads


def within(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def endpoints() -> int:
    return sum(thread.name.startswith("endpoint-") for thread in threading.enumerate())


@given(st.integers(1, 4), st.integers(1, 12))
def test_never_more_calls_run_at_once_than_there_are_threads_and_as_many_as_can(size: int, calls: int) -> None:
    lock, gate = threading.Lock(), threading.Event()
    running = most = 0
    all_in = threading.Event()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == min(size, calls):
                all_in.set()
        gate.wait(50)
        with lock:
            running -= 1

    async def test() -> None:
        threads = Threads(size)
        tasks = [asyncio.create_task(threads.run(call)) for _ in range(calls)]
        await asyncio.sleep(0)
        assert await asyncio.get_running_loop().run_in_executor(None, all_in.wait, 50)
        gate.set()
        await asyncio.gather(*tasks)

    within(test())
    assert most == min(size, calls)


def test_one_call_after_the_other_needs_one_thread() -> None:
    before = endpoints()

    async def test() -> None:
        threads = Threads(8)
        names = {await threads.run(lambda: threading.current_thread().name) for _ in range(20)}
        assert names == {"endpoint-1"}

    within(test())
    assert endpoints() == before + 1


def test_calls_of_one_thread_run_in_the_order_they_came() -> None:
    order: list[int] = []

    async def test() -> None:
        threads = Threads(1)
        await asyncio.gather(*[threads.run(partial(order.append, number)) for number in range(50)])

    within(test())
    assert order == list(range(50))


def test_context_variables_travel_to_the_thread_and_changes_do_not_leak_back_or_to_the_next_call() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")

    def greet() -> str:
        seen = who.get()
        who.set("the thread's own")
        return seen

    async def caller(threads: Threads, name: str) -> tuple[str, str]:
        who.set(name)
        return await threads.run(greet), who.get()

    async def test() -> None:
        threads = Threads(1)
        for name in ("a", "b"):
            assert await asyncio.create_task(caller(threads, name)) == (name, name)
        assert await threads.run(greet) == "nobody"

    within(test())


def throw(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_whatever_is_raised_reaches_the_caller_and_the_thread_lives_on(error: BaseException) -> None:
    async def test() -> None:
        threads = Threads(1)
        with pytest.raises(type(error)):
            await threads.run(throw(error))
        assert await threads.run(lambda: threading.current_thread().name) == "endpoint-1"

    within(test())


def test_stop_iteration_which_no_future_can_carry_arrives_as_an_error_that_names_it() -> None:
    async def test() -> None:
        threads = Threads(1)
        with pytest.raises(RuntimeError, match="StopIteration: 7"):
            await threads.run(throw(StopIteration(7)))
        assert await threads.run(lambda: 1) == 1

    within(test())


def test_a_call_that_was_cancelled_while_it_waited_is_not_made() -> None:
    gate, made = threading.Event(), list[int]()

    async def test() -> None:
        threads = Threads(1)
        first = asyncio.create_task(threads.run(lambda: gate.wait(50)))
        second = asyncio.create_task(threads.run(lambda: made.append(2)))
        third = asyncio.create_task(threads.run(lambda: made.append(3)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, third)

    within(test())
    assert made == [3]


def test_a_call_that_is_cancelled_while_it_runs_gives_its_thread_back() -> None:
    started, gate = threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        gate.wait(50)

    async def test() -> None:
        threads = Threads(1)
        running = asyncio.create_task(threads.run(call))
        await asyncio.get_running_loop().run_in_executor(None, started.wait, 50)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.set()
        assert await threads.run(lambda: 1) == 1

    within(test())


class Payload:
    """Something of a request that can be asked whether it is still there."""


@pytest.mark.parametrize("fails", [False, True])
def test_an_idle_thread_keeps_nothing_of_the_last_request(fails: bool) -> None:
    async def test() -> None:
        threads = Threads(1)
        payload, result = Payload(), Payload()
        kept = [weakref.ref(payload), weakref.ref(result)]

        def call(payload: Payload = payload, result: Payload = result) -> Payload:
            if fails:
                raise LookupError(payload)
            return result

        task = asyncio.create_task(threads.run(call))
        await asyncio.wait([task])
        assert (task.exception() is not None) is fails
        del task, call, payload, result
        await until_gone(*kept)

    within(test())


def test_an_idle_thread_keeps_nothing_of_a_cancelled_request() -> None:
    gate = threading.Event()

    async def test() -> None:
        threads = Threads(1)
        first = asyncio.create_task(threads.run(lambda: gate.wait(50)))
        payload = Payload()
        kept = weakref.ref(payload)
        second = asyncio.create_task(threads.run(partial(id, payload)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        del payload, second
        gate.set()
        await first
        await until_gone(kept)

    within(test())


async def until_gone(*kept: "weakref.ref[Payload]") -> None:
    """The thread lets go moments after it delivered its last call: when it comes to wait for the next one."""
    deadline = asyncio.get_running_loop().time() + 30
    while any(ref() is not None for ref in kept):
        assert asyncio.get_running_loop().time() < deadline, "an idle thread keeps it"
        await asyncio.sleep(0.001)
        gc.collect()


def test_a_loop_that_has_ended_does_not_end_the_threads() -> None:
    gate, threads = threading.Event(), Threads(1)

    async def leave() -> None:
        asyncio.create_task(threads.run(lambda: gate.wait(50)))  # noqa: RUF006  nobody waits for it
        await asyncio.sleep(0)

    asyncio.run(leave())
    gate.set()

    async def come_again() -> None:
        assert await threads.run(lambda: 1) == 1

    within(come_again())


def test_a_call_that_is_left_alone_is_waited_for_until_it_ends_or_for_a_while() -> None:
    gate, begun = threading.Event(), threading.Event()

    def function() -> None:
        begun.set()
        gate.wait(50)

    async def test() -> None:
        call = Threads(1).call(function)
        assert begun.wait(50)
        call.leave_alone(0.001)  # it has not ended, and yet this goes on
        threading.Timer(0.05, gate.set).start()
        call.leave_alone(3600)
        assert gate.is_set()
        call.leave_alone(3600)  # it ended before
        await call

    within(test())
