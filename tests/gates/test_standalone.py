"""`noren gate` as a CI uses it: real services, good and bad days, exit codes."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noren.gates.duet import read_measured

pytestmark = pytest.mark.e2e

NOREN = str(Path(sys.executable).with_name("noren"))
USER = """
from locust import FastHttpUser, task

class Guest(FastHttpUser):
    @task
    def brew(self):
        self.client.post("/brew", json={"leaves": 3})
"""


class Ci:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "user.py").write_text(USER)

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [NOREN, "gate", *arguments],
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def gate(self, *arguments: str) -> tuple[int, str]:
        command = self.begin(*arguments)
        out, err = command.communicate(timeout=180)
        assert "Traceback" not in out + err, out + err
        return command.returncode, out + err

    def judge(self, candidate: str, *arguments: str, seconds: float = 6, warmup: str = "500ms") -> tuple[int, str]:
        """With a limit that 300 answers without an error keep, and margins that a machine with more to do keeps."""
        margins = "{p50: 0.6, p95: 1, p99: 2, errors: 0.05}"
        (self.folder / "slo.yaml").write_text(
            f"slo: {{error_rate: 0.05}}\nload: {{warmup: {warmup}, margins: {margins}}}\n"
        )
        given = ["--candidate", candidate, "-f", "user.py", "--slo", "slo.yaml", "--duration", f"{seconds}s"]
        return self.gate(*given, *arguments)


def slowly(seconds: Callable[[Any], float]) -> Callable[[Any], tuple[int, bytes]]:
    def answer(request: Any) -> tuple[int, bytes]:
        time.sleep(seconds(request))
        return 200, b"{}"

    return answer


@pytest.fixture
def ci(tmp_path: Path) -> Ci:
    return Ci(tmp_path)


@pytest.mark.quiet
def test_a_candidate_like_the_baseline_passes_and_leaves_its_evidence(ci: Ci, service: Any) -> None:
    service.answer = slowly(lambda _: 0.02)

    kept = ["--evidence", "evidence", "--junit", "gate.xml", "--markdown", "gate.md", "--html", "gate.html"]
    code, said = ci.judge(service.url, "--baseline", service.url, *kept, seconds=30, warmup="3s")

    assert code == 0, said
    assert "PASS" in said
    assert "<testsuite" in (ci.folder / "gate.xml").read_text()
    assert (ci.folder / "gate.md").read_text().startswith("### ✅ PASS")
    assert "<svg" in (ci.folder / "gate.html").read_text()
    assert (ci.folder / "gate.html").read_text() == (ci.folder / "evidence/report.html").read_text()
    stored = json.loads((ci.folder / "evidence/verdict.json").read_text())
    code, said = ci.gate("replay", "evidence", "--json")
    again = json.loads(said)
    assert code == 0
    assert [c["figures"] for c in again["checks"]] == [c["figures"] for c in stored["checks"]]
    assert again["reason"] == stored["reason"]


@pytest.mark.quiet
def test_a_slower_candidate_fails(ci: Ci, service: Any) -> None:
    service.answer = slowly(lambda request: 0.09 if request.path.startswith("/worse") else 0.02)

    code, said = ci.judge(f"{service.url}/worse", "--baseline", service.url, seconds=24, warmup="3s")

    assert code == 1, said
    assert "x blue's" in said


def test_a_candidate_that_answers_nobody_fails_at_once(ci: Ci, service: Any) -> None:
    """Whether it says so, or whose fault it says it is, or nothing at all."""
    statuses = itertools.cycle([404, 500, 0])
    service.answer = lambda _: (next(statuses), b"{}")
    began = time.monotonic()

    code, said = ci.judge(service.url, "--evidence", "evidence", seconds=600)

    assert code == 1, said
    assert re.search(r"all \d+ requests of POST /brew failed", said)
    assert time.monotonic() - began < 120  # of 600
    measured = read_measured(ci.folder / "evidence")
    assert measured is not None
    kinds = ("404", "500", "RemoteDisconnected|ConnectionReset|closed")
    assert [any(re.search(kind, told) for told in measured.arms["green"].failures) for kind in kinds] == [True] * 3


def test_a_baseline_that_is_not_there_is_nobody_to_compare_with(ci: Ci, service: Any) -> None:
    given = ["--baseline", "http://127.0.0.1:1", "--evidence", "evidence", "--json"]
    code, said = ci.judge(service.url, *given, seconds=2)

    assert code == 3, said
    reason = json.loads(said)["reason"]  # beside other tests, that the machine is busy may be said before
    assert "blue itself is over the limit" in reason or "busy" in reason
    measured = read_measured(ci.folder / "evidence")
    assert measured is not None
    of_blue = measured.arms["blue"]
    assert of_blue.errors == of_blue.requests > 50
    assert measured.arms["green"].errors == 0


def test_a_locustfile_that_cannot_be_used_judges_nobody(ci: Ci, service: Any) -> None:
    (ci.folder / "user.py").write_text("import locust\nx = 1 / 0\n")
    code, said = ci.judge(service.url)
    assert code == 3, said
    assert "line 2: ZeroDivisionError" in said


def test_ctrl_c_keeps_what_was_measured(ci: Ci, service: Any) -> None:
    (ci.folder / "slo.yaml").write_text("load: {warmup: 500ms, rate: 50}\n")
    kept = ["--evidence", "evidence", "--json"]
    command = ci.begin("--candidate", service.url, "-f", "user.py", "--slo", "slo.yaml", "--duration", "5m", *kept)
    while len(service.requests) < 150:  # some of them after the warm-up, which is repeated three times at most
        assert command.poll() is None
        time.sleep(0.05)

    os.killpg(command.pid, signal.SIGINT)
    out, err = command.communicate(timeout=60)

    assert command.returncode == 3, out + err
    assert "Traceback" not in err
    assert json.loads(out)["reason"] == "interrupted; what was measured by then is kept"
    assert (ci.folder / "evidence/green.rows").stat().st_size > 0
    after = len(service.requests)
    time.sleep(1)
    assert len(service.requests) == after  # nobody goes on sending
