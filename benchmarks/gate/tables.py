"""What the runs say: as rows with goals, and as the tables of docs/gate.md. Only of what has all of its runs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from benchmarks.gate import ramp
from benchmarks.gate.ledger import Run
from benchmarks.gate.scenarios import Experiment, Ramp, Scenario
from benchmarks.page import figures
from benchmarks.rows import Row, machine
from benchmarks.serve.environments import ROOT

PAGE = ROOT / "docs" / "gate.md"
SECTION = "bench-gate"
OUTCOMES = ("PASS", "FAIL", "HOLD", "INVALID")
RIVALS = {
    "ratio": "p99 more than 10 % slower",
    "mann_whitney": "Mann-Whitney as Kayenta does",
    "sequential": "Locust's p99, one after the other, more than 10 %",
}
_CLOSE = 0.05  # how far the reported p99 of a service that stands still may lie from the truth
_UNBIASED = 0.1  # 300 arrivals are due in the stalls of a run: by chance alone it is 1 within 0.06

Runs = Sequence[tuple[Experiment, Sequence[Run]]]


def rows(experiment: Experiment, runs: Sequence[Run]) -> list[Row]:
    """Every figure of an experiment; none without a run."""
    if not runs:
        return []
    if isinstance(experiment, Ramp):
        return list(_ramp_rows(experiment, runs))
    return [*_outcome_rows(experiment, runs), *_stall_rows(experiment, runs), *_rival_rows(experiment, runs)]


def markdown(complete: Runs) -> str:
    """The tables of docs/gate.md."""
    parts = [_outcomes(complete), _others(complete)]
    when = f"Measured by `make bench-gate` on {machine()}; {datetime.now(UTC).date().isoformat()}."
    return "\n\n".join([when, *(part for part in parts if part)])


# Rows


def _outcome_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    counts = Counter(run["outcome"] for run in runs)
    yield Row(name=f"{_title(scenario)}: runs", value=len(runs), unit="runs")
    for outcome in OUTCOMES:
        goal = _goal(scenario, outcome, len(runs))
        yield Row(name=f"{_title(scenario)}: {outcome}", value=counts[outcome], unit="runs", goal=goal)
    yield Row(name=f"{_title(scenario)}: time to the verdict, median", value=round(_median_s(runs)), unit="s")


def _goal(scenario: Scenario, outcome: str, runs: int) -> str:
    if outcome in scenario.at_least:
        return f">= {scenario.at_least[outcome] * runs:g}"
    return f"<= {scenario.at_most[outcome]}" if outcome in scenario.at_most else ""


def _rival_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    for rival, name in RIVALS.items():
        if asked := _asked(rival, runs):
            of = "" if len(asked) == len(runs) else f", of {len(asked)} runs"
            yield Row(name=f"{_title(scenario)}: would fail by {name}{of}", value=sum(asked), unit="runs")


def _asked(rival: str, runs: Sequence[Run]) -> list[bool]:
    """What the rival said, wherever it was asked."""
    return [run[rival] for run in runs if rival in run]


def _stall_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    arms = [arm for run in runs for arm in run.get("arms", {}).values()]
    if not arms:
        return
    ratios = [arm["reported_p99_ms"] / arm["p99_ms"] for arm in arms]
    due = [arm["due_in_stalls"] for arm in arms]
    name = f"{_title(scenario)}: reported p99 / true p99"
    yield Row(name=f"{name}, lowest of {len(arms)}", value=round(min(ratios), 3), unit="x", goal=f">= {1 - _CLOSE}")
    yield Row(name=f"{name}, highest of {len(arms)}", value=round(max(ratios), 3), unit="x", goal=f"<= {1 + _CLOSE}")
    name = f"{_title(scenario)}: arrivals due in stalls / expected"
    yield Row(name=name, value=round(float(np.mean(due)), 2), unit="x", goal=f">= {1 - _UNBIASED}")
    fewest = min(arm["stalls"] for arm in arms)
    yield Row(name=f"{_title(scenario)}: stalls in a measurement, fewest", value=fewest, unit="stalls", goal=">= 2")


def _ramp_rows(chosen: Ramp, runs: Sequence[Run]) -> Iterator[Row]:
    each = "to each of two arms" if chosen.arms == 2 else "to one arm"
    name = f"requests/s {each}, one generator core, {chosen.client}"
    yield Row(name=f"{name}, median of {len(runs)}", value=_sustained(runs), unit="1/s")
    refused = sum(ramp.refused(run["steps"]) for run in runs)
    goal = f"= {len(runs)}"
    yield Row(name=f"{name}: the next rate is INVALID because of the generator", value=refused, unit="runs", goal=goal)


def _sustained(runs: Sequence[Run]) -> float:
    return float(np.median([ramp.sustained(run["steps"]) for run in runs]))


def _title(scenario: Scenario) -> str:
    return f"{scenario.name} ({scenario.mode})"


def _median_s(runs: Sequence[Run]) -> float:
    return float(np.median([run["seconds"] for run in runs]))


# Markdown


def _outcomes(complete: Runs) -> str:
    lines = [_outcome_line(chosen, runs) for chosen, runs in complete if isinstance(chosen, Scenario)]
    rivals = "p99 > 1.1x | Kayenta's rule | Locust, in turn"
    head = f"| green is worse by | mode | p50, p99 | runs | {' | '.join(OUTCOMES)} | s | {rivals} | goal | holds |"
    rule = "|---" * (head.count("|") - 1) + "|"
    note = (
        "p50, p99: of green, by those of blue as the gate measured them, median. s: to the verdict, median. The three "
        "columns after it: in how many runs others would refuse green, of those "
        "in which they were asked. Where nothing is worse each of them is a false alarm."
    )
    return "\n".join([head, rule, *lines, "", note]) if lines else ""


def _outcome_line(scenario: Scenario, runs: Sequence[Run]) -> str:
    counts = Counter(run["outcome"] for run in runs)
    found = " | ".join(str(counts[outcome]) for outcome in OUTCOMES)
    said = " | ".join(_failed_of(rival, runs) for rival in RIVALS)
    judged = [row for row in _outcome_rows(scenario, runs) if row.goal]
    goals = ", ".join(f"{row.name.rpartition(': ')[2]} {row.goal}" for row in judged)
    holds = "yes" if all(row.holds for row in judged) else "**no**"
    about = f"{scenario.name} | {scenario.mode} | {_reached(runs)} | {len(runs)}"
    return f"| {about} | {found} | {_median_s(runs):.0f} | {said} | {goals} | {holds} |"


def _reached(runs: Sequence[Run]) -> str:
    """How much slower green was in fact; "" where nothing was compared."""
    measured = [[run["figures"][q]["ratio"] for run in runs if q in run["figures"]] for q in ("p50", "p99")]
    return ", ".join(f"{np.median(ratios):.2f}x" for ratios in measured if ratios)


def _failed_of(rival: str, runs: Sequence[Run]) -> str:
    asked = _asked(rival, runs)
    return f"{sum(asked)} of {len(asked)}" if asked else ""


def _others(complete: Runs) -> str:
    """What is no count of verdicts: how true the reported p99 is, and what the generator can do."""
    found = [row for chosen, runs in complete for row in _measures(chosen, runs)]
    return figures(found) if found else ""


def _measures(chosen: Experiment, runs: Sequence[Run]) -> Iterator[Row]:
    return _ramp_rows(chosen, runs) if isinstance(chosen, Ramp) else _stall_rows(chosen, runs)
