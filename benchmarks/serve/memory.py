"""How a server's memory goes over time."""

import contextlib
import threading
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.serve.tree import Tree

EVERY_S = 5.0  # weighing costs the load generator's core some milliseconds

Curve = list[tuple[float, float]]  # (seconds since the start, megabytes)


@contextlib.contextmanager
def weighed(tree: Tree) -> Iterator[Curve]:
    """Weigh a server again and again until the block ends."""
    curve: Curve = []
    over, began = threading.Event(), time.monotonic()

    def weigh() -> None:
        while not over.is_set():
            curve.append((time.monotonic() - began, tree.memory_mb()))
            over.wait(EVERY_S)

    thread = threading.Thread(target=weigh)
    thread.start()
    try:
        yield curve
    finally:
        over.set()
        thread.join()


def growth(curve: Curve, *, settled_s: float) -> float:
    """The end's memory over that of the time right after `settled_s`, both as medians of a tenth of the curve.

    Raises ValueError when nothing was weighed after that.
    """
    settled = [megabytes for at, megabytes in curve if at >= settled_s]
    if not settled:
        raise ValueError(f"nothing was weighed after {settled_s:g} s")
    tenth = max(1, len(settled) // 10)
    return median(settled[-tenth:]) / median(settled[:tenth])
