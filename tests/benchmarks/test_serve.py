"""The pure parts of `make bench-serve`: reading answers, medians, goals, tables."""

import io
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from PIL import Image

from benchmarks.page import write
from benchmarks.serve import contenders as c
from benchmarks.serve import run
from benchmarks.serve.client import Answers, Client, parse, quantile, request
from benchmarks.serve.dialects import OPEN_INFERENCE, PLAIN
from benchmarks.serve.figures import Entry, Figures, Results
from benchmarks.serve.goals import goals
from benchmarks.serve.hotspots import functions
from benchmarks.serve.memory import growth
from benchmarks.serve.neighbours import Neighbours
from benchmarks.serve.run import Serving, Window
from benchmarks.serve.tables import markdown, rows
from benchmarks.serve.tree import Tree, cores


def load(*rounds: float, p99: float = 3.0, cpu_us: float = 100.0, failed: int = 0) -> Figures:
    return Figures(rounds=rounds, cpu_us=cpu_us, latencies_ms=(2.0, 2.5, p99), failed=failed)


def served(*rounds: float, connections: int = 16, p99: float = 3.0) -> Entry:
    return Entry(first_answer_s=1.0, memory_mb=100.0, loads={connections: load(*rounds, p99=p99)})


def judged(results: Results) -> dict[str, tuple[float, bool]]:
    return {row.name: (row.value, row.holds) for row in goals(results)}


def test_an_answer_is_complete_when_its_length_or_its_last_chunk_has_come() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    assert parse(head[:-2]) is None
    assert parse(head + b"[1.") is None
    assert parse(head + b"[1.]") == (200, b"[1.]")
    chunked = b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n"
    assert parse(chunked) is None
    assert parse(chunked + b"0\r\n\r\n") == (503, b"[1]")


@pytest.mark.parametrize(("q", "expected"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0)])
def test_a_quantile_lies_between_the_two_nearest_values(q: float, expected: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], q) == expected


def test_the_quantile_of_nothing_is_zero() -> None:
    assert quantile([], 0.99) == 0


@pytest.mark.parametrize("body", [b'{"number": 7}', b"[7]", b'[{"score": 7.0}]', b'{"score": 7.0000001}'])
def test_every_wrapping_of_the_right_answer_is_right(body: bytes) -> None:
    assert PLAIN.right("echo", 7, body)
    assert not PLAIN.right("echo", 8, body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"outputs": []}', b'{"outputs": [{"data": ["x"]}]}'])
def test_what_is_no_answer_is_wrong(body: bytes) -> None:
    assert not OPEN_INFERENCE.right("echo", 0, body)


def test_a_picture_is_as_wide_as_the_answer_to_it() -> None:
    sent = PLAIN.requests("picture")
    for index, data in enumerate(sent):
        body = data.partition(b"image/png\r\n\r\n")[2]
        with Image.open(io.BytesIO(body)) as found:
            assert PLAIN.right("picture", index, json.dumps({"number": found.width}).encode())
    assert len(sent) == 100


@pytest.mark.parametrize(
    ("shares", "kept"), [([0.1], 0), ([0.5, 0.1], 1), ([0.5, 0.3, 0.4], 1)], ids=["quiet", "once", "never quiet"]
)
def test_a_window_beside_others_is_looked_through_again_and_what_failed_in_any_counts(
    monkeypatch: pytest.MonkeyPatch, shares: list[float], kept: int
) -> None:
    seen: list[Window] = []

    def look(*_: object) -> Window:
        answers = Answers(statuses={200: 9, 503: 1})
        others = Neighbours(busiest="cc1", share=shares[len(seen)])
        seen.append(Window(connections=1, answers=answers, cpu_us=1.0, wrong=2, neighbours=others))
        return seen[-1]

    monkeypatch.setattr(run, "_looked_through", look)
    monkeypatch.setattr(run, "Client", lambda *_: MagicMock())
    server = Serving(tree=MagicMock(), port=1, requests=[], first_answer_s=1.0)

    window = run._window(server, c.NOREN_DEF, "echo", 1, 1.0)

    assert window.neighbours.share == shares[kept]
    assert (window.answers.answered, window.answers.failed, window.wrong) == (9, len(shares), 2 * len(shares))
    assert len(seen) == len(shares)


def test_servers_are_compared_round_by_round_because_the_machine_changes_between_rounds() -> None:
    assert load(100.0, 10.0, 400.0).times(load(50.0, 5.0, 100.0)) == 2.0


def test_a_promise_holds_or_not_by_the_ratio_to_the_peer() -> None:
    found = judged({("tfidf", c.NOREN_BATCH.name): served(600.0), ("tfidf", c.BARE.name): served(250.0)})
    assert found["tfidf, 16 connections: noren-serve / bare ASGI"] == (2.4, False)
    assert found["tfidf, 16 connections: p99 / p50"] == (1.5, True)


def test_a_peer_is_judged_by_its_best_setting() -> None:
    found = judged(
        {
            ("tfidf", c.NOREN_BATCH.name): served(600.0),
            ("tfidf", c.LITSERVE.name): served(100.0),
            ("tfidf", c.LITSERVE_BATCH.name): served(300.0),
        }
    )
    assert found["tfidf, 16 connections: noren-serve / LitServe, batching"] == (2.0, True)
    assert "tfidf, 16 connections: noren-serve / LitServe" not in found


def test_an_absolute_figure_is_asked_for_only_on_a_machine_that_is_fast_enough() -> None:
    slow, fast = (
        goals({("lean", c.NOREN_BATCH.name): served(4000.0), ("lean", c.BARE.name): served(bare)})
        for bare in (14_000.0, 15_000.0)
    )
    assert all(row.holds for row in slow if "reaches" in row.name)
    assert not all(row.holds for row in fast if "reaches" in row.name)


def test_a_server_that_did_not_start_is_a_row_with_the_reason() -> None:
    results = {("tfidf", c.RAY.name): Entry(reason="it ended with exit code 1: no memory")}
    assert [row.name for row in rows(results)] == [
        "tfidf, Ray Serve: not measured: it ended with exit code 1: no memory"
    ]
    assert "| Ray Serve | not measured: it ended with exit code 1: no memory |" in markdown(results, [])


def test_a_table_begins_with_the_fastest_and_says_what_failed() -> None:
    slow = Entry(loads={16: load(10.0, failed=3)})
    text = markdown({("tfidf", c.BARE.name): slow, ("tfidf", c.NOREN_BATCH.name): served(600.0)}, [])
    assert text.index("**noren-serve, batchable**") < text.index("bare ASGI | 10 (3 failed)")


def test_only_what_is_between_the_marks_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "serving.md"
    assert not write("measured", "new", page)
    page.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    assert not write("profile", "new", page)
    assert write("measured", "new", page)
    assert page.read_text() == "before\n<!-- measured -->\n\nnew\n\n<!-- /measured -->\nafter\n"


def test_a_page_may_have_only_the_first_mark_until_it_is_written(tmp_path: Path) -> None:
    page = tmp_path / "serving.md"
    page.write_text("before\n<!-- measured -->\nafter\n")
    assert write("measured", "old", page)
    assert write("measured", "new", page)
    assert page.read_text() == "before\n<!-- measured -->\n\nnew\n\n<!-- /measured -->\nafter\n"


def test_memory_growth_ignores_the_time_before_it_settled() -> None:
    assert growth([(0, 50.0), (10, 100.0), (20, 101.0), (30, 110.0)], settled_s=10) == pytest.approx(1.1)
    with pytest.raises(ValueError, match="after 60 s"):
        growth([(0, 50.0)], settled_s=60)


def test_a_profile_adds_up_the_lines_of_a_function() -> None:
    table = functions(["run (a.py:1);f (b.py:2) 3", "run (a.py:1);f (b.py:9) 3", "run (a.py:1) 2"], cpu_us=40)
    assert "| `f (b.py)` | 75.0% | 30.0 |" in table


def test_a_connection_that_was_idle_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers close those: a request that is sent just then is lost, and would look like the server's fault."""

    class Ok(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ok)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with Client(server.server_port, [request("/", b"{}")]) as client:
        assert client.open_loop(per_second=50, seconds=0.2).failed == 0
        before = set(client._connections.values())
        monkeypatch.setattr("benchmarks.serve.client.REUSED_WITHIN_S", -1.0)
        assert client.closed_loop(connections=1, seconds=0.1).failed == 0
        assert not before & set(client._idle)
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be shared out")
def test_the_server_has_a_core_without_the_load_generator(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def measure() -> set[int]:
        os.sched_setaffinity(0, {cores()[1]})  # of this thread alone
        argv = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
        Tree.start(argv, environment={}, folder=tmp_path, log=log, core=cores()[0]).root.wait()
        return os.sched_getaffinity(0)

    with ThreadPoolExecutor(1) as thread:
        generator = thread.submit(measure).result()
    server = {int(core) for core in log.read_text().split()}
    assert len(generator) == len(server) == 1
    assert generator.isdisjoint(server)


TWO_SERVERS = """
import sys, time
from pathlib import Path
from benchmarks.serve.tree import Tree, cores

child = "import time; print(flush=True); time.sleep(60)"
argv = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"]
logs = [Path("one"), Path("other")]
one, other = (Tree.start(argv, environment={}, folder=Path.cwd(), log=log, core=cores()[0]) for log in logs)
while not all(log.stat().st_size for log in logs):
    time.sleep(0.01)
mine, theirs = ({process.pid for process in tree.processes} for tree in (one, other))
print(len(mine), len(theirs), len(mine & theirs))
one.stop()
print(len(one.processes), len(other.processes))
other.stop()
print(len(other.processes))
"""


def test_two_servers_are_told_apart(tmp_path: Path) -> None:
    # In a process of its own, because whatever a test started here before would count as a server's.
    script = [sys.executable, "-c", TWO_SERVERS]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(script, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90, check=True)
    assert done.stdout.split("\n")[:3] == ["2 2 0", "0 2", "0"]
