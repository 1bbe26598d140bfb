"""Replicas as real containers: held to their limits, found again by their labels, restarted, given up, and ended."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from noren.control.ports import Replica, ReplicaState
from noren.domain.deployment import Resources, Revision, Route, Server
from noren.drivers import container_runtime
from noren.machine import Machine
from noren.runtimes.container import KIND, ContainerRuntime, Image
from noren.runtimes.engine import Container
from noren.runtimes.record import Records
from noren.shutdown import end

if TYPE_CHECKING:
    from noren.settings import Settings

pytestmark = pytest.mark.e2e

SOUND = Revision(
    deployment="shop",
    number=1,
    bento="tiny:v1",
    env={"GREETING": "geheim grüß dich"},
    resources=Resources(cpu=1.5, memory_bytes=2**29),
    route=Route(prefix="/shop", host="shop.localhost"),
)
BROKEN = Revision(deployment="shop", number=2, bento="tiny:broken", route=SOUND.route)


def eventually(claim: Callable[[], object], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


class Stage:
    """A home with its runtime; `again` is the runtime after a restart of the control plane."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.settings = settings.model_copy(update={"home": self.home})
        self.runtime = self.again()

    def again(self) -> ContainerRuntime:
        return container_runtime(self.settings, Machine(self.home), "podman")

    def replica(self) -> Replica:
        (found,) = self.runtime.replicas()
        return found

    def state(self) -> ReplicaState:
        return self.replica().state

    def start(self, revision: Revision = SOUND) -> None:
        self.runtime.start(revision)
        eventually(lambda: self.state() is ReplicaState.READY)

    def container(self) -> Container:
        (found,) = self.runtime.engine.containers()
        return found

    def inspect(self) -> Any:
        said = subprocess.run(["podman", "inspect", self.container().id], capture_output=True, check=True).stdout
        return json.loads(said)[0]

    def close(self) -> None:
        machine = Machine(self.home)
        end(machine, KIND)
        self.runtime.shut_down(timedelta(0))
        assert machine.processes() == []


@pytest.fixture
def stage(tiny_image: Settings, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tiny_image, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving(tiny_image: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One replica that is ready, started by a control plane with a secret in its environment."""
    made = Stage(tiny_image, tmp_path_factory.mktemp("serving"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", "auch geheim")
        made.start()
    yield made
    made.close()


def test_a_new_control_plane_finds_the_replicas_of_the_old_one(serving: Stage) -> None:
    before = serving.replica()

    runtime = serving.again()
    (found,) = runtime.replicas()
    runtime.start(SOUND)

    assert dataclasses.replace(found, memory_bytes=0) == dataclasses.replace(before, memory_bytes=0)
    assert [r.pid for r in runtime.replicas()] == [before.pid]
    assert serving.container().address == before.address


def test_another_home_has_nothing_to_do_with_it(serving: Stage, stage: Stage) -> None:
    assert serving.runtime.replicas()
    assert list(stage.runtime.replicas()) == []
    assert stage.runtime.shut_down(timedelta(0)) == 0
    assert serving.runtime.replicas()


def test_a_replica_answers_at_its_address_and_uses_memory(serving: Stage) -> None:
    replica = serving.replica()
    answer = httpx.post(f"http://{replica.address}/say", json={"text": "good"}, timeout=60, trust_env=False)
    assert answer.text == "good"
    assert replica.address.startswith("127.0.0.1:")
    assert replica.memory_bytes > 10_000_000
    assert any("noren: starting noren-" in line for line in serving.runtime.logs("shop-1", lines=100))


def test_a_container_may_next_to_nothing_and_is_held_to_its_resources(serving: Stage) -> None:
    inspected = serving.inspect()
    host = inspected["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert (inspected["EffectiveCaps"] or [], host["SecurityOpt"]) == ([], ["no-new-privileges"])
    assert (host["Memory"], host["NanoCpus"]) == (2**29, 1_500_000_000)
    assert [port["HostIp"] for port in host["PortBindings"]["3000/tcp"]] == ["127.0.0.1"]
    status = Path(f"/proc/{serving.replica().pid}/status").read_text().splitlines()
    assert "Uid:\t65532\t65532\t65532\t65532" in status
    assert "CapEff:\t0000000000000000" in status


def test_the_environment_of_the_deployment_arrives_and_no_secret_is_in_a_command_a_file_or_a_log(
    serving: Stage,
) -> None:
    inspected = serving.inspect()
    environment = inspected["Config"]["Env"]
    assert "GREETING=geheim grüß dich" in environment
    assert "auch geheim" not in str(environment)
    assert "geheim" not in str(inspected["Config"]["CreateCommand"])
    for file in serving.home.rglob("*"):
        assert file.is_dir() or b"geheim" not in file.read_bytes()


def test_a_replica_that_stops_answering_is_unready_after_three_probes_and_ready_when_it_answers(
    serving: Stage,
) -> None:
    # One that has just seen it answer: of another, a probe may have failed before, on a busy machine.
    serving.runtime = serving.again()
    eventually(lambda: serving.state() is ReplicaState.READY)
    container = serving.container().id
    try:
        subprocess.run(["podman", "pause", container], check=True, capture_output=True)
        states = [serving.state() for _ in range(3)]
    finally:
        subprocess.run(["podman", "unpause", container], check=True, capture_output=True)
    assert states == [ReplicaState.READY, ReplicaState.READY, ReplicaState.UNREADY]
    eventually(lambda: serving.state() is ReplicaState.READY)


def test_a_killed_container_is_started_again_after_a_pause_and_its_last_words_are_kept(stage: Stage) -> None:
    stage.start(dataclasses.replace(SOUND, server=Server.BENTOML))
    old = stage.replica()
    killed_at = time.time()
    stage.runtime.engine.signal(signal.SIGKILL, [stage.container().id])
    eventually(lambda: stage.state() is ReplicaState.WAITING)
    assert stage.runtime.engine.containers() == []
    assert any("Starting production HTTP BentoServer" in line for line in stage.runtime.logs("shop-1", lines=100))

    def started_again() -> bool:
        stage.runtime.start(SOUND)
        return stage.state() is ReplicaState.READY

    eventually(started_again)
    new = stage.replica()
    assert Records(stage.home).wanted()["shop-1/0"].launched_at >= killed_at + 0.5
    assert (new.restarts, new.pid != old.pid) == (1, True)


def test_an_image_that_cannot_be_built_is_a_crash_loop_that_says_why(stage: Stage) -> None:
    def broken() -> bool:
        stage.runtime.start(BROKEN)
        return stage.state() is ReplicaState.BROKEN

    eventually(broken)

    replica = stage.replica()
    assert (replica.restarts, replica.pid, replica.address) == (2, None, "")
    assert "tiny:broken" in replica.detail
    assert [r.state for r in stage.again().replicas()] == [ReplicaState.BROKEN]

    stage.runtime.stop("shop-2", grace=timedelta(0))
    assert list(stage.runtime.replicas()) == []


def test_a_build_that_is_not_wanted_any_more_ends_with_all_that_it_started(stage: Stage) -> None:
    stage.runtime.image = lambda _: Image(
        name="localhost/noren/nosuch:v1", build=["sh", "-c", "sleep 1001 & sleep 1001"]
    )
    stage.runtime.start(SOUND)
    eventually(lambda: len(Machine(stage.home).processes(KIND)) > 2)
    assert stage.state() is ReplicaState.STARTING

    stage.runtime.stop("shop-1", grace=timedelta(seconds=60))

    eventually(lambda: not stage.runtime.replicas())
    assert Machine(stage.home).processes() == []


def test_a_replica_whose_variables_no_engine_takes_is_given_up_with_the_reason(stage: Stage) -> None:
    revision = dataclasses.replace(SOUND, env={"KEY": "geheim\nzwei"})

    def broken() -> bool:
        stage.runtime.start(revision)
        return stage.state() is ReplicaState.BROKEN

    eventually(broken)
    assert "the value of the variable KEY has a line break" in stage.replica().detail
    assert "geheim" not in stage.replica().detail


def test_a_container_that_takes_too_much_memory_says_so(stage: Stage) -> None:
    small = dataclasses.replace(SOUND, resources=Resources(memory_bytes=2**24))

    def said() -> bool:
        stage.runtime.start(small)
        return "16Mi of resources.memory may be too little" in stage.replica().detail

    eventually(said)
    assert stage.state() in (ReplicaState.WAITING, ReplicaState.BROKEN)


def test_a_replica_that_does_not_end_within_its_grace_is_killed(stage: Stage) -> None:
    stage.start()
    pid = stage.container().pid
    assert pid
    os.kill(pid, signal.SIGSTOP)  # deaf to SIGTERM

    stage.runtime.stop("shop-1", grace=timedelta(seconds=0.5))
    assert stage.state() is ReplicaState.STOPPING
    time.sleep(0.5)
    stage.runtime.stop("shop-1", grace=timedelta(seconds=0.5))

    eventually(lambda: not stage.runtime.replicas())
    assert stage.runtime.engine.containers() == []


def test_a_replica_that_is_stopped_while_it_is_launched_does_not_come_up(stage: Stage) -> None:
    stage.runtime.start(SOUND)
    stage.runtime.stop("shop-1", grace=timedelta(seconds=10))

    def ended() -> bool:
        stage.runtime.stop("shop-1", grace=timedelta(seconds=10))
        return not stage.runtime.replicas()

    eventually(ended)
    time.sleep(1)
    assert list(stage.runtime.replicas()) == []
