"""What many runs come to: the median of the rounds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.serve.run import Run, Window

Quantiles = tuple[float, float, float]  # p50, p95, p99 in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A server under one load. `rounds` are the requests/s of each round; sums are over the rounds."""

    rounds: tuple[float, ...]
    cpu_us: float
    latencies_ms: Quantiles
    failed: int = 0
    wrong: int = 0
    others: float = 0.0  # the largest share of a core that other processes took meanwhile

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return median(self.rounds)

    @property
    def spread(self) -> float:
        """p99 / p50."""
        return self.latencies_ms[2] / self.latencies_ms[0] if self.latencies_ms[0] else 0.0

    def times(self, other: "Figures") -> float:
        """How many times the requests/s of `other`: the median over pairs of the same round, minutes apart at most."""
        pairs = zip(self.rounds, other.rounds, strict=False)
        return median(mine / theirs if theirs else 0.0 for mine, theirs in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A server with one model. `reason` tells why there are no figures."""

    first_answer_s: float = 0.0
    memory_mb: float = 0.0
    loads: Mapping[int, Figures] = field(default_factory=dict)
    reason: str = ""


Results = Mapping[tuple[str, str], Entry]  # by (model, name of the contender)


def entry(runs: Sequence[Run], *, reason: str = "") -> Entry:
    """The medians of a server's rounds. A reason counts only where no round succeeded."""
    if not runs:
        return Entry(reason=reason)
    return Entry(
        first_answer_s=median(run.first_answer_s for run in runs),
        memory_mb=median(run.memory_mb for run in runs),
        loads={w.connections: _figures([run.windows[i] for run in runs]) for i, w in enumerate(runs[0].windows)},
    )


def _figures(windows: Sequence[Window]) -> Figures:
    def middle(q: float) -> float:
        return median(window.answers.quantile_ms(q) for window in windows)

    return Figures(
        rounds=tuple(window.answers.per_second for window in windows),
        cpu_us=median(window.cpu_us for window in windows),
        latencies_ms=(middle(0.5), middle(0.95), middle(0.99)),
        failed=sum(window.answers.failed for window in windows),
        wrong=sum(window.wrong for window in windows),
        others=max(window.neighbours.share for window in windows),
    )


def every(results: Results) -> Iterable[Figures]:
    """All figures."""
    return (figures for entry in results.values() for figures in entry.loads.values())
