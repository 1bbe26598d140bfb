"""The wheels, alone in an empty environment, roll out a BentoML project that is not ours."""

import os
import subprocess
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from noren.cli.gate import EXIT_CODES
from noren.domain.verdict import Outcome
from noren.gates.duet import read_measured
from noren.machine import Machine, free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SERVICE = """
import bentoml

@bentoml.service
class Summarizer:
    @bentoml.api
    def summarize(self, text: str, words: int = 5) -> str:
        return " ".join(text.split()[:words])
"""
DEPLOYMENT = """
name: summarizer
bento: summarizer:latest
gates: {load: false}
strategy: {step_wait: 1s, step_requests: 0, bake: 1s}
"""
USER = """
from locust import FastHttpUser, task

class Guest(FastHttpUser):
    @task
    def ask(self):
        self.client.post("/summarize", json={"text": "to be or not to be"})
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Those of the control plane and of the server."""
    folder = tmp_path_factory.mktemp("dist")
    argv = [find_uv_bin(), "build", "--quiet", "--all-packages", "--wheel", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(argv, check=True)
    return [str(path) for path in folder.glob("*.whl")]


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def run(request: pytest.FixtureRequest, wheels: list[str], tmp_path: Path) -> Iterator[Run]:
    """Run a command in an empty home, in an environment of this Python with nothing but the wheels in it."""
    version = request.param
    found = subprocess.run(
        [find_uv_bin(), "python", "find", "--no-project", version], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"this machine has no Python {version}")
    venv, home, project = tmp_path / "venv", tmp_path / "home", tmp_path / "project"
    for command in (["venv", str(venv), "--python", found.stdout.strip()], ["pip", "install", *wheels]):
        subprocess.run([find_uv_bin(), *command, "--quiet"], check=True, env=os.environ | {"VIRTUAL_ENV": str(venv)})
    home.mkdir()
    project.mkdir()
    ports = {name: str(free_port()) for name in ("NOREN_PORT", "NOREN_FRONT_DOOR_PORT", "NOREN_ADMIN_PORT")}
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("NOREN_", "BENTOML_", "VIRTUAL_ENV", "PYTHON"))}
    env = outside | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "HOME": str(home)} | ports

    front_door = "http://127.0.0.1:" + ports["NOREN_FRONT_DOOR_PORT"]

    def run(*words: str, expect: Collection[int] = (0,)) -> str:
        argv = [word.replace("<front door>", front_door) for word in words]
        done = subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode in expect, done.stdout + done.stderr
        return done.stdout.replace(front_door, "<front door>")

    yield run
    run("noren", "down")
    assert Machine(home / ".noren").processes() == []


def test_an_unknown_project_is_built_rolled_out_and_stopped(run: Run, tmp_path: Path) -> None:
    (tmp_path / "project" / "service.py").write_text(SERVICE)
    (tmp_path / "project" / "summarizer.yaml").write_text(DEPLOYMENT)

    run("noren", "up")
    assert "built summarizer:" in run("noren", "build", ".")
    assert "summarizer-1 done" in run("noren", "apply", "summarizer.yaml", "--wait")
    assert "PASS" in run("noren", "verdict")
    assert "<front door>/summarizer" in run("noren", "status")

    # What it comes to is said elsewhere: beside other tests nothing may pass. Here, that all its libraries are there.
    (tmp_path / "project" / "user.py").write_text(USER)
    given = ["--candidate", "<front door>/summarizer", "-f", "user.py", "--duration", "2s", "--evidence", "evidence"]
    run("noren", "gate", *given, expect=[EXIT_CODES[outcome] for outcome in Outcome if outcome is not Outcome.FAIL])
    evidence = tmp_path / "project" / "evidence"
    measured = read_measured(evidence)
    assert measured is not None
    assert measured.endpoints == ("POST /summarize",)
    assert measured.arms["green"].requests > 50
    assert measured.arms["green"].errors == 0
    assert "<svg" in (evidence / "report.html").read_text()
