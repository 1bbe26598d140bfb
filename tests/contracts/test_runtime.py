"""What every runtime promises, run by each of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noren.control.ports import Replica, ReplicaState, Runtime
from noren.domain.deployment import Revision, Route
from noren.domain.errors import NotFound
from noren.drivers import container_runtime
from noren.machine import Machine
from noren.runtimes.container import KIND as CONTAINER
from noren.runtimes.memory import MemoryRuntime
from noren.runtimes.process import ProcessRuntime
from noren.shutdown import end

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from noren.settings import Settings
    from tests.conftest import Tiny

GRACE = timedelta(seconds=20)


def revision(number: int = 1, replicas: int = 1) -> Revision:
    return Revision(
        deployment="shop",
        number=number,
        bento="tiny:v1",
        replicas=replicas,
        route=Route(prefix="/shop", host="shop.localhost"),
    )


@pytest.fixture(params=["memory", *(pytest.param(name, marks=pytest.mark.e2e) for name in ("process", "container"))])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    if request.param == "memory":
        yield MemoryRuntime()
        return
    tiny: Tiny = request.getfixturevalue("tiny")
    home = tiny.home(tmp_path)
    machine = Machine(home)
    if request.param == "process":
        yield ProcessRuntime(home, machine, tiny.bentoml_home)
    else:
        settings: Settings = request.getfixturevalue("tiny_image")
        containers = container_runtime(settings.model_copy(update={"home": home}), machine, "podman")
        yield containers
        end(machine, CONTAINER)
        containers.shut_down(timedelta(0))
    for process in machine.processes():
        os.kill(process.pid, signal.SIGKILL)


def eventually(claim: Callable[[], bool], within_s: float = 90) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def of(runtime: Runtime, name: str) -> list[Replica]:
    return sorted((r for r in runtime.replicas() if r.revision == name), key=lambda r: r.index)


def ready(runtime: Runtime, name: str) -> bool:
    return all(r.state is ReplicaState.READY for r in of(runtime, name))


def test_replicas_appear_at_once_become_ready_and_a_second_start_changes_nothing(runtime: Runtime) -> None:
    assert list(runtime.replicas()) == []

    runtime.start(revision(replicas=2))
    first = of(runtime, "shop-1")
    assert [r.index for r in first] == [0, 1]
    assert len({r.address for r in first}) == 2
    eventually(lambda: ready(runtime, "shop-1"))
    then = of(runtime, "shop-1")
    assert [(r.index, r.address, r.restarts) for r in then] == [(r.index, r.address, 0) for r in first]

    runtime.start(revision(replicas=2))
    again = of(runtime, "shop-1")
    assert [(r.index, r.pid, r.address, r.restarts) for r in again] == [(r.index, r.pid, r.address, 0) for r in then]
    said = runtime.logs("shop-1", lines=1)
    assert {line.partition(" | ")[0] for line in said} <= {"0", "1"}
    assert len(said) <= 2


def test_replace_ends_this_very_copy_once_and_start_brings_another(runtime: Runtime) -> None:
    runtime.start(revision(replicas=2))
    eventually(lambda: ready(runtime, "shop-1"))
    leaves, stays = of(runtime, "shop-1")

    def replaced() -> bool:
        runtime.replace(leaves, "it leaks")
        runtime.start(revision(replicas=2))
        return of(runtime, "shop-1")[0].restarts == 1 and ready(runtime, "shop-1")

    eventually(replaced)

    comes, other = of(runtime, "shop-1")
    assert comes.identity != leaves.identity
    assert (other.identity, other.address) == (stays.identity, stays.address)
    runtime.replace(leaves, "it leaks")
    assert [r.identity for r in of(runtime, "shop-1")] == [comes.identity, other.identity]
    assert ready(runtime, "shop-1")


def test_stop_ends_one_revision_and_no_other_forgets_it_and_may_be_repeated(runtime: Runtime) -> None:
    runtime.start(revision(1))
    runtime.start(revision(2))

    runtime.stop("shop-1", grace=GRACE)
    runtime.stop("shop-1", grace=GRACE)

    eventually(lambda: not of(runtime, "shop-1"))
    assert [r.index for r in of(runtime, "shop-2")] == [0]
    runtime.stop("shop-1", grace=GRACE)
    runtime.stop("nosuch-1", grace=GRACE)
    assert of(runtime, "shop-1") == []
    assert runtime.logs("shop-1", lines=10) is not None  # what it said can still be read

    runtime.start(revision(1))
    assert [r.restarts for r in of(runtime, "shop-1")] == [0]


def test_logs_of_what_never_ran_here_are_not_found(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match="shop-9 never ran here"):
        runtime.logs("shop-9", lines=10)
