"""The main job of Noren on one machine, on real data, in plain sight: `make demo`.

Every step is a command that you could type; this script types them, keeps traffic flowing, and counts.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table

from demo.traffic import TEXTS, Traffic

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".noren"
SMALL_MODEL = ["--max-features", "1000", "--ngram-max", "1"]  # a first model that leaves room for a better one

console = Console(record=True, highlight=False, width=None if sys.stdout.isatty() else 120)


class BrokenError(Exception):
    """A step did not do what the demo promises."""


@dataclass
class Step:
    """One line of the closing table."""

    name: str
    verdict: str = ""
    seconds: float = 0.0
    detail: str = ""


@dataclass
class Story:
    """What happened so far."""

    steps: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and add it to the table."""
        console.print(f"\n[bold cyan]{len(self.steps) + 1}. {name}[/]")
        step, began = Step(name), time.monotonic()
        yield step
        step.seconds = round(time.monotonic() - began, 1)
        self.steps.append(step)
        console.print(f"   [dim]{step.seconds:.1f} s[/]  {step.verdict}")


def noren(*arguments: str, expect: Sequence[int] = (0,), show: bool = True) -> str:
    """Type a command, show what it says, and return it. Raises BrokenError when it exits as it should not."""
    if show:
        console.print(f"   [bold]$ noren {' '.join(arguments)}[/]", markup=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "noren", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"COLUMNS": str(console.width - 6)},  # room for the indent
        text=True,
    )
    assert process.stdout
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if show:
                console.print(f"     {line.rstrip()}", markup=False)
    finally:
        code = process.wait()
    if code not in expect:
        raise BrokenError(f"`noren {' '.join(arguments)}` ended with exit code {code}:\n{''.join(said[-15:])}")
    return "".join(said)


def status() -> dict[str, Any]:
    """The deployment as `noren status --json` has it."""
    everything = json.loads(noren("status", "--json", show=False))
    found: list[dict[str, Any]] = [d for d in everything["deployments"] if d["name"] == "sentiment"]
    return {**everything, "sentiment": found[0] if found else None}


def train(story: Story, name: str, options: Sequence[str]) -> None:
    """Train a model and save it into the model store."""
    with story.step(name) as step:
        step.detail = noren("train", "sentiment", *options).strip().splitlines()[-1].strip()
        step.verdict = "trained"


def build(story: Story, name: str, what: str) -> str:
    """Build a Bento; return its tag."""
    with story.step(name) as step:
        step.detail = noren("build", what).strip().splitlines()[-1].removeprefix("built ").strip()
        step.verdict = "built"
    return step.detail


def roll_out(story: Story, name: str, bento: str, *, verdict: str, worse: float | None = None) -> None:
    """Apply the deployment with this Bento, wait for its end, and insist on the verdict.

    worse  how much accuracy may be lost; as demo/sentiment.yaml says when it is not given
    """
    with story.step(name) as step:
        noren("apply", declare(bento, worse), "--wait", expect=(0,) if verdict == "PASS" else (1,))
        found = status()["sentiment"]
        judged = found["last_verdict"]
        step.verdict, step.detail = judged["outcome"], judged["reason"]
        if judged["outcome"] != verdict or (verdict == "PASS") != (found["live"]["bento"] == bento):
            raise BrokenError(
                f"expected {verdict} of {bento}, got {judged['outcome']}; live is {found['live']['bento']}"
            )


def declare(bento: str, worse: float | None = None) -> str:
    """Write the demo's deployment file with this exact Bento; return its path from the root."""
    document = yaml.safe_load((ROOT / "demo" / "sentiment.yaml").read_text())
    document["bento"] = bento
    document["server"] = os.environ.get("SERVER") or "noren"
    if worse is not None:
        document["gates"]["quality"]["margin"] = worse
    document["gates"]["load"]["locustfile"] = "../../loadtests/sentiment.py"
    return _write("sentiment.yaml", document)


def faulty_bentofile(fault: str) -> str:
    """A bentofile for the sentiment service with a fault wrapped around it, under a name of its own."""
    document = yaml.safe_load((ROOT / "bentos" / "sentiment" / "bentofile.yaml").read_text())
    document |= {"service": f"demo.faults.{fault}:Sentiment", "name": f"sentiment-{fault}"}
    document["include"] += ["demo/__init__.py", "demo/faults/__init__.py", f"demo/faults/{fault}.py"]
    return _write(f"{fault}.yaml", document)


def _write(name: str, document: dict[str, Any]) -> str:
    path = HOME / "demo" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path.relative_to(ROOT))


def prepare_home() -> None:
    """Keep everything in .noren: the model store too, so that the demo leaves yours alone."""
    HOME.mkdir(exist_ok=True)
    config = HOME / "noren.toml"
    if not config.exists():
        config.write_text('bentoml_home = "bentoml"  # beside this file\n')
    os.environ["NOREN_HOME"] = str(HOME)
    os.environ.pop("BENTOML_HOME", None)  # noren.toml decides


def first_answer(story: Story, url: str) -> None:
    """Ask as a guest would."""
    with story.step("a guest asks through the front door") as step:
        answer = httpx.post(url, json={"text": TEXTS[0]}, timeout=10.0, trust_env=False)
        answer.raise_for_status()
        console.print(
            f"   $ curl {url} -H 'content-type: application/json' -d '{{\"text\": \"{TEXTS[0]}\"}}'", markup=False
        )
        console.print(f"     {answer.text}   x-noren-revision: {answer.headers['x-noren-revision']}", markup=False)
        step.verdict, step.detail = f"{answer.status_code}", answer.text


def play(story: Story) -> Traffic:
    """The whole story, in order."""
    train(story, "train a first, small model on real reviews", SMALL_MODEL)
    first = build(story, "build the Bento", "sentiment")
    with story.step("start the control plane and the front door") as step:
        noren("up")
        step.verdict = "up"
    url = f"{status()['front_door']}/sentiment/predict"
    with contextlib.ExitStack() as until_the_end:
        traffic = Traffic(url)
        again = (status()["sentiment"] or {}).get("live")  # an earlier demo's better model
        if again:
            until_the_end.enter_context(traffic)  # a rollout beside a live version needs guests
        roll_out(story, "deploy it", first, verdict="PASS", worse=1.0 if again else None)
        first_answer(story, url)
        if not again:
            until_the_end.enter_context(traffic)
        train(story, "train a better model", [])
        better = build(story, "build its Bento", "sentiment")
        console.export_text()  # forgets what was recorded: the picture begins with the rollout
        roll_out(story, "roll it out: smoke test, load test, 10 -> 50 -> 100 %", better, verdict="PASS")
        slow = build(story, "build a version that is slow on purpose", faulty_bentofile("slow"))
        roll_out(story, "try to roll it out", slow, verdict="FAIL")
        errors = build(story, "build a version that answers errors on purpose", faulty_bentofile("errors"))
        roll_out(story, "try to roll it out", errors, verdict="FAIL")
    return traffic


def report(story: Story, traffic: Traffic, began: float) -> None:
    """The closing table, and the same as JSON."""
    seconds, found = time.monotonic() - began, status()
    table = Table("step", "verdict", "seconds", "what it found", title="What happened", title_justify="left")
    # Every FAIL that got this far is one that the demo asked for.
    shown = {"PASS": "[green]PASS[/]", "FAIL": "[green]FAIL, as it should[/]"}
    for step in story.steps:
        detail = shorten(step.detail, 110, placeholder=" ...")
        table.add_row(step.name, shown.get(step.verdict, step.verdict), f"{step.seconds:.1f}", detail)
    console.print()
    console.print(table)
    answered, failed = traffic.answered, len(traffic.failures)
    ordered = sorted(traffic.latencies_ms)
    median, p99 = (ordered[int(q * (len(ordered) - 1))] for q in (0.5, 0.99))
    shares = ", ".join(f"{name} {count}" for name, count in sorted(traffic.by_revision.items()))
    console.print(f"requests of guests: [green]{answered} answered[/], {failed} failed  ({shares})")
    console.print(f"their latency: p50 {median:.0f} ms, p99 {p99:.0f} ms    whole demo: {seconds:.0f} s")
    live = found["sentiment"]["live"]
    console.print(f"live: {live['name']} = {live['bento']}")
    console.save_svg(str(HOME / "demo.svg"), title="make demo")
    document = {
        "steps": [asdict(step) for step in story.steps],
        "requests": {
            "answered": answered,
            "failed": failed,
            "failures": traffic.failures[:20],
            "by_revision": dict(traffic.by_revision),
            "p50_ms": round(median, 1),
            "p99_ms": round(p99, 1),
        },
        "seconds": round(seconds, 1),
        "live": live,
    }
    (HOME / "demo.json").write_text(json.dumps(document, indent=2) + "\n")
    if failed:
        raise BrokenError(f"{failed} requests of guests failed, the first with: {traffic.failures[0]}")


def try_next(found: dict[str, Any]) -> None:
    """Where to go from here."""
    predict = f"{found['front_door']}/sentiment/predict"
    console.print("\n[bold]Try next[/]")
    for what, command in (
        ("first", ". .venv/bin/activate"),
        ("what is there now", "noren status"),
        ("every verdict", "noren verdict sentiment --all"),
        ("go back", "noren rollback sentiment"),
        ("ask it", f"curl {predict} -H 'content-type: application/json' -d '{{\"text\": \"...\"}}'"),
        ("the API", f"{found['api']}/docs"),
        ("training runs", "mlflow ui --backend-store-uri sqlite:///.noren/mlflow/mlflow.db"),
        ("stop everything", "noren down"),
    ):
        console.print(f"  {what:16} {command}", soft_wrap=True, markup=False)


def main() -> int:
    """Play the demo; the exit code is 1 when it does not hold what it promises."""
    began, story = time.monotonic(), Story()
    prepare_home()
    try:
        traffic = play(story)
        report(story, traffic, began)
        if os.environ.get("STOP"):
            noren("down")
        else:
            try_next(status())
    except BrokenError as error:
        console.print(f"\n[bold red]the demo failed:[/] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nstopped by you; `make down` stops what is running")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
