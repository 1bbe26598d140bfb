"""What the runs say: as rows with goals, and the rows as the tables of docs/gate.md."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.gate import ramp
from benchmarks.gate.ledger import Run
from benchmarks.gate.scenarios import SCENARIOS, Experiment, Ramp, Scenario
from benchmarks.page import figures
from benchmarks.rows import Row, machine, today
from benchmarks.serve.environments import ROOT

PAGE = ROOT / "docs" / "gate.md"
SECTION = "bench-gate"
OUTCOMES = ("PASS", "FAIL", "HOLD", "INVALID")
RIVALS = {
    "ratio": "p99 more than 10 % slower",
    "mann_whitney": "Mann-Whitney as Kayenta does",
    "sequential": "Locust's p99, one after the other, more than 10 %",
}
_RUNS, _SECONDS = "runs", "time to the verdict, median"
_REACHED = {quantile: f"{quantile} of green / {quantile} of blue, median" for quantile in ("p50", "p99")}
_TRUTH = ("reported p99 / true p99", "arrivals due in stalls / expected", "stalls in a measurement, fewest")
_CLOSE = 0.05  # how far the reported p99 of a service that stands still may lie from the truth
_UNBIASED = 0.1  # 300 arrivals are due in the stalls of a run: by chance alone it is 1 within 0.06


def rows(experiment: Experiment, runs: Sequence[Run]) -> list[Row]:
    """Every figure of an experiment; none without a run."""
    if not runs:
        return []
    if isinstance(experiment, Ramp):
        return list(_ramp_rows(experiment, runs))
    parts = (_outcome_rows, _reached_rows, _stall_rows, _rival_rows)
    return [row for part in parts for row in part(experiment, runs)]


def of(experiment: Experiment, found: Sequence[Row]) -> list[Row]:
    """Those of the rows that are this experiment's."""
    begins = f"{_begins(experiment)}:", f"{_begins(experiment)},"
    return [row for row in found if row.name.startswith(begins)]


def markdown(found: Sequence[Row]) -> str:
    """The tables of docs/gate.md."""
    days = sorted({row.date or today() for row in found})
    when = f"Measured by `make bench-gate` on {machine()}; {' to '.join(dict.fromkeys((days[0], days[-1])))}."
    parts = [_outcomes(found), _others(found)]
    return "\n\n".join([when, *(part for part in parts if part)])


# Rows


def _begins(experiment: Experiment) -> str:
    if isinstance(experiment, Scenario):
        return f"{experiment.name} ({experiment.mode})"
    each = "to each of two arms" if experiment.arms == 2 else "to one arm"
    return f"requests/s {each}, one generator core, {experiment.client}"


def _outcome_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    counts = Counter(run["outcome"] for run in runs)
    yield Row(name=f"{_begins(scenario)}: {_RUNS}", value=len(runs), unit="runs")
    for outcome in OUTCOMES:
        goal = _goal(scenario, outcome, len(runs))
        yield Row(name=f"{_begins(scenario)}: {outcome}", value=counts[outcome], unit="runs", goal=goal)
    median_s = float(np.median([run["seconds"] for run in runs]))
    yield Row(name=f"{_begins(scenario)}: {_SECONDS}", value=round(median_s), unit="s")


def _goal(scenario: Scenario, outcome: str, runs: int) -> str:
    if outcome in scenario.at_least:
        return f">= {scenario.at_least[outcome] * runs:g}"
    return f"<= {scenario.at_most[outcome]}" if outcome in scenario.at_most else ""


def _reached_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    """How much slower green was in fact; nothing where nothing was compared."""
    for quantile, name in _REACHED.items():
        if ratios := [run["figures"][quantile]["ratio"] for run in runs if quantile in run["figures"]]:
            yield Row(name=f"{_begins(scenario)}: {name}", value=round(float(np.median(ratios)), 2), unit="x")


def _rival_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    """What each rival said, wherever it was asked."""
    for rival, rule in RIVALS.items():
        if asked := [run[rival] for run in runs if rival in run]:
            name = f"{_begins(scenario)}: would fail by {rule}, of {len(asked)} runs"
            yield Row(name=name, value=sum(asked), unit="runs")


def _stall_rows(scenario: Scenario, runs: Sequence[Run]) -> Iterator[Row]:
    arms = [arm for run in runs for arm in run.get("arms", {}).values()]
    if not arms:
        return
    p99, due, fewest = (f"{_begins(scenario)}: {name}" for name in _TRUTH)
    ratios = [arm["reported_p99_ms"] / arm["p99_ms"] for arm in arms]
    yield Row(name=f"{p99}, lowest of {len(arms)}", value=round(min(ratios), 3), unit="x", goal=f">= {1 - _CLOSE}")
    yield Row(name=f"{p99}, highest of {len(arms)}", value=round(max(ratios), 3), unit="x", goal=f"<= {1 + _CLOSE}")
    share = float(np.mean([arm["due_in_stalls"] for arm in arms]))
    yield Row(name=due, value=round(share, 2), unit="x", goal=f">= {1 - _UNBIASED}")
    yield Row(name=fewest, value=min(arm["stalls"] for arm in arms), unit="stalls", goal=">= 2")


def _ramp_rows(chosen: Ramp, runs: Sequence[Run]) -> Iterator[Row]:
    sustained = float(np.median([ramp.sustained(run["steps"]) for run in runs]))
    yield Row(name=f"{_begins(chosen)}, median of {len(runs)}", value=sustained, unit="1/s")
    refused = sum(ramp.refused(run["steps"]) for run in runs)
    name = f"{_begins(chosen)}: the next rate is INVALID because of the generator"
    yield Row(name=name, value=refused, unit="runs", goal=f"= {len(runs)}")


# Markdown


def _outcomes(found: Sequence[Row]) -> str:
    lines = [_outcome_line(scenario, own) for scenario in SCENARIOS if (own := of(scenario, found))]
    rivals = "p99 > 1.1x | Kayenta's rule | Locust, in turn"
    head = f"| green is worse by | mode | p50, p99 | runs | {' | '.join(OUTCOMES)} | s | {rivals} | goal | holds |"
    rule = "|---" * (head.count("|") - 1) + "|"
    note = (
        "p50, p99: of green, by those of blue as the gate measured them, median. s: to the verdict, median. The three "
        "columns after it: in how many runs others would refuse green, of those "
        "in which they were asked. Where nothing is worse each of them is a false alarm."
    )
    return "\n".join([head, rule, *lines, "", note]) if lines else ""


def _outcome_line(scenario: Scenario, own: Sequence[Row]) -> str:
    value = {row.name.removeprefix(f"{_begins(scenario)}: "): row.value for row in own}
    reached = ", ".join(f"{value[name]:.2f}x" for name in _REACHED.values() if name in value)
    counts = " | ".join(f"{value[name]:g}" for name in (_RUNS, *OUTCOMES, _SECONDS))
    said = " | ".join(_said(rule, value) for rule in RIVALS.values())
    judged = [row for row in own if row.goal and row.name.endswith(OUTCOMES)]
    goals = ", ".join(f"{row.name.rpartition(': ')[2]} {row.goal}" for row in judged)
    holds = "yes" if all(row.holds for row in judged) else "**no**"
    return f"| {scenario.name} | {scenario.mode} | {reached} | {counts} | {said} | {goals} | {holds} |"


def _said(rule: str, value: Mapping[str, float]) -> str:
    """In how many runs a rival would refuse green: "1 of 3"; "" where it was not asked."""
    for name in value:
        if of_runs := re.fullmatch(rf"would fail by {re.escape(rule)}, (of \d+) runs", name):
            return f"{value[name]:g} {of_runs[1]}"
    return ""


def _others(found: Sequence[Row]) -> str:
    """What is no count of verdicts: how true the reported p99 is, and what the generator can do."""
    told = [row for row in found if row.name.startswith("requests/s ") or any(part in row.name for part in _TRUTH)]
    return figures(told) if told else ""
