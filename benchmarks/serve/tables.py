"""The measured tables of docs/serving.md, and the same figures as rows."""

from collections.abc import Iterator, Sequence

from benchmarks.page import DOCS, figures
from benchmarks.rows import Row
from benchmarks.serve.figures import Entry, Figures, Results
from benchmarks.serve.scenarios import SCENARIOS, Scenario

PAGE = DOCS / "serving.md"


def markdown(results: Results, goals: Sequence[Row]) -> str:
    """One table for each model, and one of the goals."""
    parts = [_table(scenario, results) for scenario in SCENARIOS if any(m == scenario.model for m, _ in results)]
    return "\n\n".join([*parts, figures(goals)])


def rows(results: Results) -> list[Row]:
    """Every figure of the tables."""
    return [row for (model, name), entry in results.items() for row in _rows(f"{model}, {name}", entry)]


def _table(scenario: Scenario, results: Results) -> str:
    head = f"**{scenario.title}, {scenario.connections} connections**"
    columns = "| | req/s | CPU us | p50 / p95 / p99 ms | 1 connection: req/s | MB | s |"
    found = [
        (c.name, results[scenario.model, c.name]) for c in scenario.contenders if (scenario.model, c.name) in results
    ]
    found.sort(key=lambda pair: -_per_second(pair[1], scenario.connections))
    lines = [_line(name, entry, scenario.connections) for name, entry in found]
    return "\n".join([head, "", columns, "|---|---|---|---|---|---|---|", *lines])


def _per_second(entry: Entry, connections: int) -> float:
    figures = entry.loads.get(connections)
    return figures.per_second if figures else 0.0


def _line(name: str, entry: Entry, connections: int) -> str:
    label = f"**{name}**" if name.startswith("noren") else name
    if entry.reason:
        return f"| {label} | not measured: {entry.reason.replace('|', '/')} | | | | | |"
    many, one = entry.loads[connections], entry.loads.get(1)
    latencies = " / ".join(f"{ms:.2g}" if ms < 10 else f"{ms:.0f}" for ms in many.latencies_ms)
    failed = f" ({many.failed} failed)" if many.failed else ""
    alone = f"{one.per_second:,.0f}" if one else ""
    weight = f"{entry.memory_mb:.0f} | {entry.first_answer_s:.1f}"
    return f"| {label} | {many.per_second:,.0f}{failed} | {many.cpu_us:,.0f} | {latencies} | {alone} | {weight} |"


def _rows(what: str, entry: Entry) -> Iterator[Row]:
    if entry.reason:
        yield Row(name=f"{what}: not measured: {entry.reason}", value=0, unit="1/s")
        return
    for connections, load in entry.loads.items():
        yield from _load_rows(f"{what}, {connections} connections", load)
    yield Row(name=f"{what}: memory", value=round(entry.memory_mb), unit="MB")
    yield Row(name=f"{what}: start to first answer", value=round(entry.first_answer_s, 2), unit="s")


def _load_rows(what: str, figures: Figures) -> Iterator[Row]:
    yield Row(name=f"{what}: requests/s", value=round(figures.per_second), unit="1/s")
    yield Row(name=f"{what}: CPU of a request", value=round(figures.cpu_us), unit="us")
    for name, ms in zip(("p50", "p95", "p99"), figures.latencies_ms, strict=True):
        yield Row(name=f"{what}: {name}", value=round(ms, 2), unit="ms")
    if figures.failed:
        yield Row(name=f"{what}: failed", value=figures.failed, unit="requests")
