"""Rules of batching: nobody's rows are lost, mixed up, late without a word, or in the way of others."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import chain, pairwise
from typing import Any

import noren_serve.batching
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noren_serve.batching import Batcher, Gone, Overloaded, Rows
from noren_serve.rows import PayloadRows
from noren_serve.threads import Call, Threads


class Lists:
    """The plainest Rows there can be."""

    def count(self, payload: list[Any]) -> int:
        return len(payload)

    def cut(self, payload: list[Any], at: Sequence[int]) -> list[list[Any]]:
        return [payload[start:stop] for start, stop in pairwise(at)]

    def join(self, pieces: Sequence[list[Any]]) -> list[Any]:
        return list(chain.from_iterable(pieces))


class Model:
    """A batch function that answers when it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self._answers: list[asyncio.Future[Any]] = []

    async def __call__(self, batch: Any) -> Any:
        self.calls.append(batch)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return await answer

    @property
    def running(self) -> bool:
        return bool(self._answers) and not self._answers[-1].done()

    async def finish(self, result: Any = None) -> None:
        """The call that runs gives ten times its rows, or this."""
        self._answers[-1].set_result([10 * row for row in self.calls[-1]] if result is None else result)
        await turns()

    async def fail(self, error: BaseException) -> None:
        self._answers[-1].set_exception(error)
        await turns()

    async def finish_all(self) -> None:
        while self.running:
            await self.finish()


async def turns(count: int = 10) -> None:
    """Let everything happen that can happen now."""
    for _ in range(count):
        await asyncio.sleep(0)


def batcher(
    run: Callable[[Any], Awaitable[Any]],
    *,
    max_rows: int = 4,
    max_latency: float = 60.0,
    rows: Rows | None = None,
    observed: Callable[[int, float], None] | None = None,
    refused: Callable[[], None] | None = None,
) -> Batcher:
    kind = rows or Lists()
    return Batcher(
        run,
        inputs=kind,
        outputs=kind,
        max_rows=max_rows,
        max_latency=max_latency,
        observed=observed,
        refused=refused,
    )


def submit(
    batch: Batcher, payload: Any, gone: Callable[[], bool] | None = None, into: list[Any] | None = None
) -> "asyncio.Task[Any]":
    async def call() -> Any:
        result = await batch.submit(payload, gone)
        if into is not None:
            into.append(payload)
        return result

    return asyncio.create_task(call())


def within(test: Coroutine[Any, Any, None]) -> None:
    """Run it; whoever waits for ever fails."""
    asyncio.run(asyncio.wait_for(test, 60))


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(noren_serve.batching, "perf_counter", clock)
    return clock


# Who gets what

callers = st.lists(
    st.tuples(
        st.integers(0, 23),  # rows
        st.integers(0, 3),  # turns of the loop before it comes
        st.sampled_from(["stays", "stays", "stays", "cancels", "hangs up"]),
    ),
    min_size=1,
    max_size=12,
)


@given(callers, st.integers(1, 9), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_everyone_who_stays_gets_the_results_of_his_own_rows_in_order_and_each_row_is_computed_once(
    plan: list[tuple[int, int, str]], max_rows: int, delays: list[int]
) -> None:
    computed: list[tuple[int, int]] = []

    async def model(batch: list[tuple[int, int]]) -> list[tuple[str, int, int]]:
        assert len(batch) <= max_rows
        computed.extend(batch)
        await turns(delays[len(computed) % len(delays)])
        return [("of", *row) for row in batch]

    async def test() -> None:
        batch = batcher(model, max_rows=max_rows)
        left: set[int] = set()
        tasks = []
        for caller, (rows, wait, _) in enumerate(plan):
            await turns(wait)
            payload = [(caller, row) for row in range(rows)]
            tasks.append(submit(batch, payload, gone=lambda caller=caller: caller in left))  # type: ignore[misc]
        for caller, (_, _, will) in enumerate(plan):
            if will == "cancels":
                tasks[caller].cancel()
            elif will == "hangs up":
                left.add(caller)
        results = await asyncio.gather(*tasks, return_exceptions=True)

        for caller, (rows, _, will) in enumerate(plan):
            mine = [("of", caller, row) for row in range(rows)]
            if will == "stays":
                assert results[caller] == mine
            elif will == "hangs up":
                assert results[caller] == mine or isinstance(results[caller], Gone)
        assert len(computed) == len(set(computed))
        for caller, (rows, _, _) in enumerate(plan):
            assert [row for who, row in computed if who == caller] == list(range(rows))[: len(computed)][
                : sum(who == caller for who, _ in computed)
            ]

    within(test())


def as_list(sizes: list[int]) -> list[Any]:
    return [[(caller, row) for row in range(size)] for caller, size in enumerate(sizes)]


def as_array(sizes: list[int]) -> list[Any]:
    return [np.array([[caller, row] for row in range(size)]).reshape(size, 2) for caller, size in enumerate(sizes)]


def as_columns(sizes: list[int]) -> list[Any]:
    return [array.T for array in as_array(sizes)]


def as_frame(sizes: list[int]) -> list[Any]:
    return [pd.DataFrame(array, columns=["caller", "row"]) for array in as_array(sizes)]


@pytest.mark.parametrize(("payloads", "dimension"), [(as_list, 0), (as_array, 0), (as_columns, 1), (as_frame, 0)])
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6), max_rows=st.integers(1, 7))
def test_lists_arrays_and_frames_come_back_as_they_went(
    payloads: Callable[[list[int]], list[Any]], dimension: int, sizes: list[int], max_rows: int
) -> None:
    rows = PayloadRows(dimension)

    async def echo(batch: Any) -> Any:
        assert rows.count(batch) <= max_rows
        return batch

    async def test() -> None:
        batch = batcher(echo, max_rows=max_rows, rows=rows)
        given = payloads(sizes)
        for sent, got in zip(given, await asyncio.gather(*map(batch.submit, given)), strict=True):
            assert type(got) is type(sent)
            np.testing.assert_array_equal(np.asarray(got), np.asarray(sent))

    within(test())


@pytest.mark.parametrize("empty", [[], np.empty((0, 2)), pd.DataFrame({"a": []})])
def test_a_caller_with_no_rows_is_answered_and_so_is_the_next_one(empty: Any) -> None:
    async def echo(batch: Any) -> Any:
        return batch

    async def test() -> None:
        batch = batcher(echo, rows=PayloadRows(0))
        assert len(await batch.submit(empty)) == 0
        assert len(await batch.submit(empty)) == 0
        assert await batch.submit([1]) == [1]

    within(test())


# When a batch begins


def test_a_lone_request_runs_at_once_and_alone() -> None:
    async def test() -> None:
        model = Model()
        task = submit(batcher(model), [1])
        await asyncio.sleep(0)  # it comes
        await asyncio.sleep(0)  # the end of its turn
        await asyncio.sleep(0)  # the batch

        assert model.calls == [[1]]
        await model.finish()
        assert await task == [10]

    within(test())


def test_who_is_alone_is_answered_before_his_rows_are_noted() -> None:
    async def echo(batch: Any) -> Any:
        return batch

    async def test() -> None:
        noted: list[tuple[int, float]] = []
        batch = batcher(echo, observed=lambda rows, waited: noted.append((rows, waited)))
        await batch.submit([1])  # from now on it is known that he is alone
        await turns()
        noted.clear()

        assert await batch.submit([2, 3]) == [2, 3]
        assert noted == []
        await turns()
        assert noted == [(2, 0.0)]

    within(test())


def test_requests_of_the_same_turn_of_the_loop_share_a_batch() -> None:
    async def test() -> None:
        model = Model()
        tasks = [submit(batch, [number]) for batch in [batcher(model)] for number in (1, 2, 3)]
        await turns()

        assert model.calls == [[1, 2, 3]]
        await model.finish()
        assert await asyncio.gather(*tasks) == [[10], [20], [30]]

    within(test())


def test_requests_that_come_while_a_batch_runs_share_the_next_one() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model)
        tasks = [submit(batch, [1])]
        await turns()
        for number in (2, 3):
            tasks.append(submit(batch, [number]))
            await turns()
        assert model.calls == [[1]]

        await model.finish()

        assert model.calls == [[1], [2, 3]]
        await model.finish_all()
        assert await asyncio.gather(*tasks) == [[10], [20], [30]]

    within(test())


def test_only_one_batch_runs_at_a_time() -> None:
    running = 0

    async def model(batch: list[int]) -> list[int]:
        nonlocal running
        running += 1
        assert running == 1
        await turns(3)
        running -= 1
        return batch

    async def test() -> None:
        batch = batcher(model, max_rows=2)
        tasks = []
        for number in range(30):
            tasks.append(submit(batch, [number]))
            await turns(number % 4)
        assert await asyncio.gather(*tasks) == [[number] for number in range(30)]

    within(test())


def test_what_a_batch_was_is_told_when_it_is_done(clock: Clock) -> None:
    async def test() -> None:
        told: list[tuple[int, float]] = []
        model = Model()
        batch = batcher(model, observed=lambda rows, waited: told.append((rows, waited)))
        tasks = [submit(batch, [1])]
        await turns()
        tasks.append(submit(batch, [2, 3]))
        await turns()
        clock.now += 0.25
        tasks.append(submit(batch, [4]))
        await turns()
        clock.now += 0.25
        await model.finish_all()

        assert told == [(1, 0.0), (3, 0.5)]
        await asyncio.gather(*tasks)

    within(test())


# Jobs larger than a batch


def test_a_job_larger_than_a_batch_is_cut_and_its_results_are_joined_in_order() -> None:
    async def test() -> None:
        model = Model()
        task = submit(batcher(model, max_rows=4), list(range(10)))
        await turns()
        await model.finish_all()

        assert model.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert await task == [10 * row for row in range(10)]

    within(test())


@given(st.integers(16, 60), st.integers(1, 4), st.integers(0, 5))
def test_a_small_job_behind_a_huge_one_is_answered_before_the_huge_one_is_done(
    huge: int, small: int, batches_before: int
) -> None:
    async def test() -> None:
        model, order = Model(), list[list[int]]()
        batch = batcher(model, max_rows=4)
        first = submit(batch, list(range(huge)), into=order)
        await turns()
        for _ in range(min(batches_before, huge // 4 - 4)):
            await model.finish()
        second = submit(batch, list(range(1000, 1000 + small)), into=order)
        await turns()
        before = len(model.calls)
        await model.finish_all()
        await asyncio.gather(first, second)

        assert order[0][0] == 1000
        rows = [row for call in model.calls[before : before + 2] for row in call]
        assert set(range(1000, 1000 + small)) <= set(rows)  # after at most one batch of the huge one

    within(test())


def test_a_huge_job_does_not_have_small_ones_behind_it_refused(clock: Clock) -> None:
    """They come next, so its many rows are not before them."""

    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=4, max_latency=2.0)
        tasks = [submit(batch, list(range(400)))]
        await turns()
        clock.now += 0.1  # 100 batches of 0.1 s
        await model.finish()

        tasks.append(submit(batch, [7]))
        await turns()
        while model.running:
            clock.now += 0.1
            await model.finish()

        assert await tasks[1] == [70]
        assert len(await tasks[0]) == 400

    within(test())


def test_results_that_cannot_be_joined_fail_their_own_caller_alone() -> None:
    """As of a model that pads its answers to the longest of a batch."""
    rows = PayloadRows(0)
    widths = iter([2, 3, 3])

    async def padded(batch: Any) -> Any:
        return np.zeros((len(batch), next(widths)))

    async def test() -> None:
        batch = batcher(padded, max_rows=4, rows=rows)
        huge = submit(batch, np.zeros((6, 1)))
        small = submit(batch, np.zeros((1, 1)))
        with pytest.raises(ValueError, match="concatenat"):
            await huge
        assert (await small).shape == (1, 3)

    within(test())


# Callers who leave


def test_rows_of_a_caller_who_was_cancelled_are_not_computed() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model)
        tasks = [submit(batch, [number]) for number in (1,)]
        await turns()
        tasks += [submit(batch, [number]) for number in (2, 3)]
        await turns()
        tasks[1].cancel()
        await model.finish()

        assert model.calls == [[1], [3]]
        await model.finish()
        assert await tasks[2] == [30]

    within(test())


def test_a_caller_who_hung_up_gets_gone_and_his_rows_are_not_computed() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model)
        here, left = submit(batch, [1]), submit(batch, [2], gone=lambda: True)
        await turns()
        await model.finish()

        assert model.calls == [[1]]
        assert await here == [10]
        with pytest.raises(Gone):
            await left

    within(test())


def test_the_rest_of_a_huge_job_is_dropped_when_its_caller_leaves() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=4)
        huge = submit(batch, list(range(100)))
        await turns()
        huge.cancel()
        await turns()
        await model.finish()
        assert len(model.calls) == 1

        after = submit(batch, [5])
        await turns()
        await model.finish()
        assert await after == [50]

    within(test())


def test_a_caller_who_leaves_while_his_batch_runs_does_not_disturb_the_others() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model)
        tasks = [submit(batch, [number]) for number in (1, 2, 3)]
        await turns()
        tasks[1].cancel()
        await turns()
        await model.finish()

        assert await tasks[0] == [10]
        assert await tasks[2] == [30]

    within(test())


# Failures


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.data())
def test_an_exception_lands_with_the_callers_of_bad_rows_and_all_others_are_answered(
    sizes: list[int], data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, len(sizes) - 1)))

    async def picky(batch: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if culprits := bad.intersection(batch):
            raise LookupError(culprits)
        return batch

    async def test() -> None:
        batch = batcher(picky, max_rows=16)
        tasks = [submit(batch, [caller] * size) for caller, size in enumerate(sizes)]
        results = await asyncio.gather(*tasks, return_exceptions=True)

        for caller, size in enumerate(sizes):
            if caller in bad:
                assert isinstance(results[caller], LookupError)
                assert results[caller].args == ({caller},)  # his own, not a neighbour's
            else:
                assert results[caller] == [caller] * size

    within(test())


def test_a_lone_bad_request_among_many_costs_a_logarithm_of_calls() -> None:
    calls: list[list[int]] = []

    async def picky(batch: list[int]) -> list[int]:
        calls.append(batch)
        if 5 in batch:
            raise LookupError
        return batch

    async def test() -> None:
        batch = batcher(picky, max_rows=16)
        results = await asyncio.gather(*[batch.submit([n]) for n in range(16)], return_exceptions=True)
        assert [type(result) is LookupError for result in results].index(True) == 5

    within(test())
    assert len(calls) <= 1 + 2 * 4


@pytest.mark.parametrize("change", [lambda rows: rows[1:], lambda rows: [*rows, 0], lambda rows: None])
def test_a_wrong_number_of_results_is_an_error_of_exactly_the_rows_concerned(
    change: Callable[[list[int]], Any],
) -> None:
    async def sloppy(batch: list[int]) -> Any:
        return change(batch) if 3 in batch else batch

    async def test() -> None:
        batch = batcher(sloppy, max_rows=16)
        results = await asyncio.gather(*[batch.submit([n, n]) for n in range(6)], return_exceptions=True)

        assert isinstance(results[3], (ValueError, TypeError))
        assert [result for n, result in enumerate(results) if n != 3] == [[n, n] for n in range(6) if n != 3]

    within(test())


def test_a_huge_job_that_fails_once_fails_and_its_rest_is_not_computed() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=4)
        huge = submit(batch, list(range(100)))
        await turns()
        await model.fail(LookupError("bad row"))

        with pytest.raises(LookupError, match="bad row"):
            await huge
        assert len(model.calls) == 1

    within(test())


def test_a_model_that_exits_fails_its_callers_and_neither_the_loop_nor_those_after_them() -> None:
    async def quitter(batch: list[int]) -> list[int]:
        if 1 in batch:
            raise SystemExit(3)
        return batch

    async def test() -> None:
        batch = batcher(quitter)
        exiting, other = submit(batch, [1]), submit(batch, [2])
        assert await other == [2]
        with pytest.raises(Exception, match="SystemExit"):
            await exiting
        assert await batch.submit([3]) == [3]

    within(test())


def test_a_batch_function_that_is_cancelled_leaves_nobody_waiting_and_nobody_with_half_an_answer() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=4)
        tasks = [submit(batch, [1, 2]), submit(batch, list(range(6)))]
        await turns()
        tasks.append(submit(batch, [8]))
        await turns()
        await model.fail(asyncio.CancelledError())
        await model.finish_all()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert all(isinstance(result, asyncio.CancelledError) for result in results[:2])
        assert results[2] == [80]

        after = submit(batch, [9])
        await turns()
        await model.finish()
        assert await after == [90]

    within(test())


def test_the_next_batch_waits_for_the_thread_of_a_lone_caller_who_left() -> None:
    async def test() -> None:
        gate, threads, running, most = threading.Event(), Threads(4), [0], [0]

        def model(rows: list[int]) -> list[int]:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if rows == [1]:
                gate.wait(50)
            running[0] -= 1
            return rows

        batch = batcher(lambda rows: threads.call(partial(model, rows)))
        assert await batch.submit([0]) == [0]  # from here on it is used to lone callers
        gone = submit(batch, [1])
        while not running[0]:
            await asyncio.sleep(0.001)
        gone.cancel()
        others = [submit(batch, [n]) for n in (2, 3)]
        await turns()
        assert not any(task.done() for task in others)
        gate.set()
        assert await asyncio.gather(*others) == [[2], [3]]
        assert most == [1]

    within(test())


def test_a_lone_caller_who_leaves_frees_the_place_in_the_event_loop() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model)
        for rows in ([0], [1]):
            task = submit(batch, rows)
            await turns()
            await model.finish()
            await task
        gone = submit(batch, [2])
        await turns()
        gone.cancel()
        other = submit(batch, [3])
        await turns()
        await model.finish()
        assert await other == [30]

    within(test())


def test_closing_cancels_everyone_who_waits() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=4)
        tasks = [submit(batch, [1])]  # runs
        await turns()
        tasks += [submit(batch, list(range(6))), submit(batch, [7])]
        await turns()
        batch.close()
        await turns()

        assert all(task.cancelled() for task in tasks)
        assert len(model.calls) == 1

    within(test())


def test_closing_when_nothing_happens_is_fine() -> None:
    async def test() -> None:
        batcher(Model()).close()

    within(test())


# Overload


async def learned(model: Model, batch: Batcher, clock: Clock, seconds: float, rows: int = 1) -> None:
    """The batcher has seen one batch of this duration."""
    task = submit(batch, [0] * rows)
    await turns()
    clock.now += seconds
    await model.finish_all()
    await task


def test_a_request_that_would_be_late_is_refused_at_once_and_told_when_to_come_again(clock: Clock) -> None:
    async def test() -> None:
        model, refused = Model(), list[int]()
        batch = batcher(model, max_rows=1, max_latency=3.0, refused=lambda: refused.append(1))
        await learned(model, batch, clock, 0.5)
        tasks = [submit(batch, [n]) for n in range(4)]  # one runs, three wait: 2.0 s, of 2.4 s
        await turns()

        with pytest.raises(Overloaded, match="try again in 3 s") as error:
            await batch.submit([9])

        assert error.value.retry_after_s == 3  # 2.5 s, in whole seconds
        assert isinstance(error.value.retry_after_s, int)
        assert len(refused) == 1
        while model.running:
            clock.now += 0.5
            await model.finish()
        assert len(await asyncio.gather(*tasks)) == 4  # whoever was let in was answered

    within(test())


def test_admit_refuses_as_submit_would_without_taking_anything(clock: Clock) -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=1, max_latency=3.0)
        await learned(model, batch, clock, 0.5)
        batch.admit()
        tasks = [submit(batch, [n]) for n in range(4)]
        await turns()

        with pytest.raises(Overloaded):
            batch.admit()

        for task in tasks:
            task.cancel()
        await turns()
        await model.finish_all()
        batch.admit()

    within(test())


@given(st.integers(1, 30))
def test_with_a_minute_of_time_nobody_is_refused_in_a_short_queue(queue: int) -> None:
    async def test() -> None:
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(noren_serve.batching, "perf_counter", clock)
            model = Model()
            batch = batcher(model, max_rows=10, max_latency=60.0)
            await learned(model, batch, clock, 1.0)
            tasks = [submit(batch, [n]) for n in range(queue)]
            await turns()
            while model.running:
                clock.now += 1.0
                await model.finish()
            assert len(await asyncio.gather(*tasks)) == queue

    within(test())


def test_who_is_refused_together_leaves_the_batch_in_its_thread_alone_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the event loop takes the interpreter, a model that lets go of it often has to wait."""
    naps: list[float] = []
    monkeypatch.setattr(Call, "leave_alone", lambda _, at_most_s: naps.append(at_most_s))

    async def test() -> None:
        gate, threads, slow = threading.Event(), Threads(1), True

        def model(rows: list[int]) -> list[int]:
            if slow:
                clock.now += 2.0
            else:
                gate.wait(50)
            return rows

        batch = batcher(lambda rows: threads.call(partial(model, rows)), max_rows=1, max_latency=3.0)
        await batch.submit([0])  # two seconds a row
        slow = False
        tasks = [submit(batch, [n]) for n in range(2)]
        await turns()
        assert naps == []
        for burst in (1, 2):
            for _ in range(5):
                with pytest.raises(Overloaded):
                    batch.admit()
            await turns()
            assert len(naps) == burst
        gate.set()
        assert await asyncio.gather(*tasks) == [[0], [1]]

    within(test())
    assert all(0 < seconds <= 0.03 for seconds in naps)  # others want their answers too


@given(
    seen=st.lists(st.tuples(st.integers(1, 8), st.floats(1e-4, 1.0)), max_size=6),
    running=st.integers(1, 8),
    waiting=st.integers(1, 60),
    rows=st.integers(1, 20),
    max_latency=st.floats(0.01, 10.0),
)
def test_who_is_let_in_at_a_glance_would_have_been_in_time(
    seen: list[tuple[int, float]], running: int, waiting: int, rows: int, max_latency: float
) -> None:
    async def echo(batch: Any) -> Any:
        return batch

    batch = batcher(echo, max_rows=8, max_latency=max_latency)
    for size, seconds in seen:
        batch._cost.learn(size, seconds)
    batch._waiting_rows = waiting
    if waiting + rows <= batch._surely_in_time():
        running_s = batch._cost.predict(running)
        assert running_s + batch._wait_s(rows) <= max_latency * noren_serve.batching._HEADROOM * (1 + 1e-9)


def test_nobody_is_refused_before_anything_is_known() -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=1, max_latency=0.001)
        for _ in range(100):
            batch.admit(1000)

    within(test())


def test_whoever_waited_too_long_all_the_same_is_refused_rather_than_answered_late(clock: Clock) -> None:
    async def test() -> None:
        model, refused = Model(), list[int]()
        batch = batcher(model, max_rows=1, max_latency=3.0, refused=lambda: refused.append(1))
        first, second = submit(batch, [1]), submit(batch, [2])
        await turns()
        clock.now += 5.0  # much slower than ever
        await model.finish()

        assert await first == [10]
        with pytest.raises(Overloaded):
            await second
        assert model.calls == [[1]]
        assert len(refused) == 1

    within(test())


@pytest.mark.parametrize(("waited_s", "until_s", "late"), [
    (2.0, 0.8, False),
    (2.0, 0.9, True),  # in time by a hair is late when it arrives
    (0.5, 9.0, False),
    (0.7, 9.0, True),
])  # fmt: skip
def test_an_answer_needs_time_for_its_way_back(waited_s: float, until_s: float, late: bool) -> None:
    assert batcher(Model(), max_latency=3.0)._is_late(waited_s, until_s) is late


def test_after_an_overload_all_are_served_again(clock: Clock) -> None:
    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=1, max_latency=3.0)
        await learned(model, batch, clock, 0.5)
        tasks = [submit(batch, [n]) for n in range(10)]
        await turns()
        while model.running:
            clock.now += 0.5
            await model.finish()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(result, Overloaded) for result in results)

        for n in range(20):
            task = submit(batch, [n])
            await turns()
            clock.now += 0.5
            await model.finish()
            assert await task == [10 * n]

    within(test())


@pytest.mark.parametrize("slow_s", [2.5, 3.0, 100.0])
def test_one_slow_batch_such_as_the_first_does_not_have_all_later_ones_refused(clock: Clock, slow_s: float) -> None:
    """Who refuses everyone never learns that the model has become quick."""

    async def test() -> None:
        model = Model()
        batch = batcher(model, max_rows=1, max_latency=3.0)
        await learned(model, batch, clock, slow_s)

        for n in range(5):
            task = submit(batch, [n])
            await asyncio.sleep(0)
            clock.now += 0.001  # between its coming and the end of the turn
            await turns()
            await model.finish()
            assert await task == [10 * n]

    within(test())


# What is kept


def test_nothing_of_a_request_is_kept_after_its_answer() -> None:
    class Payload(list[int]):
        pass

    async def echo(batch: Any) -> Any:
        return list(batch)

    async def test() -> None:
        batch = batcher(echo)
        payload = Payload([1])
        kept = weakref.ref(payload)
        await batch.submit(payload)
        del payload
        await turns()
        gc.collect()
        assert kept() is None

    within(test())


def test_a_batch_runs_in_the_context_of_its_oldest_caller_never_in_that_of_an_earlier_request() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []
    model = Model()

    async def spy(batch: list[int]) -> Any:
        seen.append(who.get())
        return await model(batch)

    async def caller(batch: Batcher, name: str) -> None:
        who.set(name)
        await batch.submit([1])

    async def test() -> None:
        batch = batcher(spy)
        tasks = []
        for name in ("first", "second", "third"):
            tasks.append(asyncio.create_task(caller(batch, name)))
            await turns()
        await model.finish_all()
        await asyncio.gather(*tasks)

    within(test())
    assert seen == ["first", "second"]
