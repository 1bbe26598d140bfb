"""Replicas as real processes: found again, restarted, given up, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from noren.control.ports import Replica, ReplicaState
from noren.domain.deployment import Resources, Revision, Route
from noren.machine import Machine
from noren.runtimes import process
from noren.runtimes.process import ProcessRuntime
from noren.runtimes.record import Records

if TYPE_CHECKING:
    from tests.conftest import Tiny

pytestmark = pytest.mark.e2e

SOUND = Revision(
    deployment="shop",
    number=1,
    bento="tiny:v1",
    env={"GREETING": "grüß dich"},
    route=Route(prefix="/shop", host="shop.localhost"),
)
BROKEN = Revision(deployment="shop", number=2, bento="tiny:broken", route=SOUND.route)


def eventually(claim: Callable[[], object], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Stage:
    """A home with its runtime; `again` is the runtime after a restart of the control plane."""

    def __init__(self, tiny: Tiny, folder: Path) -> None:
        self.tiny, self.home = tiny, tiny.home(folder)
        self.runtime = self.again()

    def again(self) -> ProcessRuntime:
        return ProcessRuntime(self.home, Machine(self.home), self.tiny.bentoml_home)

    def replica(self) -> Replica:
        (found,) = self.runtime.replicas()
        return found

    def state(self) -> ReplicaState:
        return self.replica().state

    def pids(self) -> set[int]:
        return {p.pid for p in Machine(self.home).processes()}

    def close(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def stage(tiny: Tiny, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tiny, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One replica that is ready, started by a control plane with a secret in its environment."""
    made = Stage(tiny, tmp_path_factory.mktemp("serving"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
        environment.setenv("NOREN_DATABASE_URL", "postgresql://noren:geheim@db/noren")
        made.runtime.start(SOUND)
    eventually(lambda: made.state() is ReplicaState.READY)
    yield made
    made.close()


def test_a_new_control_plane_finds_the_replicas_of_the_old_one(serving: Stage) -> None:
    before = serving.replica()

    runtime = serving.again()
    (found,) = runtime.replicas()
    runtime.start(SOUND)

    assert (found.pid, found.address, found.state) == (before.pid, before.address, ReplicaState.READY)
    assert found.started_at == before.started_at
    assert [r.pid for r in runtime.replicas()] == [before.pid]


def test_a_replica_answers_at_its_address_and_uses_memory(serving: Stage) -> None:
    replica = serving.replica()
    answer = httpx.post(f"http://{replica.address}/say", json={"text": "good"}, timeout=60, trust_env=False)
    assert answer.text == "good"
    assert replica.memory_bytes > 10_000_000
    assert any("noren: noren_serve tiny:v1" in line for line in serving.runtime.logs("shop-1", lines=100))


def test_the_environment_of_the_control_plane_is_not_the_replicas(serving: Stage) -> None:
    for pid in serving.pids():
        environment = psutil.Process(pid).environ()
        assert not [name for name, value in environment.items() if "geheim" in value]
        assert environment["GREETING"] == "grüß dich"
        # A store of its own, with the models that the Bento was built with: see runtimes/pinned.py.
        assert (
            Path(environment["BENTOML_HOME"]) / "bentos/tiny/v1"
        ).resolve() == serving.tiny.bentoml_home / "bentos/tiny/v1"


def test_a_replica_that_stops_answering_is_unready_after_three_probes_and_ready_when_it_answers(
    serving: Stage,
) -> None:
    # One that has just seen it answer: of another, a probe may have failed before, on a busy machine.
    serving.runtime = serving.again()
    eventually(lambda: serving.state() is ReplicaState.READY)
    pids = serving.pids()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        states = [serving.state() for _ in range(3)]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert states == [ReplicaState.READY, ReplicaState.READY, ReplicaState.UNREADY]
    eventually(lambda: serving.state() is ReplicaState.READY)


def test_a_killed_leader_is_started_again_after_a_pause_and_its_orphans_are_killed(stage: Stage) -> None:
    stage.runtime.start(SOUND)
    eventually(lambda: stage.state() is ReplicaState.READY)
    old = stage.replica()
    assert old.pid
    everyone = stage.pids()
    assert len(everyone) > 1

    killed_at = time.time()
    os.kill(old.pid, signal.SIGKILL)
    eventually(lambda: stage.state() is ReplicaState.WAITING)

    def started_again() -> bool:
        stage.runtime.start(SOUND)
        return stage.state() is ReplicaState.STARTING

    eventually(started_again)

    new = stage.replica()
    assert Records(stage.home).wanted()["shop-1/0"].launched_at >= killed_at + 0.5
    assert (new.restarts, new.pid != old.pid) == (1, True)
    assert not everyone & stage.pids()


def test_three_short_lives_are_a_crash_loop_that_tells_its_last_words_and_stop_forgets_it(stage: Stage) -> None:
    def broken() -> bool:
        stage.runtime.start(BROKEN)
        return stage.state() is ReplicaState.BROKEN

    eventually(broken)

    replica = stage.replica()
    assert (replica.restarts, replica.pid, replica.address) == (2, None, "")
    assert "has no locked requirements" in replica.detail
    assert "build it again" in replica.detail
    assert [r.state for r in stage.again().replicas()] == [ReplicaState.BROKEN]  # also for the next control plane

    stage.runtime.stop("shop-2", grace=timedelta(0))
    assert list(stage.runtime.replicas()) == []
    stage.runtime.start(BROKEN)
    assert stage.replica().restarts == 0


def test_a_replica_that_does_not_end_within_its_grace_is_killed_with_its_children(stage: Stage) -> None:
    stage.runtime.start(SOUND)
    eventually(lambda: stage.state() is ReplicaState.READY)
    for pid in stage.pids():
        os.kill(pid, signal.SIGSTOP)  # deaf to SIGTERM

    stage.runtime.stop("shop-1", grace=timedelta(seconds=0.5))
    assert stage.state() is ReplicaState.STOPPING
    assert stage.pids()
    time.sleep(0.5)
    stage.runtime.stop("shop-1", grace=timedelta(seconds=0.5))

    eventually(lambda: not stage.pids())
    assert list(stage.runtime.replicas()) == []


def test_a_replica_that_is_asked_to_end_ends_with_all_its_children(stage: Stage) -> None:
    stage.runtime.start(SOUND)
    eventually(lambda: stage.state() is ReplicaState.READY)

    stage.runtime.stop("shop-1", grace=timedelta(seconds=60))

    eventually(lambda: not stage.pids())


def test_a_log_that_grew_too_long_is_rotated_at_the_next_start(stage: Stage) -> None:
    log = stage.home / "logs/shop-2.0.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * 10_000_000)
    stage.runtime.start(BROKEN)
    assert (stage.home / "logs/shop-2.0.log.1").stat().st_size == 10_000_000
    eventually(lambda: 0 < log.stat().st_size < 10_000)
    assert not [line for line in stage.runtime.logs("shop-2", lines=100) if "xxx" in line]


def test_children_that_outlive_a_stopped_leader_are_seen_and_ended_too(stage: Stage) -> None:
    stage.runtime.start(SOUND)
    eventually(lambda: stage.state() is ReplicaState.READY)
    leader = stage.replica().pid
    assert leader
    os.kill(leader, signal.SIGKILL)

    stage.runtime.stop("shop-1", grace=timedelta(seconds=60))
    eventually(lambda: not stage.runtime.replicas() or stage.state() is ReplicaState.STOPPING)

    def ended() -> bool:
        stage.runtime.stop("shop-1", grace=timedelta(seconds=60))
        return not stage.runtime.replicas()

    eventually(ended)
    assert not stage.pids()


def test_a_replica_that_hangs_is_sick_and_is_ended_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HUNG_S", 1.0)
    stage.runtime.start(SOUND)
    eventually(lambda: stage.state() is ReplicaState.READY)
    stage.runtime = stage.again()  # which never saw it ready: that was taken down
    everyone = stage.pids()
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: stage.replica().sick)
    hung = stage.replica()

    stage.runtime.replace(hung, hung.sick)

    assert (hung.state, hung.sick) == (ReplicaState.UNREADY, "it has not answered for 30 s")
    eventually(lambda: not everyone & stage.pids())

    def back() -> bool:
        stage.runtime.start(SOUND)
        return stage.state() is ReplicaState.READY

    eventually(back)
    assert (stage.replica().restarts, stage.replica().sick) == (1, "")
    said = stage.runtime.logs("shop-1", lines=500)
    assert "0 | noren: it has not answered for 30 s, so another takes its place" in said
    stage.runtime.replace(hung, hung.sick)  # who is gone already
    assert stage.state() is ReplicaState.READY


def test_a_replica_that_takes_more_memory_than_it_may_leaves_when_it_is_told_to(stage: Stage) -> None:
    small = replace(SOUND, resources=Resources(memory_bytes=2**24))
    stage.runtime.start(small)
    eventually(lambda: stage.state() is ReplicaState.READY)
    fat = stage.replica()
    assert "of 16 MiB (resources.memory)" in fat.sick

    stage.runtime.replace(fat, fat.sick)
    assert stage.state() is ReplicaState.STOPPING  # before it is asked to end: the front door has to forget it
    assert fat.pid in stage.pids()
    stage.runtime.start(small)
    assert stage.replica().pid == fat.pid

    def gone() -> bool:
        stage.runtime.replace(fat, fat.sick)
        return not stage.pids()

    eventually(gone)
    assert stage.state() is ReplicaState.WAITING
