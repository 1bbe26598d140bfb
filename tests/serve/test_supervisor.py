"""Rules of the processes: who starts whom, who survives what, and what is said about it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from noren.machine import free_port

pytestmark = pytest.mark.e2e

SERVICES = {
    "plain": """
        import os, time
        import bentoml

        @bentoml.service(threads=8)
        class Plain:
            @bentoml.on_deployment
            @staticmethod
            def once():
                with open(os.environ["DIARY"], "a") as file:
                    file.write("once ")

            @bentoml.api
            def pid(self) -> int:
                return os.getpid()

            @bentoml.api
            def wait(self, seconds: float) -> str:
                open(os.environ["DIARY"] + " wait", "w").close()
                time.sleep(seconds)
                return "waited"

            @bentoml.api
            def die(self) -> None:
                os._exit(9)

            @bentoml.api
            def collector(self) -> list[int]:
                import gc
                return [gc.get_freeze_count(), *gc.get_threshold()]

            @bentoml.api
            def trace(self) -> str:
                from opentelemetry import trace
                return format(trace.get_current_span().get_span_context().trace_id, "032x")
        """,
    "scratch": """
        import os, tempfile
        import bentoml

        @bentoml.service
        class Scratch:
            def __init__(self) -> None:
                self.folder = tempfile.TemporaryDirectory()

            @bentoml.api
            def pid(self) -> int:
                return os.getpid() if os.path.isdir(self.folder.name) else 0
        """,
    "attached": """
        import os, socket, threading
        import bentoml

        @bentoml.service
        class Threaded:
            @bentoml.on_deployment
            @staticmethod
            def once():
                with open(os.environ["DIARY"], "a") as file:
                    file.write("once ")

            def __init__(self) -> None:
                self.thread = threading.Thread(target=threading.Event().wait, daemon=True)
                self.thread.start()

            @bentoml.api
            def pid(self) -> int:
                return os.getpid() if self.thread.is_alive() else 0

        @bentoml.service
        class Connected:
            def __init__(self) -> None:
                self.made_by, self.socket = os.getpid(), socket.socket()

            @bentoml.api
            def pid(self) -> int:
                return os.getpid() if self.made_by == os.getpid() else 0
        """,
    "sticky": """
        import os, time
        import bentoml

        @bentoml.service
        class Sticky:
            @bentoml.api
            def pid(self) -> int:
                return os.getpid()

            @bentoml.on_shutdown
            def hang(self):
                time.sleep(3600)

        @bentoml.service
        class Killed:
            def __init__(self) -> None:
                os.kill(os.getpid(), 9)
        """,
    "gauge": """
        import os
        import bentoml
        import prometheus_client

        ups = prometheus_client.Counter("ups", "Counted by all workers together.")
        level = prometheus_client.Gauge("level_of_each", "Of each worker.", ["what"], multiprocess_mode="liveall")

        @bentoml.service
        class Gauged:
            @bentoml.api
            def up(self) -> int:
                ups.inc()
                level.labels("water").set(3)
                return int(ups._value.get())

            @bentoml.api
            def up_elsewhere(self) -> None:
                if os.fork() == 0:
                    for _ in range(3):
                        ups.inc()
                    os._exit(0)
                os.wait()
        """,
    "broken": """
        import bentoml
        raise LookupError("the model of the user")
        """,
    "needing": """
        import bentoml

        @bentoml.service
        class Inner:
            @bentoml.api
            def pid(self) -> int:
                return 1

        @bentoml.service
        class Outer:
            inner = bentoml.depends(Inner)

            @bentoml.api
            def pid(self) -> int:
                return 2

        @bentoml.service(cmd=["sleep", "60"])
        class Command:
            pass

        @bentoml.service(envs=[{"name": "SHOP_TOKEN"}])
        class Secret:
            @bentoml.api
            def pid(self) -> int:
                return 3
        """,
}


@dataclass
class Running:
    """One noren-serve and what it said."""

    process: subprocess.Popen[bytes]
    folder: Path
    port: int = 0

    @property
    def said(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def address(self) -> tuple[str, int]:
        """Where it says that it serves."""
        found = re.search(r"serving \S+ on http://(\S+):(\d+), \d+ worker", self.said)
        return (found[1].strip("[]"), int(found[2])) if found else ("", 0)

    def await_ready(self) -> "Running":
        until(lambda: bool(self.address[1]) or self.process.poll() is not None, within_s=120)
        assert self.process.poll() is None, self.said
        return self

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        """On a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=90)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body or {}), {"content-type": "application/json", **names})
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200, content
            return json.loads(content) if "json" in answer.headers["content-type"] else content.decode()

    def await_wait(self) -> None:
        """Until a request to /wait is being answered."""
        until(lambda: (self.folder / "deployed wait").exists())

    def workers(self) -> set[int]:
        """Pids of the processes below the supervisor."""
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def ended(self, within_s: float = 60) -> int:
        return self.process.wait(within_s)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()


def until(condition: Callable[[], bool], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@dataclass
class Shop:
    """Starts servers in a folder with services, and ends those that a test left."""

    code: Path
    folder: Path
    started: list[Running] = field(default_factory=list)

    def start(self, target: str, *options: str, **env: str) -> Running:
        folder = self.folder / str(len(self.started))
        (folder / "tmp").mkdir(parents=True)
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("BENTOML_", "PROMETHEUS_", "NOREN_"))}
        home = {"BENTOML_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        home["DIARY"] = str(folder / "deployed")
        argv = [sys.executable, "-m", "noren_serve", target, "--working-dir", str(self.code), *options]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(argv, cwd=folder, env={**ours, **home, **env}, stdout=out, stderr=err)
        self.started.append(Running(process, folder))
        return self.started[-1]

    def serve(self, target: str, *options: str, **env: str) -> Running:
        port = [] if "--port" in options else ["--port", "0"]
        return self.start(target, *port, *options, **env).await_ready()

    def close(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)
        for running in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(10)
                continue
            for child in psutil.Process(running.process.pid).children(recursive=True):
                child.kill()
            running.process.kill()


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("services")
    for name, text in SERVICES.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


@pytest.fixture
def shop(code: Path, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(code, tmp_path)
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def two(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers that tests may kill."""
    shop = Shop(code, tmp_path_factory.mktemp("two"))
    yield shop.serve("plain:Plain", "--workers", "2")
    shop.close()


@dataclass
class Load:
    """Four clients that ask for ever who answers; half of them keep their connection."""

    running: Running
    answers: Counter[int] = field(default_factory=Counter)
    failures: list[Exception] = field(default_factory=list)
    _ends: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._client, args=(number % 2 == 0,)) for number in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _client(self, keep: bool) -> None:
        address = self.running.address
        connection = http.client.HTTPConnection(*address, timeout=60)
        headers = {"content-type": "application/json", "connection": "keep-alive" if keep else "close"}
        answered = time.monotonic()
        while not self._ends.is_set():
            if time.monotonic() - answered > 0.5:
                connection.close()  # this thread was not let run for so long that the server may have closed it
            try:
                connection.request("POST", "/pid", "{}", headers)
                answer = connection.getresponse()
                self.answers[int(answer.read())] += 1
                answered = time.monotonic()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(error)
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    def await_answers(self, count: int) -> None:
        goal = self.answers.total() + count
        until(lambda: self.answers.total() >= goal)


# Two workers


def test_two_workers_share_one_port_and_the_deployment_hook_ran_once(two: Running) -> None:
    with Load(two) as load:
        until(lambda: len(load.answers) == 2)

    assert set(load.answers) == two.workers()
    assert load.failures == []
    assert (two.folder / "deployed").read_text() == "once "


def test_what_is_loaded_is_frozen_and_what_is_in_flight_is_seldom_walked(two: Running) -> None:
    frozen, new_objects, *_ = two.ask("/collector")
    assert frozen > 10_000
    assert new_objects == 50_000


def test_a_killed_worker_takes_only_its_own_requests_with_it_and_is_replaced(two: Running) -> None:
    before = two.workers()
    victim = min(before)
    with Load(two) as load:
        load.await_answers(50)
        os.kill(victim, signal.SIGKILL)
        load.await_answers(50)
        until(lambda: len(two.workers() - before) == 1 and two.workers() <= set(load.answers))

    assert len(load.failures) <= 4  # each client had one request in flight
    assert two.workers() == set(load.answers) - {victim}
    assert f"(pid {victim}) was ended by SIGKILL; next one in 0.0 s" in two.said
    assert (two.folder / "deployed").read_text() == "once "  # also after a restart


def test_metrics_are_the_sum_of_all_workers_also_of_dead_ones(shop: Shop) -> None:
    running = shop.serve("plain:Plain", "--workers", "2")
    asked: Counter[int] = Counter()
    while len(asked) < 2 or min(asked.values()) < 5:
        asked[running.ask("/pid")] += 1
    until(lambda: count(running) == asked.total())  # the workers write what they counted twice a second

    os.kill(min(asked), signal.SIGKILL)
    until(lambda: min(asked) not in running.workers() and len(running.workers()) == 2)

    assert count(running) == asked.total()


def count(running: Running) -> int:
    """Requests to /pid, by the metrics."""
    pattern = r'^bentoml_service_request_total\{.*endpoint="/pid".*\} (\S+)$'
    return sum(int(float(number)) for number in re.findall(pattern, metrics(running), re.MULTILINE))


def metrics(running: Running) -> str:
    connection = http.client.HTTPConnection(*running.address, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def test_workers_end_and_free_the_port_when_their_supervisor_is_killed(shop: Shop) -> None:
    running = shop.serve("plain:Plain", "--workers", "2")
    workers = running.workers()
    running.process.kill()

    until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(running.address)


def test_workers_are_replaced_after_their_requests_without_one_failing(shop: Shop) -> None:
    running = shop.serve("plain:Plain", "--workers", "2", "--max-requests", "100", "--max-requests-jitter", "50")
    with Load(running) as load:
        until(lambda: len(load.answers) >= 6)

    assert load.failures == []
    assert (running.folder / "deployed").read_text() == "once "
    # What a retired worker has counted is not lost with it.
    until(lambda: count(running) == load.answers.total())


@pytest.mark.parametrize("preload", ["auto", "never"])
def test_workers_that_retire_leave_no_more_files_of_metrics_than_workers_live_at_a_time(
    shop: Shop, preload: str
) -> None:
    running = shop.serve("plain:Plain", "--workers", "2", "--max-requests", "20", "--preload", preload)
    with Load(running) as load:
        until(lambda: len(load.answers) >= 14)

    # Two, two that replace them, and those who have been told to end and have not yet; and that of the supervisor.
    counters = list((running.folder / "tmp").glob("noren-serve-*/counter_*.db"))
    assert 2 <= len(counters) <= 9
    until(lambda: count(running) == load.answers.total())


def test_the_gauges_of_a_worker_that_was_killed_are_gone_and_its_counters_are_not(shop: Shop) -> None:
    running = shop.serve("gauge:Gauged", "--workers", "1")
    assert running.ask("/up") == 1
    before = running.workers()
    until(lambda: "ups_total 1.0" in metrics(running))
    assert "level_of_each" in metrics(running)
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    until(lambda: bool(running.workers() - before))
    until(lambda: "ups_total 1.0" in metrics(running))
    assert "level_of_each{" not in metrics(running)

    assert running.ask("/up") == 2
    until(lambda: "ups_total 2.0" in metrics(running))
    # A process that the service forks counts beside its worker, as under `bentoml serve`.
    running.ask("/up_elsewhere")
    assert running.ask("/up") == 3
    until(lambda: "ups_total 6.0" in metrics(running))


def test_a_worker_that_retires_leaves_what_all_share_alone(shop: Shop) -> None:
    running = shop.serve("scratch:Scratch", "--workers", "2", "--max-requests", "20")
    with Load(running) as load:
        until(lambda: len(load.answers) >= 5)

    assert 0 not in load.answers  # the temporary folder of the instance that was forked
    assert running.terminate() == 0
    assert list((running.folder / "tmp").iterdir()) == []


# Traces and the log


def test_a_worker_that_retires_and_does_not_end_is_killed_after_the_time_to_drain(shop: Shop) -> None:
    running = shop.serve("sticky:Sticky", "--workers", "2", "--max-requests", "5", "--drain", "1")
    before = running.workers()
    # Asked until both have retired: which of the two takes a request is not said.
    until(lambda: bool(running.ask("/pid")) and not before & running.workers())
    until(lambda: len(running.workers()) == 2)


def test_a_worker_that_is_killed_before_it_answers_is_told_of(shop: Shop) -> None:
    running = shop.start("sticky:Killed", "--port", "0")
    assert running.ended() == 1
    assert "was ended by SIGKILL before it answered: is there enough memory?" in running.said


def test_the_trace_of_the_caller_is_that_of_the_service_and_of_the_log(two: Running) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    assert two.ask("/trace", traceparent=f"00-{trace}-00f067aa0ba902b7-01", x_request_id="order-7") == trace
    assert two.ask("/trace", x_request_id="order-8") == "0" * 32

    # Two workers may have answered, each of which writes when it comes to it.
    until(lambda: all(order in (two.folder / "out").read_text() for order in ("order-7", "order-8")))
    lines = {line["request_id"]: line for line in logged(two)}
    assert (lines["order-7"]["trace_id"], lines["order-7"]["path"]) == (trace, "/trace")
    assert "trace_id" not in lines["order-8"]


def test_hostile_headers_and_paths_are_answered_and_stay_inside_their_line(two: Running) -> None:
    hostile = 'x","status":200,"y":"\xff\t{}'
    two.ask("/pid", x_forwarded_for=hostile, x_request_id="evil" + hostile, traceparent=hostile, tracestate=hostile)
    with pytest.raises(AssertionError, match="Not Found"):
        two.ask("/%22%0a%7b%00%ff")
    two.ask("/pid", x_request_id="after")

    until(lambda: all(word in (two.folder / "out").read_text() for word in ("evil", "after")))
    assert [line["client"] for line in logged(two) if line["request_id"].startswith("evil")] == [
        hostile.rpartition(",")[2]
    ]


def logged(running: Running) -> list[dict[str, Any]]:
    """Each line of the access log, among those that are for people."""
    lines = (running.folder / "out").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


# The end


@pytest.mark.parametrize(("workers", "number"), [("1", signal.SIGTERM), ("2", signal.SIGINT)])
def test_when_told_to_end_open_requests_finish_the_port_is_free_and_the_code_is_0(
    shop: Shop, workers: str, number: signal.Signals
) -> None:
    running = shop.serve("plain:Plain", "--workers", workers)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(running.ask("/wait", {"seconds": 1.5})))
    asking.start()
    running.await_wait()
    workers_were = running.workers()

    running.process.send_signal(number)
    assert running.ended() == 0

    asking.join()
    assert answers == ["waited"]
    assert not any(psutil.pid_exists(pid) for pid in workers_were)
    assert list((running.folder / "tmp").iterdir()) == []  # nothing is left behind


def test_a_request_that_does_not_end_is_cut_after_the_time_to_drain(shop: Shop) -> None:
    running = shop.serve("plain:Plain", "--drain", "1")
    failures: list[Exception] = []

    def ask() -> None:
        try:
            running.ask("/wait", {"seconds": 60})
        except (OSError, http.client.HTTPException, AssertionError) as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    running.await_wait()

    assert running.terminate() == 0
    asking.join()
    assert len(failures) == 1


def test_a_worker_that_dies_again_and_again_is_restarted_ever_more_slowly(shop: Shop) -> None:
    running = shop.serve("plain:Plain", "--preload", "always")
    for _ in range(3):
        died = running.said.count("next one in")
        with contextlib.suppress(OSError, http.client.HTTPException):
            running.ask("/die")
        until(lambda died=died: running.said.count("next one in") == died + 1)  # type: ignore[misc]

    assert re.findall(r"worker 1 .* ended with code 9; next one in (\S+) s", running.said) == ["0.0", "0.4", "0.8"]
    assert running.ask("/pid") in running.workers()
    assert running.terminate() == 0


# What cannot be served


def test_an_address_that_is_taken_is_told_before_anything_is_loaded(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = shop.start("broken:Broken", "--host", "127.0.0.1", "--port", str(port))

        assert running.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in running.said
    assert "fix: choose another --host or --port" in running.said
    assert "Traceback" not in running.said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_error_in_the_users_module_is_shown_and_ends_with_1(shop: Shop, workers: str) -> None:
    running = shop.start("broken:Broken", "--port", "0", "--workers", workers)

    assert running.ended() == 1
    assert "LookupError: the model of the user" in running.said
    assert running.said.count("Traceback") == 1
    assert "cannot load broken:Broken: see the traceback above" in running.said


@pytest.mark.parametrize(
    ("target", "reason"),
    [("needing:Outer", "it depends on Inner in the same Bento"), ("needing:Command", "it runs a command of its own")],
)
def test_a_service_that_needs_more_is_refused_with_the_reason_and_69(shop: Shop, target: str, reason: str) -> None:
    running = shop.start(target, "--port", "0")

    assert running.ended() == 69
    assert f"{target} needs what noren-serve does not do:\n  - {reason}" in running.said
    assert "fix: change the service, or give --fallback" in running.said
    assert list((running.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_variable_of_the_environment_that_is_missing_is_named(shop: Shop, workers: str) -> None:
    running = shop.start("needing:Secret", "--port", "0", "--workers", workers)

    assert running.ended() == 1
    assert "the service needs the environment variable SHOP_TOKEN, which is not set" in running.said
    assert "Traceback" not in running.said


def test_with_fallback_bentoml_serves_what_this_server_cannot(shop: Shop) -> None:
    port = free_port()
    # It makes Unix sockets, whose paths must be short.
    running = shop.start("needing:Outer", "--port", str(port), "--fallback", TMPDIR=tempfile.gettempdir())

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("POST", "/pid", "{}", {"content-type": "application/json"})
            return connection.getresponse().read() == b"2"
        return False

    until(answers, within_s=120)
    assert "falling back to `bentoml serve`" in running.said


# What cannot be shared


@pytest.mark.parametrize("target", ["attached:Threaded", "attached:Connected"])
def test_a_service_that_cannot_be_forked_is_loaded_by_each_worker(shop: Shop, target: str) -> None:
    running = shop.serve(target, "--workers", "2")
    with Load(running) as load:
        until(lambda: len(load.answers) == 2)

    assert set(load.answers) == running.workers()  # neither is 0: the thread is alive, the socket is its own
    assert "loading left threads or open files behind, so each worker loads its own copy" in running.said
    if target.endswith("Threaded"):
        assert (running.folder / "deployed").read_text() == "once "
    assert running.terminate() == 0
    assert list((running.folder / "tmp").iterdir()) == []


# Addresses


def test_an_address_of_ipv6_is_served_and_printed_as_one(shop: Shop) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    running = shop.serve("plain:Plain", "--host", "::1")

    assert "on http://[::1]:" in running.said
    assert running.ask("/pid") in running.workers()


def test_an_address_that_is_not_of_this_machine_is_told(shop: Shop) -> None:
    running = shop.start("plain:Plain", "--host", "192.0.2.1", "--port", "0")

    assert running.ended() == 1
    assert "cannot listen on 192.0.2.1:0" in running.said
