"""make bench-gate: how often the gate is right, by real services that are made worse on purpose.

Each run is a row of ~/.cache/noren/bench/gate/runs.jsonl as soon as it ends, so that hours of runs may be interrupted
and go on where they were; --fresh begins anew. What is published are all scenarios with all of their runs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.gate import rivals
from benchmarks.gate.scenarios import SCENARIOS, Base, Injection, Scenario
from benchmarks.rows import Row, publish, show
from benchmarks.serve import training
from benchmarks.serve.scorers import CACHE
from noren.domain.deployment import LoadGate, Margins, Slo
from noren.gates import standalone
from noren.gates.duet import last_look, look_file, read_measured
from noren.machine import free_port

COMMAND = "make bench-gate"
RUNS = CACHE / "gate" / "runs.jsonl"
USER = Path(__file__).with_name("user.py")
QUICK = replace(LoadGate(), slack_ms=0.0)
FULL = replace(QUICK, duration=timedelta(minutes=10), margins=Margins(p50=0.10, p95=0.12, p99=0.15))


def main() -> int:
    """Run what is missing, then publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,...", help="scenarios whose names contain one of these")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so long")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs")
    options = parser.parse_args()
    training.train()
    if options.fresh:
        RUNS.unlink(missing_ok=True)
    words = [word.strip() for word in options.only.split(",") if word.strip()]
    chosen = [s for s in SCENARIOS if not words or any(word in s.name for word in words)]
    ends_at = time.monotonic() + options.minutes * 60
    for scenario in _missing(chosen):
        if time.monotonic() > ends_at:
            break
        _keep(_run(scenario))
    return _report()


def _missing(chosen: list[Scenario]) -> Iterator[Scenario]:
    """Round by round, so that a slow hour of the machine hits all scenarios."""
    while todo := [s for s in chosen if len(_runs(s)) < s.runs]:
        yield from todo


def _run(scenario: Scenario) -> dict[str, Any]:
    injection = scenario.injection if isinstance(scenario.injection, Injection) else scenario.injection(_base())
    gate = FULL if scenario.full else QUICK
    folder = Path(tempfile.mkdtemp(prefix="noren-gate-"))
    with _serving(Injection()) as blue, _serving(injection) as green:
        question = standalone.Question(candidate=green, baseline=blue, locustfile=USER, gate=gate, slo=Slo())
        verdict = standalone.run(question, folder, lambda _: None)
    number = last_look(folder)
    measured = read_measured(folder, look_file(number)) if number else None
    run = {
        "scenario": scenario.name,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "seconds": (verdict.ended_at - verdict.started_at).total_seconds(),
        "injection": asdict(injection),
        "figures": {check.name: dict(check.figures) for check in verdict.checks},
    }
    if measured and measured.arms:
        until_s = max(measured.elapsed_s, 1.0)
        run |= {"ratio": rivals.ratio_of_p99(measured, until_s), "mann_whitney": rivals.mann_whitney(measured, until_s)}
    shutil.rmtree(folder)
    print(f"{scenario.name}: {verdict.outcome} after {run['seconds']:.0f} s: {verdict.reason}", flush=True)
    return run


def _base() -> Base:
    """Latencies of the unchanged service now, from ten seconds of the same load."""
    folder = Path(tempfile.mkdtemp(prefix="noren-gate-"))
    with _serving(Injection()) as blue, _serving(Injection()) as green:
        gate = replace(QUICK, duration=timedelta(seconds=10))
        standalone.run(
            standalone.Question(candidate=green, baseline=blue, locustfile=USER, gate=gate, slo=Slo()),
            folder,
            lambda _: None,
        )
        measured = read_measured(folder)
    shutil.rmtree(folder)
    assert measured is not None
    known = measured.arms["blue"].until(10).known["latency_ms"]
    p33, p50, p99 = (float(np.quantile(known, q)) for q in (0.33, 0.50, 0.99))
    return Base(p33=p33, p50=p50, p99=p99)


@contextmanager
def _serving(injection: Injection) -> Iterator[str]:
    """noren-serve with the service; its URL."""
    port = free_port()
    argv = [str(Path(sys.executable).with_name("noren-serve")), "benchmarks.gate.service:Forest", "--port", str(port)]
    env = {**os.environ, "INJECT": json.dumps(asdict(injection)), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(argv, env=env, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await(f"http://127.0.0.1:{port}/readyz", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _await(url: str, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"the service did not start: noren-serve ended with {server.returncode}")
        try:
            if httpx.get(url, trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise SystemExit(f"{url} did not answer in a minute")


def _keep(run: dict[str, Any]) -> None:
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    with RUNS.open("a") as file:
        file.write(json.dumps(run) + "\n")


def _runs(scenario: Scenario) -> list[dict[str, Any]]:
    lines = RUNS.read_text().splitlines() if RUNS.exists() else []
    return [run for run in map(json.loads, lines) if run["scenario"] == scenario.name]


def _report() -> int:
    rows = [row for scenario in SCENARIOS for row in _rows(scenario, _runs(scenario))]
    whole = all(len(_runs(scenario)) >= scenario.runs for scenario in SCENARIOS)
    if whole:
        publish("gate", rows, command=COMMAND)
    else:
        show("nothing of this is published: not all runs are there", rows)
    return 0


def _rows(scenario: Scenario, runs: list[dict[str, Any]]) -> Iterator[Row]:
    if not runs:
        return
    counts = Counter(run["outcome"] for run in runs)
    mode = "full" if scenario.full else "quick"
    yield Row(name=f"{scenario.name} ({mode}): runs", value=len(runs), unit="runs")
    for outcome in ("PASS", "FAIL", "HOLD", "INVALID"):
        goal = f"<= {scenario.at_most[outcome]}" if outcome in scenario.at_most else ""
        if outcome in scenario.at_least:
            goal = f">= {scenario.at_least[outcome] * len(runs):g}"
        yield Row(name=f"{scenario.name} ({mode}): {outcome}", value=counts[outcome], unit="runs", goal=goal)
    seconds = float(np.median([run["seconds"] for run in runs]))
    yield Row(name=f"{scenario.name} ({mode}): time to the verdict, median", value=round(seconds), unit="s")
    for rival, name in (("ratio", "p99 more than 10 % slower"), ("mann_whitney", "Mann-Whitney as Kayenta does")):
        failed = sum(bool(run.get(rival)) for run in runs)
        yield Row(name=f"{scenario.name} ({mode}): would fail by {name}", value=failed, unit="runs")


if __name__ == "__main__":
    sys.exit(main())
