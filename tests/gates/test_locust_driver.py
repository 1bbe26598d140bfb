"""Real Locust against a real service: what reaches it, and what is measured of it."""

import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import psutil
import pytest

from noren.control.ports import GateRun
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Slo
from noren.domain.verdict import Check, Outcome, overall
from noren.gates import files, load
from noren.gates.duet import Measured, Plan, Samples, Target, read_measured, write_plan

pytestmark = pytest.mark.e2e

USER = """
    import random
    from locust import FastHttpUser, task

    chance = random.Random()

    class Guest(FastHttpUser):
        host = "http://localhost:1"  # for use without a gate

        @task
        def brew(self):
            self.client.post("/brew", json={"leaves": random.random(), "cups": chance.random()})
"""
EXAMPLE = {"path": "/brew", "body": {"leaves": 3}}


def measure(
    folder: Path,
    url: str,
    locustfile: str | None = USER,
    *,
    rate: float = 40,
    duration_s: float = 1.0,
    blue: bool = True,
    **rest: Any,
) -> Measured:
    """Run the driver as the gate does."""
    path = folder / "locustfile.py"
    if locustfile is not None:
        path.write_text(dedent(locustfile))
    arms = ("green", "blue") if blue else ("green",)
    plan: dict[str, Any] = {
        "targets": {arm: target(url, arm) for arm in arms},
        "locustfile": str(path) if locustfile is not None else None,
        "gate": LoadGate(rate=rate, warmup=timedelta(seconds=0.3), duration=timedelta(seconds=duration_s)),
        "slo": Slo(error_rate=0.01),
        "seed": 7,
        "drain_s": 5.0,
    }
    write_plan(folder, Plan(**(plan | rest)))
    argv = [sys.executable, "-m", "noren.gates.locust_driver", str(folder), str(os.getpid())]
    subprocess.run(argv, check=True, timeout=40)
    found = read_measured(folder)
    assert found is not None
    return found


def counted(samples: Samples) -> Samples:
    """Without the warm-up."""
    return samples.until(1e9)


def target(url: str, arm: str) -> Target:
    revision = f"tea-{arm}"
    return Target(url=f"{url}/tea", revision=revision, headers={"x-noren-revision": revision})


def with_blue(run: GateRun) -> GateRun:
    blue = replace(run.green, number=1, bento="tea:a")
    headers = {**run.headers, "blue": {"x-noren-revision": "tea-1"}}
    return replace(run, blue=blue, blue_url=run.green_url, headers=headers)


def run_of(
    url: str, *, locustfile: str | None, examples: tuple[Mapping[str, object], ...] = (), duration_s: float = 8
) -> GateRun:
    gate = LoadGate(
        locustfile=None if locustfile is None else dedent(locustfile),
        rate=40,
        warmup=timedelta(seconds=0.2),
        duration=timedelta(seconds=duration_s),
    )
    route = Route(prefix="/tea", host="tea.localhost")
    gates, slo = Gates(load=gate), Slo(error_rate=0.05)
    green = Revision(deployment="tea", number=2, bento="tea:b", route=route, gates=gates, slo=slo)
    return GateRun(
        name="tea-2-1",
        green=green,
        blue=None,
        attempt=1,
        green_url=f"{url}/tea",
        blue_url=None,
        headers={"green": {"x-noren-revision": "tea-2"}},
        examples=examples,
    )


def checked(folder: Path, run: GateRun) -> tuple[Check, ...]:
    if text := run.green.gates.load.locustfile:
        (folder / "locustfile.py").write_text(text)
    return load.check(run, folder)


@pytest.mark.parametrize("kind", ["FastHttpUser", "HttpUser"])
def test_both_arms_are_sent_the_same_with_their_own_headers(tmp_path: Path, service: Any, kind: str) -> None:
    found = measure(tmp_path, service.url, USER.replace("FastHttpUser", kind))

    green, blue = service.sent_to("tea-green"), service.sent_to("tea-blue")
    assert len(green) == len(blue) == len(service.requests) / 2 == 52  # 1.3 s at 40 per second
    assert sorted(r.body for r in green) == sorted(r.body for r in blue)
    assert len({r.body for r in green}) == 52
    assert {r.path for r in service.requests} == {"/tea/brew"}
    assert found.endpoints == ("POST /brew",)
    for samples in found.arms.values():
        assert (counted(samples).requests, samples.errors, samples.dropped, samples.misrouted) == (40, 0, 0, 0)
        assert sorted(samples.rows["arrival"]) == list(range(52))
    assert found.ended


def test_one_arm_is_enough_for_a_first_deployment(tmp_path: Path, service: Any) -> None:
    found = measure(tmp_path, service.url, blue=False)

    assert set(found.arms) == {"green"}
    assert len(service.requests) == 52


@pytest.mark.quiet
def test_a_stall_shows_in_every_request_that_was_due_meanwhile(tmp_path: Path, service: Any) -> None:
    """Open loop: one stop of 0.4 s at 50 per second is seen by some 20 requests, not by one."""
    counter_lock, door = threading.Lock(), threading.Event()
    door.set()
    seen = 0

    def answer(_: Any) -> tuple[int, bytes]:
        nonlocal seen
        with counter_lock:
            seen += 1
            first = seen == 40
        if first:
            door.clear()
            time.sleep(0.4)
            door.set()
        door.wait()
        return 200, b"{}"

    service.answer = answer

    green = measure(tmp_path, service.url, rate=50, duration_s=1.5, blue=False).arms["green"]

    slow = green.rows[green.rows["latency_ms"] > 80]
    stalled = slow["latency_ms"]
    assert 8 <= len(stalled) <= 30
    assert stalled.max() >= 390
    # The later a request was due, the less of the stall it saw.
    late = np.argsort(slow["due_s"])
    assert np.corrcoef(np.arange(len(late)), stalled[late])[0, 1] < -0.9


def test_errors_are_counted_by_arm_and_endpoint(tmp_path: Path, service: Any) -> None:
    numbers = Counter[str]()

    def answer(request: Any) -> tuple[int, bytes]:
        revision = request.headers["x-noren-revision"]
        numbers[revision] += 1
        return (500 if revision == "tea-green" and numbers[revision] % 4 == 0 else 200), b"{}"

    service.answer = answer

    found = measure(tmp_path, service.url)

    assert counted(found.arms["green"]).errors == pytest.approx(10, abs=1)
    assert found.arms["blue"].errors == 0
    (message,) = found.arms["green"].failures
    assert message.startswith("POST /brew: LocustBadStatusCode")
    assert "500" in message


@pytest.mark.quiet
def test_a_hopeless_green_is_not_asked_to_the_end(tmp_path: Path, service: Any) -> None:
    service.answer = lambda r: (500 if r.headers["x-noren-revision"] == "tea-2" else 200, b"{}")
    run = with_blue(run_of(service.url, locustfile=USER, duration_s=60))

    found = checked(tmp_path, run)

    assert [check.outcome for check in found] == [Outcome.FAIL]
    assert "requests of POST /brew failed" in found[0].detail
    last = read_measured(tmp_path)
    assert last is not None
    assert last.ended
    assert last.stopped == "the gate has seen enough"
    assert last.elapsed_s < 30
    assert load.replay(tmp_path) == found


@pytest.mark.quiet
def test_a_green_that_is_much_slower_fails_at_the_first_look_and_the_evidence_says_so_again(
    tmp_path: Path, service: Any
) -> None:
    def answer(request: Any) -> tuple[int, bytes]:
        time.sleep(0.06 if request.headers["x-noren-revision"] == "tea-2" else 0.01)
        return 200, b"{}"

    service.answer = answer
    run = with_blue(run_of(service.url, locustfile=USER, duration_s=30))

    found = checked(tmp_path, run)

    assert overall(found) is Outcome.FAIL
    assert {check.name for check in found if check.outcome is Outcome.FAIL} >= {"p50"}
    assert not (tmp_path / "look-2.json").exists()
    assert load.replay(tmp_path) == found


def test_what_a_task_calls_a_failure_or_raises_is_an_error(tmp_path: Path, service: Any) -> None:
    found = measure(
        tmp_path,
        service.url,
        """
        from locust import HttpUser, task

        class Guest(HttpUser):
            @task
            def tastes(self):
                with self.client.post("/brew", json={}, catch_response=True) as response:
                    response.failure("too weak")

            @task
            def breaks(self):
                self.client.post("/pour", json={}).json()["sugar"]

            @task
            def refused_but_fine(self):
                with self.client.post("/spill", json={}, catch_response=True) as response:
                    response.success()
        """,
        rate=30,
    )

    for samples in found.arms.values():
        assert samples.failures == {
            "POST /brew: CatchResponseError: too weak": 10,
            "KeyError: 'sugar' (locustfile.py, line 12)": 10,
        }
        assert np.isnan(samples.rows["latency_ms"]).sum() == pytest.approx(13, abs=1)
        assert counted(samples).requests == 40  # 30 arrivals; the ten that broke had sent a request before


def test_tasks_are_picked_by_weight_in_all_their_forms(tmp_path: Path, service: Any) -> None:
    measure(
        tmp_path,
        service.url,
        """
        from locust import FastHttpUser, SequentialTaskSet, TaskSet, task

        def post(path):
            return lambda user: user.client.post(path, json={})

        class Nested(TaskSet):
            def on_start(self):
                self.cups = 0

            @task
            def step(self):
                self.cups += 1
                self.client.post("/nested", json={})

            @task
            def done(self):
                self.interrupt()

        class Story(SequentialTaskSet):
            @task
            def first(self):
                self.client.post("/first", json={})

            @task
            def second(self):
                self.client.post("/second", json={})

        class Guest(FastHttpUser):
            weight = 3
            tasks = {post("/often"): 3, post("/seldom"): 1, Nested: 1, Story: 1}

        class Rare(FastHttpUser):
            tasks = [post("/rare")]

        class Never(FastHttpUser):
            weight = 0
            tasks = [post("/never")]
        """,
        rate=120,
        blue=False,
    )

    sent = Counter(r.path.removeprefix("/tea") for r in service.requests)
    arrivals = 156
    assert set(sent) == {"/often", "/seldom", "/nested", "/first", "/second", "/rare"}
    assert sent["/rare"] == pytest.approx(arrivals / 4, rel=0.5)
    assert sent["/often"] == pytest.approx(arrivals * 3 / 8, rel=0.25)
    assert sent["/first"] == sent["/second"] == pytest.approx(arrivals / 8, rel=0.4)


def test_on_start_runs_once_for_each_user_and_is_not_measured(tmp_path: Path, service: Any) -> None:
    found = measure(
        tmp_path,
        service.url,
        """
        from locust import FastHttpUser, between, task

        class Guest(FastHttpUser):
            wait_time = between(5, 9)  # an open loop has no use for it

            def on_start(self):
                self.client.post("/login", json={})

            @task
            def brew(self):
                self.client.post("/brew", json={})
        """,
        rate=20,
        blue=False,
    )

    sent = Counter(r.path for r in service.requests)
    assert 1 <= sent["/tea/login"] <= 10
    assert sent["/tea/brew"] == 26
    assert found.endpoints == ("POST /brew",)


def test_without_a_locustfile_the_examples_are_sent_in_turn(tmp_path: Path, service: Any) -> None:
    examples = ({"path": "/brew", "body": {"leaves": 3}}, {"path": "/pour", "body": [1, 2]})

    found = measure(tmp_path, service.url, None, examples=examples)

    sent = Counter((r.path, r.body) for r in service.sent_to("tea-green"))
    assert {(path, json.dumps(json.loads(body))): n for (path, body), n in sent.items()} == {
        ("/tea/brew", '{"leaves": 3}'): 26,
        ("/tea/pour", "[1, 2]"): 26,
    }
    assert set(found.endpoints) == {"POST /brew", "POST /pour"}


@pytest.mark.quiet
def test_requests_that_find_no_room_are_counted_as_dropped(tmp_path: Path, service: Any) -> None:
    first: list[float] = []

    def answer(_: Any) -> tuple[int, bytes]:
        first.append(time.monotonic())
        time.sleep(max(first[0] + 2.0 - time.monotonic(), 0))  # until everything has been due
        return 200, b"{}"

    service.answer = answer

    green = measure(tmp_path, service.url, blue=False, in_flight=5, duration_s=0.8).arms["green"]

    assert counted(green).dropped == 32  # those that hold all places came in the warm-up
    assert green.requests == 5


@pytest.mark.quiet
def test_what_is_never_answered_is_an_error_that_lasted_so_long(tmp_path: Path, service: Any) -> None:
    hold = threading.Event()
    service.answer = lambda r: (b"3" in r.body and hold.wait(20), (200, b"{}"))[1]
    examples = ({"path": "/brew", "body": {"leaves": 3}}, {"path": "/brew", "body": {"leaves": 4}})

    green = measure(
        tmp_path, service.url, None, examples=examples, blue=False, duration_s=0.5, rate=20, drain_s=1.0
    ).arms["green"]
    hold.set()

    assert counted(green).errors == 5
    assert green.rows["latency_ms"][~green.rows["ok"]].min() >= 1000
    assert list(green.failures) == ["no answer 1 s after the last arrival"]


def test_answers_of_another_revision_are_noticed(tmp_path: Path, service: Any) -> None:
    service.signed = "tea-blue"

    found = measure(tmp_path, service.url)

    assert found.arms["green"].misrouted == 52


UNUSABLE = {
    "x = (\n": "locustfile.py, line 1: SyntaxError: '(' was never closed",
    "x = 1\nimport nothing_like_it\n": "locustfile.py, line 2: ModuleNotFoundError",
    "x = 1\nx / 0\n": "locustfile.py, line 2: ZeroDivisionError",
    "import sys\nsys.exit(3)\n": "locustfile.py, line 2: SystemExit: 3",
    "import locust\n": "locustfile.py: no user class in it",
    "from locust import FastHttpUser\nclass Guest(FastHttpUser): pass\n": "locustfile.py: Guest has no task",
    "from locust import User, task\nclass Guest(User):\n    @task\n    def brew(self): pass\n": (
        "locustfile.py: Guest is no HttpUser or FastHttpUser"
    ),
}
TRY_ALL = """
import sys, pathlib
from noren.gates.locust_users import UnusableLocustfile, load_cast
for path in sys.argv[1:]:
    try:
        load_cast(pathlib.Path(path))
    except UnusableLocustfile as error:
        print(error)
"""


def test_an_unusable_locustfile_is_named_with_its_line(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) / "locustfile.py" for number in range(len(UNUSABLE))]
    for path, text in zip(paths, UNUSABLE, strict=True):
        path.parent.mkdir()
        path.write_text(text)

    said = subprocess.run(
        [sys.executable, "-c", TRY_ALL, *map(str, paths)], check=True, capture_output=True, text=True
    ).stdout.splitlines()

    assert [line[: len(begin)] for line, begin in zip(said, UNUSABLE.values(), strict=True)] == list(UNUSABLE.values())


def test_an_unusable_locustfile_judges_nobody(tmp_path: Path, service: Any) -> None:
    (found,) = checked(tmp_path, run_of(service.url, locustfile="x = 1\nimport nothing_like_it\n"))

    assert found.outcome is Outcome.INVALID
    assert found.detail.startswith("locustfile.py, line 2: ModuleNotFoundError: No module named")
    assert service.requests == []


@pytest.mark.quiet
def test_users_that_send_nothing_judge_nobody(tmp_path: Path, service: Any) -> None:
    idle = "from locust import FastHttpUser, task\nclass G(FastHttpUser):\n    @task\n    def rest(self): pass\n"

    (found,) = checked(tmp_path, run_of(service.url, locustfile=idle, duration_s=4))

    assert (found.outcome, found.detail) == (Outcome.INVALID, "no request was sent to green")


def test_nothing_to_send_holds(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, run_of("http://127.0.0.1:1", locustfile=None))

    assert found.outcome is Outcome.HOLD
    assert "give the service's schema an example" in found.detail


def test_a_target_that_is_down_fails(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, run_of("http://127.0.0.1:1", locustfile=None, examples=(EXAMPLE,)))

    assert found.outcome is Outcome.FAIL
    assert "requests of POST /brew failed" in found.detail
    assert "Connection refused" in found.detail


def test_a_target_that_nobody_knows_fails(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, run_of("http://nosuchhost.invalid", locustfile=None, examples=(EXAMPLE,)))

    assert found.outcome is Outcome.FAIL
    assert "requests of POST /brew failed" in found.detail
    assert "gaierror" in found.detail


def test_a_target_that_hangs_fails(tmp_path: Path, service: Any) -> None:
    door = threading.Event()
    service.answer = lambda _: (200, b"{}" if door.wait(60) else b"")
    run = run_of(service.url, locustfile=None, examples=(EXAMPLE,), duration_s=2)

    found = load.measure(replace(load.make_plan(run, tmp_path), drain_s=1.0), tmp_path)
    door.set()

    assert overall(found) is Outcome.FAIL
    assert any("no answer 1 s after the last arrival" in check.detail for check in found)


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


def test_a_certificate_is_the_locustfiles_business(tmp_path: Path, private: str) -> None:
    """Locust's FastHttpUser does not verify by default (`insecure`), its HttpUser does."""
    found = checked(tmp_path, run_of(private, locustfile=USER.replace("FastHttpUser", "HttpUser")))

    assert overall(found) is Outcome.FAIL
    assert "certificate" in found[0].detail.lower()


def test_a_task_that_raises_is_a_failure_of_green(tmp_path: Path, service: Any) -> None:
    raises = USER.replace(
        'self.client.post("/brew", json={"leaves": random.random(), "cups": chance.random()})', "1 / 0"
    )

    found = checked(tmp_path, run_of(service.url, locustfile=raises, duration_s=60))

    assert overall(found) is Outcome.FAIL
    assert "ZeroDivisionError" in found[0].detail


@pytest.mark.quiet
def test_a_service_that_answers_passes_with_its_evidence(tmp_path: Path, service: Any) -> None:
    found = checked(tmp_path, run_of(service.url, locustfile=USER))

    assert overall(found) is Outcome.PASS, found
    assert found[0].figures["requests"] > 100  # it was clear at the first look
    assert {path.name for path in tmp_path.iterdir()} >= {"plan.json", "green.rows", "measured.json", "look-1.json"}
    assert load.replay(tmp_path) == found


def test_what_the_gate_started_ends_with_the_gate(tmp_path: Path, service: Any) -> None:
    """Nobody may go on sending when the process that waits for the result was killed."""
    run = run_of(service.url, locustfile=USER)
    gate = replace(run.green.gates.load, duration=timedelta(seconds=60))
    run = replace(run, green=replace(run.green, gates=replace(run.green.gates, smoke=False, load=gate)))
    files.write_request(tmp_path, run)
    process = subprocess.Popen([sys.executable, "-m", "noren.gates.check", str(tmp_path)])
    while not service.requests:
        assert process.poll() is None
        time.sleep(0.05)
    (driver,) = psutil.Process(process.pid).children()

    process.kill()
    process.wait()

    driver.wait(timeout=5)
    assert not (tmp_path / files.VERDICT).exists()


def test_a_generator_that_dies_judges_nobody(tmp_path: Path, service: Any) -> None:
    suicide = "import os\nos._exit(9)\n"

    (found,) = checked(tmp_path, run_of(service.url, locustfile=suicide))

    assert found.outcome is Outcome.INVALID
    assert "ended with code 9 and no result" in found.detail
