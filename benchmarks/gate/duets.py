"""One run of a scenario: blue and green served, judged by the gate and by its rivals."""

import tempfile
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate import rivals
from benchmarks.gate.ledger import Run
from benchmarks.gate.scenarios import QUICK, Injection, Latencies, Scenario
from benchmarks.gate.serving import Placement, forest, serving
from benchmarks.gate.stalls import read_record, truth
from benchmarks.gate.work import trees
from noren.domain.deployment import LoadGate, Slo
from noren.domain.verdict import Verdict
from noren.gates import standalone
from noren.gates.duet import last_look, look_file, read_measured, read_plan
from noren.gates.judgement import look
from noren.gates.launches import UNCLEAR_SIGMA

PILOT_S = QUICK.duration.total_seconds()


def run(scenario: Scenario, number: int, where: Placement) -> Run:
    """Measure once. `number`: which run of the scenario it is, from 0."""
    blue, green = _injections(scenario, number, where)
    with tempfile.TemporaryDirectory(prefix="noren-gate-") as folder:
        found = _run(scenario, number, Path(folder), (blue, green), where)
    print(f"{scenario.name}: {found['outcome']} after {found['seconds']:.0f} s: {found['reason']}", flush=True)
    served = {"injection": asdict(green), "blue_injection": asdict(blue), "trees": trees()}
    return {"scenario": scenario.name, **found, **served}


def judged(question: standalone.Question, folder: Path) -> Verdict:
    """What the gate says. Raises KeyboardInterrupt: the gate makes a verdict of Ctrl-C, and that is no run to keep."""
    verdict = standalone.run(question, folder, lambda _: None)
    if any(check.detail.startswith("interrupted") for check in verdict.checks):
        raise KeyboardInterrupt
    return verdict


def _run(
    scenario: Scenario, number: int, folder: Path, injections: tuple[Injection, Injection], where: Placement
) -> Run:
    records = [folder / f"{name}.record" if scenario.recorded else None for name in ("blue", "green")]
    services = [forest(injection, record) for injection, record in zip(injections, records, strict=True)]
    # In turn: whoever is started second is a little quicker on a core that both share.
    first, second = services[:: -1 if number % 2 else 1]
    with serving(first, where) as one, serving(second, where) as other:
        blue, green = (other, one) if number % 2 else (one, other)
        verdict = judged(_question(blue, green, scenario.gate), folder)
        # After the gate's own time, when nothing else asks: the same services, with the same injection.
        sequential = rivals.one_after_the_other(blue, green) if number < scenario.sequential else None
    return {
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "seconds": (verdict.ended_at - verdict.started_at).total_seconds(),
        "figures": {check.name: dict(check.figures) for check in verdict.checks},
        **_by_rivals(folder),
        **(_truths(folder, verdict) if scenario.recorded else {}),
        **({} if sequential is None else {"sequential": sequential}),
    }


def _question(blue: str, green: str, gate: LoadGate) -> standalone.Question:
    return standalone.Question(candidate=green, baseline=blue, locustfile=rivals.USER, gate=gate, slo=Slo())


def _injections(scenario: Scenario, number: int, where: Placement) -> tuple[Injection, Injection]:
    if scenario.both:
        return scenario.both(number)
    made = scenario.injection
    injection = made if isinstance(made, Injection) else made(partial(_pilot, where))
    return Injection(), replace(injection, seed=number + 1)  # each run has chances of its own


def _pilot(where: Placement, injection: Injection) -> Latencies:
    """Blue, and a green with this injection, under the load of a quick gate."""
    with (
        tempfile.TemporaryDirectory(prefix="noren-gate-") as folder,
        serving(forest(Injection()), where) as blue,
        serving(forest(injection), where) as green,
    ):
        gate = replace(QUICK, launch_sigma=UNCLEAR_SIGMA)  # to its end
        verdict = judged(_question(blue, green, gate), Path(folder))
        measured = read_measured(Path(folder))
    if measured is None:
        raise SystemExit(f"the generator did not begin: {verdict.reason}")
    known = {name: arm.until(PILOT_S).known["latency_ms"] for name, arm in measured.arms.items()}
    return np.asarray(known["blue"]), np.asarray(known["green"])


def _by_rivals(folder: Path) -> dict[str, Any]:
    """What others would say of what the gate saw last."""
    number = last_look(folder)
    measured = read_measured(folder, look_file(number)) if number else None
    if not measured or not measured.arms:
        return {}
    until_s = max(measured.elapsed_s, 1.0)
    return {"ratio": rivals.ratio_of_p99(measured, until_s), "mann_whitney": rivals.mann_whitney(measured, until_s)}


def _truths(folder: Path, verdict: Verdict) -> dict[str, Any]:
    """The p99 of each arm as the gate reports it and as the services know it. Nothing when the gate reports none."""
    reported = next((check.figures for check in verdict.checks if check.name == "p99"), None)
    number, measured = last_look(folder), read_measured(folder)
    if not reported or not number or not measured:
        return {}
    seen = read_measured(folder, look_file(number))
    assert seen is not None
    until_s = look(read_plan(folder).duration_s, number, ended=seen.ended).until_s
    arms = {
        name: truth(read_record(folder / f"{name}.record"), arm.rows, until_s) for name, arm in measured.arms.items()
    }
    return {
        "arms": {name: {"reported_p99_ms": reported[f"{name}_ms"], **asdict(known)} for name, known in arms.items()}
    }
