"""When those that leave are told so, and when they are ended."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from noren.control.ports import made_of
from noren.domain.deployment import Revision, Route
from noren.machine import Machine
from noren.runtimes.container import ContainerRuntime
from noren.runtimes.engine import Container
from noren.runtimes.leaving import MADE_OF, Ending, Leaving
from noren.runtimes.process import ProcessRuntime

SHOP = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.localhost"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_who_leaves_is_first_forgotten_then_asked_once_then_killed() -> None:
    clock = Clock()
    leaving = Leaving(clock)
    assert leaving.begin("7", "too big")
    assert not leaving.begin("7", "another reason")

    told = []
    for seconds in (0, 1, 2, 3, 30, 37, 38):
        clock.now = 100.0 + seconds
        told.append(leaving.due("7"))

    assert told == [None, None, signal.SIGTERM, None, None, signal.SIGKILL, signal.SIGKILL]
    assert leaving.why("7") == "too big"


def test_who_is_gone_is_forgotten_and_its_next_life_is_another() -> None:
    leaving = Leaving(Clock())
    leaving.begin("7", "too big")
    leaving.begin("8", "too big")

    leaving.keep({"8", "9"})

    assert ("7" in leaving, "8" in leaving, "9" in leaving) == (False, True, False)
    assert leaving.why("7") == ""


def test_who_is_to_end_is_asked_once_and_killed_when_its_grace_is_over() -> None:
    clock, grace = Clock(), timedelta(seconds=20)
    ending = Ending(clock)
    assert ending.due("7", grace) is signal.SIGTERM
    clock.now += 19
    assert ending.due("7", grace) is None
    clock.now += 1
    assert ending.due("7", grace) is ending.due("8", timedelta(0)) is signal.SIGKILL

    ending.keep({"8"})
    assert ending.due("7", grace) is signal.SIGTERM


@pytest.mark.e2e
@pytest.mark.parametrize(("made", "ends"), [("of a lost history", True), (made_of(SHOP), False), ("", False)])
def test_a_process_that_has_the_name_of_a_revision_and_is_another_is_ended_before_it_is_started(
    tmp_path: Path, made: str, ends: bool
) -> None:
    machine = Machine(tmp_path)
    env = {"PATH": os.environ["PATH"], "NOREN_REVISION": SHOP.name, "NOREN_INDEX": "0", MADE_OF: made}
    pid = machine.start(["sleep", "60"], kind="replica", name="shop-1/0", log=tmp_path / "log", env=env)

    ProcessRuntime(tmp_path, machine, tmp_path).start(SHOP)
    assert not (tmp_path / "replicas").exists()  # nothing was launched beside it

    deadline = time.monotonic() + (60 if ends else 0.2)
    while machine.processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [p.pid for p in machine.processes()] == ([] if ends else [pid])
    machine.signal("replica", "shop-1/0", signal.SIGKILL)


@pytest.mark.parametrize(("made", "ends"), [("of a lost history", True), (made_of(SHOP), False), ("", False)])
def test_a_container_that_has_the_name_of_a_revision_and_is_another_is_ended_before_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: Callable[..., Container], made: str, ends: bool
) -> None:
    runtime = ContainerRuntime(tmp_path, Machine(tmp_path), "podman", tmp_path, lambda _: pytest.fail("launched"))
    runs = container(revision=SHOP.name, made_of=made)
    sent: list[tuple[signal.Signals, list[str]]] = []
    monkeypatch.setattr(runtime.engine, "containers", lambda: [runs])
    monkeypatch.setattr(runtime.engine, "signal", lambda *what: sent.append(what))

    runtime.start(SHOP)
    runtime.start(SHOP)

    assert sent == ([(signal.SIGTERM, ["c1"])] if ends else [])
    assert [replica.made_of for replica in runtime.replicas()] == [made]


@pytest.mark.e2e
def test_what_another_control_plane_started_again_has_its_grace_too(tmp_path: Path) -> None:
    def until(claim: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not claim():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.01)

    machine, log = Machine(tmp_path), tmp_path / "log"
    env = {"PATH": os.environ["PATH"], "NOREN_REVISION": "shop-1", "NOREN_INDEX": "0"}
    script = ["/bin/sh", "-c", "trap 'sleep 0.5; echo answered; exit' TERM; echo up; while :; do sleep 0.05; done"]
    runtime = ProcessRuntime(tmp_path, machine, tmp_path)

    def live_and_end(number: int, grace_s: float) -> None:
        machine.start(script, kind="replica", name="shop-1/0", log=log, env=env)
        until(lambda: log.read_text().count("up") == number)
        runtime.stop("shop-1", grace=timedelta(seconds=grace_s))
        until(lambda: not machine.processes())
        assert log.read_text().count("answered") == number

    live_and_end(1, grace_s=0.6)
    time.sleep(0.6)
    live_and_end(2, grace_s=0.6)  # started by whoever led in between
