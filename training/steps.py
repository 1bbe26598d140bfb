"""The steps of a training run: shown while they happen, and timed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Prints each step with its seconds, and keeps them in `seconds` by name."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block. A step that raises is not counted."""
        started = time.perf_counter()
        with self._console.status(f"{name} ..."):
            yield
        self.seconds[name] = round(time.perf_counter() - started, 2)
        self._console.print(f"  {name:<34} {self.seconds[name]:6.1f} s")
