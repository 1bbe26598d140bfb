"""`noren gate` as a CI uses it: real services, good and bad days, exit codes."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

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

    def judge(self, candidate: str, *arguments: str, seconds: float = 6) -> tuple[int, str]:
        """With a limit that 300 answers without an error keep, and margins that a machine with more to do keeps."""
        margins = "{p50: 0.6, p95: 1, p99: 2, errors: 0.05}"
        (self.folder / "slo.yaml").write_text(f"slo: {{error_rate: 0.05}}\nload: {{margins: {margins}}}\n")
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
    code, said = ci.judge(service.url, "--baseline", service.url, *kept, seconds=30)

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

    code, said = ci.judge(f"{service.url}/worse", "--baseline", service.url, seconds=24)

    assert code == 1, said
    assert "x blue's" in said


@pytest.mark.parametrize("status", [404, 500, 0])
def test_a_candidate_that_answers_nobody_fails_at_once(ci: Ci, service: Any, status: int) -> None:
    service.answer = lambda _: (status, b"{}")
    began = time.monotonic()

    code, said = ci.judge(service.url, seconds=600)

    assert code == 1, said
    assert "requests of POST /brew failed" in said
    assert time.monotonic() - began < 120  # of 600


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nosuchhost.invalid"])
def test_a_candidate_that_is_not_there_fails_at_once(ci: Ci, url: str) -> None:
    code, said = ci.judge(url, seconds=600)
    assert code == 1, said
    assert "failed" in said


def test_a_baseline_that_is_not_there_is_nobody_to_compare_with(ci: Ci, service: Any) -> None:
    code, said = ci.judge(service.url, "--baseline", "http://127.0.0.1:1")
    assert code == 3, said
    assert "blue itself is over the limit" in said


def test_a_candidate_that_hangs_fails(ci: Ci, service: Any) -> None:
    door = threading.Event()
    service.answer = lambda _: (200, b"{}" if door.wait(60) else b"")

    code, said = ci.judge(service.url, "--rate", "10", seconds=6)
    door.set()

    assert code == 1, said
    assert "no answer" in said


@pytest.fixture
def private(tmp_path: Path) -> Iterator[str]:
    """A service with a certificate that nobody vouches for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*argv, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_certificate_is_the_locustfiles_business(ci: Ci, private: str) -> None:
    """Locust's FastHttpUser does not verify by default (`insecure`), its HttpUser does."""
    (ci.folder / "user.py").write_text(USER.replace("FastHttpUser", "HttpUser"))

    code, said = ci.judge(private, seconds=600)

    assert code == 1, said
    assert "certificate" in said.lower()


UNUSABLE = {
    "x = (\n": "line 1: SyntaxError",
    "import locust\n": "no user class in it",
    "from locust import FastHttpUser\nclass Guest(FastHttpUser): pass\n": "Guest has no task",
    "x = 1 / 0\n": "line 1: ZeroDivisionError",
    "import os\nos._exit(9)\n": "ended with code 9",
}


@pytest.mark.parametrize("text", UNUSABLE)
def test_a_locustfile_that_cannot_be_used_judges_nobody(ci: Ci, service: Any, text: str) -> None:
    (ci.folder / "user.py").write_text(text)
    code, said = ci.judge(service.url)
    assert code == 3, said
    assert UNUSABLE[text] in said


def test_a_task_that_raises_is_a_failure_of_the_candidate(ci: Ci, service: Any) -> None:
    (ci.folder / "user.py").write_text(USER.replace('self.client.post("/brew", json={"leaves": 3})', "1 / 0"))
    code, said = ci.judge(service.url, seconds=600)
    assert code == 1, said
    assert "ZeroDivisionError" in said


def test_ctrl_c_keeps_what_was_measured(ci: Ci, service: Any) -> None:
    command = ci.begin(
        "--candidate", service.url, "-f", "user.py", "--evidence", "evidence", "--json", "--duration", "5m"
    )
    while len(service.requests) < 400:  # some of them after the warm-up
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
