"""How far a load test is."""

import math
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn

from noren.cli.console import errors
from noren.domain.deployment import LoadGate

if TYPE_CHECKING:
    from noren.gates.duet import Measured

_PLAIN_EVERY_S = 5.0


class LoadProgress:
    """A bar in a terminal, now and then a line elsewhere, nothing when `silent`; on standard error.

    about  said before everything, where there are several: "launch 2 of 5: "
    first  what happens before the first figures come; without `about` a line elsewhere would only be in the way
    """

    def __init__(self, gate: LoadGate, *, silent: bool, about: str = "", first: str = "warming up") -> None:
        self._total_s, self._silent, self._said_at = gate.duration.total_seconds(), silent, 0.0
        self._about, self._first = about, first
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), console=errors, transient=True)
        self._shown = errors.is_terminal and not silent
        self._task = self._bar.add_task(about + first, total=self._total_s)

    def __enter__(self) -> "LoadProgress":
        if self._shown:
            self._bar.start()
        elif self._about and not self._silent:
            errors.print(self._about + self._first, markup=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()

    def tell(self, measured: "Measured") -> None:
        """Show what has been measured."""
        counted = {name: arm.until(math.inf) for name, arm in measured.arms.items()}  # without the warm-up
        counts = [f"{name} {arm.requests} requests, {arm.errors} errors" for name, arm in counted.items()]
        said = f"{self._about}{measured.elapsed_s:.0f} of at most {self._total_s:.0f} s: " + "; ".join(counts)
        if self._shown:
            self._bar.update(self._task, completed=measured.elapsed_s, description=said)
        elif not self._silent and measured.elapsed_s >= self._said_at + _PLAIN_EVERY_S:
            self._said_at = measured.elapsed_s
            errors.print(said, markup=False)
