"""The greedy batcher: never waits when idle, shares when busy, and callers do not hurt each other."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from bentos.batching import GreedyBatcher


class Kitchen:
    """A batch function that waits until it is told to go on, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.go = threading.Event()

    def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.started.set()
        assert self.go.wait(5)
        if 13 in items:
            raise ValueError("unlucky")
        return [item * 10 for item in items]


def busy(scenario: Callable[[Kitchen, GreedyBatcher[int, int]], Awaitable[None]], *, max_size: int = 64) -> Kitchen:
    kitchen = Kitchen()
    asyncio.run(asyncio.wait_for(scenario_of(scenario, kitchen, max_size), 5))
    return kitchen


async def scenario_of(
    scenario: Callable[[Kitchen, GreedyBatcher[int, int]], Awaitable[None]], kitchen: Kitchen, max_size: int
) -> None:
    await scenario(kitchen, GreedyBatcher(kitchen.run, max_size=max_size))


async def occupy(kitchen: Kitchen, batcher: GreedyBatcher[int, int], *later: int) -> list[asyncio.Task[int]]:
    """Item 0 is being run; `later` wait behind it."""
    tasks = [asyncio.create_task(batcher.submit(0))]
    while not kitchen.started.is_set():
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(batcher.submit(item)) for item in later]
    await asyncio.sleep(0)
    return tasks


def test_a_lone_item_runs_at_once() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        kitchen.go.set()
        assert await batcher.submit(4) == 40
        assert await batcher.submit(5) == 50

    assert busy(scenario).batches == [[4], [5]]


def test_what_arrives_during_a_batch_is_the_next_batch() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1, 2, 3)
        kitchen.go.set()
        assert await asyncio.gather(*tasks) == [0, 10, 20, 30]

    assert busy(scenario).batches == [[0], [1, 2, 3]]


def test_a_batch_is_never_larger_than_max_size() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1, 2, 3)
        kitchen.go.set()
        await asyncio.gather(*tasks)

    assert busy(scenario, max_size=2).batches == [[0], [1, 2], [3]]


def test_one_bad_item_fails_alone() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1, 13, 3)
        kitchen.go.set()
        first, good, bad, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert (first, good, last) == (0, 10, 30)
        assert isinstance(bad, ValueError)
        assert await batcher.submit(7) == 70

    busy(scenario)


def test_a_caller_who_left_while_waiting_costs_no_work() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1, 2)
        tasks[1].cancel()
        await asyncio.sleep(0)
        kitchen.go.set()
        assert (await tasks[0], await tasks[2]) == (0, 20)

    assert busy(scenario).batches == [[0], [2]]


def test_a_caller_who_left_during_the_batch_harms_nobody() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1)
        tasks[0].cancel()
        await asyncio.sleep(0)
        kitchen.go.set()
        assert await tasks[1] == 10

    busy(scenario)


def test_a_function_that_loses_results_is_an_error_and_not_a_mix_up() -> None:
    async def scenario() -> None:
        batcher: GreedyBatcher[int, int] = GreedyBatcher(lambda items: [])
        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            await asyncio.wait_for(batcher.submit(1), 5)

    asyncio.run(scenario())


def test_nobody_waits_for_ever_when_the_loop_shuts_down() -> None:
    async def scenario(kitchen: Kitchen, batcher: GreedyBatcher[int, int]) -> None:
        tasks = await occupy(kitchen, batcher, 1)
        assert batcher._drainer is not None
        batcher._drainer.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
        kitchen.go.set()

    busy(scenario)
