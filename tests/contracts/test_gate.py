"""What every gate promises, run by each of them."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from noren.control.ports import Gate, GateRun
from noren.domain.deployment import Gates, LoadGate, Revision, Route
from noren.domain.errors import DriverError, SpecError
from noren.domain.observation import GateState, Lost
from noren.domain.verdict import Outcome, Verdict
from noren.gates.files import LOG, REQUEST, VERDICT
from noren.gates.memory import MemoryGate
from noren.gates.process import ProcessGate
from noren.machine import Machine

ROUTE = Route(prefix="/tea", host="tea.localhost")
LOCUSTFILE = "from locust import FastHttpUser\n"


class MemoryStage:
    """A gate whose verdict the test gives."""

    def __init__(self, tmp_path: Path) -> None:
        self.memory = MemoryGate()
        self.gate: Gate = self.memory
        self.url = "http://127.0.0.1:1"

    def judge(self, run: GateRun) -> None:
        self.memory.give(run.name, Outcome.FAIL)

    def kill(self, run: GateRun) -> None:
        self.memory.lose(run.name)

    def another(self) -> Gate:
        return self.gate

    def close(self) -> None:
        pass


class ProcessStage:
    """A gate that waits for a service which takes connections and says nothing, until the test hangs up."""

    def __init__(self, tmp_path: Path) -> None:
        self.home, self.machine = tmp_path, Machine(tmp_path)
        self.gate: Gate = ProcessGate(tmp_path, self.machine)
        self.silent = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.url = f"http://127.0.0.1:{self.silent.getsockname()[1]}"

    def judge(self, run: GateRun) -> None:
        connection, _ = self.silent.accept()
        connection.recv(65536)
        connection.close()

    def kill(self, run: GateRun) -> None:
        held, _ = self.silent.accept()  # by now it has come to its first request
        for process in self.machine.processes("gate", run.name):
            os.kill(process.pid, signal.SIGKILL)
        until(lambda: self.gate.look(run.name) is not GateState.RUNNING)
        held.close()

    def another(self) -> Gate:
        return ProcessGate(self.home, Machine(self.home))

    def close(self) -> None:
        self.silent.close()
        for process in self.machine.processes("gate"):
            os.kill(process.pid, signal.SIGKILL)


Stage = MemoryStage | ProcessStage


@pytest.fixture(params=[MemoryStage, pytest.param(ProcessStage, marks=pytest.mark.e2e)])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage: Stage = request.param(tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def process_stage(tmp_path: Path) -> Iterator[ProcessStage]:
    stage = ProcessStage(tmp_path)
    yield stage
    stage.close()


def run_of(stage: Stage, name: str = "tea-2-20250101T000000-1", env: dict[str, str] | None = None) -> GateRun:
    green = Revision(
        deployment="tea",
        number=2,
        bento="tea:b",
        route=ROUTE,
        env=env or {},
        gates=Gates(load=LoadGate(enabled=False, locustfile=LOCUSTFILE)),
    )
    return GateRun(
        name=name,
        green=green,
        blue=None,
        attempt=1,
        green_url=stage.url + "/tea",
        blue_url=None,
        headers={"green": {"x-noren-revision": green.name}},
        examples=({"path": "/brew", "body": {"leaves": 3}},),
    )


def until(holds: Callable[[], bool], *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.05)


def test_a_run_that_was_never_begun_is_absent(stage: Stage) -> None:
    assert stage.gate.look("tea-1-20250101T000000-1") is GateState.ABSENT


def test_a_begun_run_runs_until_its_verdict(stage: Stage) -> None:
    run = run_of(stage)
    stage.gate.start(run)
    assert stage.gate.look(run.name) is GateState.RUNNING

    stage.judge(run)
    until(lambda: stage.gate.look(run.name) is not GateState.RUNNING)

    verdict = stage.gate.look(run.name)
    assert isinstance(verdict, Verdict)
    assert (verdict.revision, verdict.attempt, verdict.outcome) == ("tea-2", 1, Outcome.FAIL)
    assert verdict.started_at <= verdict.ended_at


def test_a_second_start_changes_nothing(stage: Stage) -> None:
    run = run_of(stage)
    stage.gate.start(run)
    stage.gate.start(run)
    stage.judge(run)
    until(lambda: isinstance(stage.gate.look(run.name), Verdict))
    verdict = stage.gate.look(run.name)

    stage.gate.start(run)

    assert stage.gate.look(run.name) == verdict


def test_a_run_that_died_is_lost(stage: Stage) -> None:
    run = run_of(stage)
    stage.gate.start(run)
    stage.kill(run)

    assert isinstance(stage.gate.look(run.name), Lost)


def test_a_stopped_run_has_no_verdict_and_does_not_start_again(stage: Stage) -> None:
    run = run_of(stage)
    stage.gate.start(run)
    stage.gate.stop(run.name)
    assert isinstance(stage.gate.look(run.name), Lost)

    stage.gate.start(run)

    assert isinstance(stage.gate.look(run.name), Lost)


def test_stopping_keeps_a_verdict_and_needs_no_run(stage: Stage) -> None:
    run = run_of(stage)
    stage.gate.stop(run.name)
    assert stage.gate.look(run.name) is GateState.ABSENT

    stage.gate.start(run)
    stage.judge(run)
    until(lambda: isinstance(stage.gate.look(run.name), Verdict))
    stage.gate.stop(run.name)

    assert isinstance(stage.gate.look(run.name), Verdict)


def test_runs_do_not_know_each_other(stage: Stage) -> None:
    stage.gate.start(run_of(stage))

    assert stage.gate.look("tea-2-20250101T000000-2") is GateState.ABSENT


def test_another_control_plane_finds_the_run(stage: Stage) -> None:
    run = run_of(stage)
    assert not stage.gate.busy()
    stage.gate.start(run)

    assert stage.another().look(run.name) is GateState.RUNNING
    assert stage.another().busy()
    stage.another().start(run)
    stage.another().stop(run.name)

    assert isinstance(stage.gate.look(run.name), Lost)
    until(lambda: not stage.gate.busy())


@pytest.mark.parametrize("content", [b"", b"{", b'{"outcome": "PERHAPS"}'])
def test_a_verdict_that_cannot_be_read_is_lost_and_not_an_error(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "gates" / "tea-1"
    folder.mkdir(parents=True)
    (folder / REQUEST).write_text("{}")
    (folder / VERDICT).write_bytes(content)

    assert ProcessGate(tmp_path, Machine(tmp_path)).look("tea-1") == Lost(f"its verdict in {folder} cannot be read")


def test_a_run_that_died_is_lost_with_its_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "gates" / "tea-1"
    folder.mkdir(parents=True)
    (folder / REQUEST).write_text("{}")
    os.utime(folder / REQUEST, (0, 0))
    (folder / LOG).write_text("Traceback (most recent call last):\nModuleNotFoundError: No module named 'scipy'\n")

    assert ProcessGate(tmp_path, Machine(tmp_path)).look("tea-1") == Lost(
        "ModuleNotFoundError: No module named 'scipy'"
    )


@pytest.mark.e2e
def test_a_stopped_process_is_gone(process_stage: ProcessStage) -> None:
    run = run_of(process_stage)
    process_stage.gate.start(run)
    process_stage.gate.stop(run.name)
    time.sleep(0.3)  # long enough for a process that no signal had reached

    assert process_stage.machine.processes("gate", run.name) == []
    assert not any("noren.gates.check" in _argv(child) for child in psutil.Process().children(recursive=True))


def _argv(process: psutil.Process) -> list[str]:
    """[] of one that has ended, and waits for us to take note."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.e2e
def test_only_one_process_runs_for_one_name(process_stage: ProcessStage) -> None:
    run = run_of(process_stage)
    process_stage.gate.start(run)
    process_stage.gate.start(run)
    held, _ = process_stage.silent.accept()

    assert len([p for p in process_stage.machine.processes("gate") if p.leads]) == 1
    held.close()


@pytest.mark.e2e
def test_secrets_of_a_revision_are_not_written_down(process_stage: ProcessStage) -> None:
    run = run_of(process_stage, env={"API_KEY": "hunter2"})
    process_stage.gate.start(run)

    written = [path.read_text() for path in process_stage.home.rglob("*") if path.is_file()]
    assert any("API_KEY" in text for text in written)
    assert not any("hunter2" in text for text in written)
    assert LOCUSTFILE in written


@pytest.mark.parametrize("name", ["", ".", "..", "../tea", "a/b", "/etc", "a\0b", "-rf", "x" * 300, "tea\n"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    gate = ProcessGate(tmp_path, Machine(tmp_path))

    with pytest.raises(SpecError):
        gate.look(name)
    with pytest.raises(SpecError):
        gate.stop(name)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_a_driver_error(tmp_path: Path) -> None:
    (tmp_path / "gates").write_text("a file where the folder should be")
    gate = ProcessGate(tmp_path, Machine(tmp_path))

    with pytest.raises(DriverError, match="cannot be started"):
        gate.start(run_of(MemoryStage(tmp_path)))
