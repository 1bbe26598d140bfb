"""Both arms on the same cores, the generator on another one, and afterwards everybody everywhere."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noren.control.ports import GateRun
from noren.domain.deployment import Revision, Route
from noren.gates import files
from noren.gates.placement import apart, settle
from noren.gates.process import ProcessGate
from noren.machine import Machine

if not hasattr(os, "sched_setaffinity"):
    pytest.skip("this system has no CPU affinity", allow_module_level=True)
CORES = sorted(os.sched_getaffinity(0))
if len(CORES) < 2:
    pytest.skip("one core cannot be shared out", allow_module_level=True)
THREE_THREADS = "import threading, time; [threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(2)]"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes():
        os.kill(process.pid, signal.SIGKILL)


def start(machine: Machine, revision: str) -> int:
    return machine.start(
        [sys.executable, "-c", f"{THREE_THREADS}; time.sleep(60)"],
        kind="replica",
        name=f"{revision}-0",
        log=Path(machine.home) / "log",
        env={"NOREN_REVISION": revision},
    )


def cores_of(pid: int) -> set[frozenset[int]]:
    """Of each of its threads, once all three are there."""
    while len(tasks := os.listdir(f"/proc/{pid}/task")) < 3:  # noqa: PTH208
        pass
    return {frozenset(os.sched_getaffinity(int(task))) for task in tasks}


def test_the_arms_share_all_cores_but_one_and_get_it_back(machine: Machine) -> None:
    arms = {name: start(machine, name) for name in ("tea-2", "tea-1_twin")}
    guests = start(machine, "tea-1")
    assert all(cores_of(pid) == {frozenset(CORES)} for pid in arms.values())

    with apart(machine, arms) as core:
        assert core == CORES[-1]
        assert all(cores_of(pid) == {frozenset(CORES[:-1])} for pid in arms.values())
        assert cores_of(guests) == {frozenset(CORES)}

    assert all(cores_of(pid) == {frozenset(CORES)} for pid in arms.values())


def test_nothing_is_moved_where_an_arm_is_elsewhere(machine: Machine) -> None:
    here = start(machine, "tea-2")

    with apart(machine, ["tea-2", "tea-1_twin"]) as core:
        assert core is None
        assert cores_of(here) == {frozenset(CORES)}


def test_outside_of_a_home_nothing_is_moved() -> None:
    with apart(None, ["tea-2"]) as core:
        assert core is None


def test_the_generator_runs_on_its_core() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        settle(process.pid, CORES[-1])
        assert os.sched_getaffinity(process.pid) == {CORES[-1]}
        process.communicate(b"")
    settle(process.pid, CORES[0])  # it has ended, and that is nobody's fault


@pytest.mark.parametrize("ending", ["killed", "stopped"])
def test_a_gate_that_could_not_tidy_up_leaves_its_arms_to_the_control_plane(
    machine: Machine, tmp_path: Path, ending: str
) -> None:
    pid, gate = start(machine, "tea-2"), ProcessGate(tmp_path, machine)
    kept_off = apart(machine, ["tea-2"])
    kept_off.__enter__()
    green = Revision(deployment="tea", number=2, bento="tea:b", route=Route(prefix="/tea", host="tea.localhost"))
    run = GateRun(name="tea-2-1", green=green, blue=None, attempt=1, green_url="", blue_url=None, headers={})
    files.write_request(tmp_path / "gates" / run.name, run)
    os.utime(tmp_path / "gates" / run.name / files.REQUEST, (0, 0))
    assert cores_of(pid) == {frozenset(CORES[:-1])}

    if ending == "killed":
        gate.look(run.name)
    else:
        gate.stop(run.name)

    assert cores_of(pid) == {frozenset(CORES)}
