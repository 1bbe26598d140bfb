"""make bench-demo: what the demo's steps cost, what the front door costs, how fast a rollback is.

Runs the whole demo, then measures on the system that it leaves up, and stops it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import yaml

from benchmarks.load import Measured, measure
from benchmarks.rows import Row, publish
from demo.__main__ import HOME, ROOT, declare, noren, prepare_home, status

BODY: dict[str, object] = {"text": "The crust was perfect and the tomatoes tasted of summer."}
ROUNDS = 3  # direct and through the front door in turn, so that a slow minute hits both


def main() -> int:
    """Measure and publish. The exit code is the demo's when it fails."""
    os.environ.pop("STOP", None)
    if code := subprocess.call([sys.executable, "-m", "demo"], cwd=ROOT):
        return code
    prepare_home()
    rows = [*_steps(json.loads((HOME / "demo.json").read_text())), *_front_door(), *_memory(), *_rollbacks()]
    noren("down")
    publish("demo", rows, command="make bench-demo")
    return 0


def _steps(demo: Mapping[str, Any]) -> list[Row]:
    rows = [Row(name=f"{i}. {s['name']}", value=s["seconds"], unit="s") for i, s in enumerate(demo["steps"], 1)]
    requests = demo["requests"]
    promoted, gate_s = _promoted()
    return [
        *rows,
        Row(name="whole demo", value=demo["seconds"], unit="s", goal="<= 240"),
        Row(name="requests of guests answered", value=requests["answered"], unit="requests", goal=">= 500"),
        Row(name="requests of guests failed", value=requests["failed"], unit="requests", goal="= 0"),
        Row(name="p50 of guests' requests during the demo", value=requests["p50_ms"], unit="ms"),
        Row(name="p99 of guests' requests during the demo", value=requests["p99_ms"], unit="ms"),
        Row(name="apply to all traffic on green", value=promoted, unit="s"),
        Row(name="... of it the gate", value=gate_s, unit="s"),
    ]


def _promoted() -> tuple[float, float]:
    """Seconds from `apply` to all traffic, and of the gate, in the demo's successful blue-green rollout."""
    client = httpx.Client(base_url=f"{status()['api']}/noren/v1/deployments/sentiment", trust_env=False)
    live = status()["sentiment"]["live"]["name"]
    times = {e["message"]: _seconds(e["at"]) for e in client.get("/events").json()}
    began = next(at for message, at in times.items() if message.startswith(f"{live}: sentiment"))
    switched = times[f"traffic: {live} 100 %"]
    verdict = next(v for v in client.get("/verdicts").json() if v["revision"] == live)
    return round(switched - began, 1), round(_seconds(verdict["ended_at"]) - _seconds(verdict["started_at"]), 1)


def _front_door() -> list[Row]:
    found = status()
    replica = next(r for r in found["sentiment"]["replicas"] if r["state"] == "ready")
    urls = {"direct": f"http://{replica['address']}/predict", "front door": f"{found['front_door']}/sentiment/predict"}
    rows = []
    for connections in (1, 16):
        runs: dict[str, list[Measured]] = {where: [] for where in urls}
        for _ in range(ROUNDS):
            for where, url in urls.items():
                runs[where].append(measure(url, BODY, connections=connections, seconds=4))
        for where, measured in runs.items():
            suffix = f"{where}, {connections} connections"
            rows += [
                Row(name=f"requests/s {suffix}", value=round(median(m.per_second for m in measured)), unit="1/s"),
                Row(name=f"p99 {suffix}", value=round(median(m.quantile_ms(0.99) for m in measured), 1), unit="ms"),
            ]
            rows += [Row(name=f"failed {suffix}", value=sum(m.failed for m in measured), unit="requests", goal="= 0")]
        pairs = zip(runs["front door"], runs["direct"], strict=True)
        ratio = median(through.per_second / direct.per_second for through, direct in pairs)
        goal = ">= 0.8" if connections == 16 else ""
        rows.append(
            Row(name=f"front door / direct, {connections} connections", value=round(ratio, 2), unit="x", goal=goal)
        )
    return rows


def _memory() -> list[Row]:
    """Resident memory of each kind of process, its children included."""
    totals: dict[str, float] = {}
    for process in psutil.process_iter():
        try:
            env = process.environ()
            if env.get("NOREN_OF") == str(HOME.resolve()):
                kind = env.get("NOREN_KIND", "?")
                totals[kind] = totals.get(kind, 0) + process.memory_info().rss / 1e6
        except psutil.Error:
            continue
    names = {"server": "control plane", "envoy": "front door", "replica": "one replica of sentiment"}
    return [Row(name=f"memory of {names.get(k, k)}", value=round(v), unit="MB") for k, v in sorted(totals.items())]


def _rollbacks() -> list[Row]:
    """Roll out a revision that differs in its environment only, and go back while blue is warm; then cold."""
    found = status()["sentiment"]
    path = ROOT / declare(found["live"]["bento"])
    _change_environment(path, bake="60s")
    noren("apply", str(path))
    _wait_for_state("baking")
    warm = _time_to_answer_from(found["live"]["name"], "rollback", "sentiment")
    _wait_for_state("undone")
    _change_environment(path, bake="1s")
    noren("apply", str(path), "--wait")
    cold = _time_to_answer_from(found["live"]["name"], "rollback", "sentiment")
    return [
        Row(name="rollback while blue is warm, command to first answer", value=warm[0], unit="s"),
        Row(name="... of it after the command line had started", value=warm[1], unit="s"),
        Row(name="rollback after blue was stopped, command to first answer", value=cold[0], unit="s"),
    ]


def _change_environment(path: Path, *, bake: str) -> None:
    document = yaml.safe_load(path.read_text())
    document["env"] = {"BENCH": str(time.time_ns())}
    document["strategy"] |= {"step_wait": "500ms", "step_requests": 0, "bake": bake}
    path.write_text(yaml.safe_dump(document))


def _wait_for_state(wanted: str) -> None:
    while status()["sentiment"]["rollout"]["state"] != wanted:
        time.sleep(0.2)


def _time_to_answer_from(revision: str, *command: str) -> tuple[float, float]:
    """Seconds from typing the command, and from the control plane's taking it, to the first answer of `revision`."""
    found = status()
    url, events = f"{found['front_door']}/sentiment/predict", f"{found['api']}/noren/v1/deployments/sentiment/events"
    with httpx.Client(trust_env=False, timeout=10.0) as client:
        known = client.get(events).json()[-1]["id"]
        began = time.time()
        typed = threading.Thread(target=noren, args=command)
        typed.start()
        while client.post(url, json=BODY).headers["x-noren-revision"] != revision:
            time.sleep(0.002)
        answered = time.time()
        typed.join()
        taken = _seconds(client.get(events, params={"after": known}).json()[0]["at"])
    return round(answered - began, 3), round(answered - taken, 3)


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


if __name__ == "__main__":
    sys.exit(main())
