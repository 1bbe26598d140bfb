"""How replicas are, by how they answer and how they answered before, whoever asked then."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from noren.control.ports import ReplicaState
from noren.machine import Machine
from noren.runtimes.container import ContainerRuntime
from noren.runtimes.engine import Container
from noren.runtimes.leaving import Leaving
from noren.runtimes.probes import HUNG, Probes
from noren.runtimes.record import Records


@pytest.fixture
def well() -> Iterator[str]:
    """The address of one that is ready."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of one that listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def records(tmp_path: Path) -> Records:
    made = Records(tmp_path)
    made.begin("shop-1/0")
    return made


def state(probes: Probes, records: Records, address: str, leaving: Leaving | None = None) -> ReplicaState:
    running = {"41": ("shop-1/0", address)}
    return probes.states(running, records, records.wanted(), leaving or Leaving())["41"]


def impatient() -> Probes:
    probes = Probes()
    probes._http.timeout = 0.02
    return probes


def test_who_was_ready_once_is_known_to_hang_also_by_who_never_saw_it_ready(
    records: Records, well: str, silent: str
) -> None:
    assert state(Probes(), records, well) is ReplicaState.READY

    later = impatient()
    states = [state(later, records, silent) for _ in range(3)]

    assert states == [ReplicaState.READY, ReplicaState.READY, ReplicaState.UNREADY]
    assert later.hung(0) == {"41"}


def test_who_was_never_ready_is_starting_for_as_long_as_it_takes(records: Records, silent: str) -> None:
    probes = impatient()
    assert {state(probes, records, silent) for _ in range(4)} == {ReplicaState.STARTING}
    assert probes.hung(0) == set()


def test_a_later_life_of_one_that_was_ready_is_starting(records: Records, well: str, silent: str) -> None:
    state(Probes(), records, well)
    (record,) = records.wanted().values()
    records._write("shop-1/0", type(record)(launches=record.launches + 1, served=record.served))
    assert state(impatient(), records, silent) is ReplicaState.STARTING


def test_who_leaves_or_is_not_wanted_stops_however_it_answers(records: Records, well: str) -> None:
    leaving = Leaving()
    leaving.begin("41", "too big")
    assert state(Probes(), records, well, leaving) is ReplicaState.STOPPING
    records.forget("shop-1")
    assert state(Probes(), records, well) is ReplicaState.STOPPING


def test_a_container_that_hangs_is_sick_also_for_a_control_plane_that_was_started_afterwards(
    tmp_path: Path,
    records: Records,
    well: str,
    silent: str,
    container: Callable[..., Container],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def runtime(address: str, probes: Probes) -> ContainerRuntime:
        made = ContainerRuntime(tmp_path, Machine(tmp_path), "podman", tmp_path, lambda _: pytest.fail("no image"))
        made._probes = probes
        runs = container(address=address)
        monkeypatch.setattr(made.engine, "containers", lambda: [runs])
        return made

    monkeypatch.setattr("noren.runtimes.container.HUNG_S", 0.0)
    assert [replica.state for replica in runtime(well, Probes()).replicas()] == [ReplicaState.READY]

    again = runtime(silent, impatient())
    for _ in range(3):
        (hung,) = again.replicas()

    assert (hung.state, hung.sick) == (ReplicaState.UNREADY, HUNG)
