"""What the scenes say: as rows with goals, and as the table of docs/reliability.md."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.chaos.outcome import Figure, Outcome
from benchmarks.chaos.scenes import Scene
from benchmarks.rows import Row, machine, today
from benchmarks.serve.environments import ROOT

PAGE = ROOT / "docs" / "reliability.md"
SECTION = "bench-chaos"


def rows(scene: Scene, outcome: Outcome) -> Iterator[Row]:
    """Every figure of a scene. What was cut with a replica is shown, and has no goal."""
    yield Row(name=f"{scene.title}: times", value=outcome.times, unit="times")
    yield Row(name=f"{scene.title}: requests", value=outcome.requests, unit="requests")
    yield Row(name=f"{scene.title}: failed", value=outcome.failed, unit="requests", goal="= 0")
    yield Row(name=f"{scene.title}: lost with a replica", value=outcome.cut, unit="requests")
    for name, figure in outcome.figures.items():
        yield Row(name=f"{scene.title}: {name}", value=figure.value, unit=figure.unit, goal=figure.goal)


def total(outcomes: Mapping[str, Outcome]) -> Row:
    """All requests together."""
    return Row(
        name="requests in all", value=sum(o.requests for o in outcomes.values()), unit="requests", goal=">= 100000"
    )


def markdown(played: Sequence[tuple[Scene, Outcome]]) -> str:
    """The table. `lost`: they were with a replica when it died or hung, and must not be asked twice."""
    head = "| event | times | requests | failed | lost | besides |"
    lines = [_line(scene, outcome) for scene, outcome in played]
    asked, failed = (sum(getattr(o, what) for _, o in played) for what in ("requests", "failed"))
    when = f"Measured by `python -m benchmarks.chaos` on {machine()}; {today()}."
    last = f"| together | | {asked:,} | {failed} | | |"
    return "\n".join([when, "", head, "|---|---:|---:|---:|---:|---|", *lines, last])


def _line(scene: Scene, outcome: Outcome) -> str:
    failed = str(outcome.failed) if not outcome.failed else f"**{outcome.failed}**"
    besides = "; ".join(_words(name, figure) for name, figure in outcome.figures.items())
    return f"| {scene.title} | {outcome.times} | {outcome.requests:,} | {failed} | {outcome.cut} | {besides} |"


def _words(name: str, figure: Figure) -> str:
    row = Row(name=name, value=figure.value, unit=figure.unit, goal=figure.goal)
    goal = f" (goal {figure.goal.replace('<=', 'at most')})" if figure.goal and not row.holds else ""
    return f"{name} {figure.value:g} {figure.unit}{goal}"
