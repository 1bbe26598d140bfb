"""What was measured of each size, and whether it grows no faster than the number of deployments."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from benchmarks.rows import Row

# Of the time per deployment when there are ten times as many. What is quadratic has 10; what is linear has more than 1
# where less of it fits into the CPU's caches, and where a whole garbage collection falls into the slowest tick.
LINEAR = 3
SETTLED = 1_000  # deployments from which on what every tick takes anyhow is no matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one size."""

    size: int  # deployments
    rest_s: float  # a tick in which nothing is to be done
    rest_statements: int
    memory_mb: float  # resident, of the control plane with its drivers in memory
    stepping: int  # deployments that roll something out
    busy_s: float  # the slowest tick from their beginning to their first guests
    busy_statements: int  # the most of one tick

    def as_document(self) -> dict[str, float]:
        """For another process."""
        return asdict(self)


def rows(found: Sequence[Figures]) -> list[Row]:
    """The figures of every size, smallest first, and their growth."""
    made = [row for figures in found for row in _of(figures)]
    for less, more in pairwise(found):
        if less.size >= SETTLED:
            made += _growth(less, more)
    return made


def _of(figures: Figures) -> list[Row]:
    many, stepping = f"{figures.size:,} deployments", f"{figures.stepping:,} of {figures.size:,} roll something out"
    a_step = (figures.busy_statements - figures.rest_statements) / figures.stepping
    return [
        Row(name=f"a tick at rest, {many}", value=round(figures.rest_s, 4), unit="s"),
        Row(name=f"SQL statements of a tick at rest, {many}", value=figures.rest_statements, unit="", goal="= 1"),
        Row(name=f"the slowest tick while {stepping}", value=round(figures.busy_s, 4), unit="s"),
        Row(name=f"SQL statements of one step while {stepping}", value=round(a_step, 2), unit="", goal="<= 5"),
        Row(name=f"memory of the control plane, {many}", value=round(figures.memory_mb), unit="MB"),
    ]


def _growth(less: Figures, more: Figures) -> list[Row]:
    between, times = f"{more.size:,} / {less.size:,} deployments", more.size / less.size
    ratios = {"tick at rest": more.rest_s / less.rest_s, "busy tick": more.busy_s / less.busy_s}
    goal = f"<= {LINEAR:g}"
    return [
        Row(name=f"time of a {what} per deployment, {between}", value=round(ratio / times, 2), unit="x", goal=goal)
        for what, ratio in ratios.items()
    ]
