"""Work on many series, on all cores. A module of its own: processes that are started anew import it by its name."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from rich.console import Console

from benchmarks.forecast.ledger import Ledger, Studied
from training.forecast import study_of
from training.series import Task

Result = TypeVar("Result")


def complete(ledger: Ledger, tasks: Sequence[Task]) -> dict[str, Studied]:
    """Study what is not in the ledger yet. Returns the studies by name."""
    done = ledger.all()
    console = Console(stderr=True, highlight=False)
    missing = [task for task in tasks if task.name not in done]
    for number, studied in enumerate(on_all_cores(timed, missing), start=len(done) + 1):
        ledger.keep(studied)
        done[studied.name] = studied
        if number % 250 == 0 or number == len(tasks):
            console.print(f"{number:,} of {len(tasks):,} series")
    return done


def timed(task: Task) -> Studied:
    """Study a series, and take the time."""
    began = time.perf_counter()
    found = study_of(task)
    return Studied(name=task.name, took_ms=(time.perf_counter() - began) * 1000, study=found)


def on_all_cores(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    """The result for each task, in the order in which they come."""
    if not tasks:
        return
    pool = ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for this process to answer
    )
    try:
        for future in as_completed([pool.submit(function, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
