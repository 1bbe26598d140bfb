"""What every front door promises, run by each of them."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from noren.control.ports import DoorView, FrontDoor, Table
from noren.domain.deployment import Route
from noren.domain.errors import DriverUnavailable
from noren.domain.observation import Weights
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.frontdoors.memory import MemoryFrontDoor
from noren.machine import Machine, free_port


class MemoryStage:
    """Addresses are only names here."""

    def __init__(self, tmp_path: Path) -> None:
        self.memory = MemoryFrontDoor()
        self.door: FrontDoor = self.memory
        self._opened = 0

    def replica(self) -> str:
        self._opened += 1
        return f"127.0.0.1:{self._opened}"

    def sicken(self, address: str) -> None:
        self.memory.sick.add(address)

    def heal(self, address: str) -> None:
        self.memory.sick.discard(address)

    def close(self) -> None:
        pass


class EnvoyStage:
    """A real Envoy, before servers that only answer /readyz."""

    def __init__(self, tmp_path: Path) -> None:
        self._machine = Machine(tmp_path)
        self.door: FrontDoor = EnvoyFrontDoor(tmp_path, self._machine, port=free_port(), admin_port=free_port())
        self._servers: list[ThreadingHTTPServer] = []
        self._sick: set[str] = set()

    def replica(self) -> str:
        sick = self._sick

        class Ready(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(503 if f"127.0.0.1:{port}" in sick else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
        port = server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self._servers.append(server)
        return f"127.0.0.1:{port}"

    def sicken(self, address: str) -> None:
        self._sick.add(address)

    def heal(self, address: str) -> None:
        self._sick.discard(address)

    def close(self) -> None:
        self._machine.signal("envoy", "front-door", signal.SIGKILL, all_of_it=True)
        for server in self._servers:
            server.shutdown()
            server.server_close()


Stage = MemoryStage | EnvoyStage


@pytest.fixture(scope="module", params=[MemoryStage, pytest.param(EnvoyStage, marks=pytest.mark.e2e)])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    built: Stage = request.param(tmp_path_factory.mktemp("home"))
    yield built
    built.close()


def table(name: str, *, backends: dict[str, tuple[str, ...]] | None = None, weights: Weights | None = None) -> Table:
    route = Route(prefix=f"/{name}", host=f"{name}.localhost")
    return Table(deployment=name, route=route, backends=backends or {}, weights=weights or {})


def seen(door: FrontDoor, claim: Callable[[DoorView], bool]) -> DoorView:
    """What it says once the claim holds; a real front door may take a moment."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(DriverUnavailable):
            view = door.look()
            if claim(view):
                return view
            assert time.monotonic() < deadline, f"never came true; at last: {view}"
        time.sleep(0.02)


def test_published_weights_come_into_force(stage: Stage) -> None:
    stage.door.publish(table("a", weights={"a-1": 90, "a-2": 10}))

    seen(stage.door, lambda view: view.weights.get("a") == {"a-1": 90, "a-2": 10})


def test_a_later_table_takes_the_place_of_the_earlier(stage: Stage) -> None:
    stage.door.publish(table("b", weights={"b-1": 100}))
    stage.door.publish(table("b", weights={"b-2": 100}))

    seen(stage.door, lambda view: view.weights.get("b") == {"b-2": 100})


def test_revisions_without_traffic_are_absent_from_the_weights(stage: Stage) -> None:
    stage.door.publish(table("c", backends={"c-2": (stage.replica(),)}, weights={"c-1": 100, "c-2": 0}))

    seen(stage.door, lambda view: view.weights.get("c") == {"c-1": 100})


def test_a_deployment_without_weights_is_known_and_has_none(stage: Stage) -> None:
    stage.door.publish(table("d", backends={"d-1": (stage.replica(),)}))

    seen(stage.door, lambda view: view.weights.get("d") == {})


def test_deployments_do_not_disturb_each_other(stage: Stage) -> None:
    stage.door.publish(table("e", weights={"e-1": 100}))
    stage.door.publish(table("f", weights={"f-1": 100}))
    stage.door.withdraw("f")

    seen(stage.door, lambda view: view.weights.get("e") == {"e-1": 100} and "f" not in view.weights)


def test_a_withdrawal_may_be_repeated(stage: Stage) -> None:
    stage.door.publish(table("g", backends={"g-1": (stage.replica(),)}, weights={"g-1": 100}))
    stage.door.withdraw("g")
    stage.door.withdraw("g")
    stage.door.withdraw("never-published")

    seen(stage.door, lambda view: "g" not in view.weights and not view.healthy.get("g-1"))


def test_the_same_table_again_changes_nothing(stage: Stage) -> None:
    wanted = table("h", backends={"h-1": (stage.replica(),)}, weights={"h-1": 100})
    stage.door.publish(wanted)
    before = seen(stage.door, lambda view: view.healthy.get("h-1") == 1)
    stage.door.publish(wanted)

    after = seen(stage.door, lambda view: True)  # a busy door may not answer the first time
    assert after.weights["h"] == before.weights["h"]
    assert after.healthy["h-1"] == 1


def test_replicas_that_answer_are_counted_as_healthy(stage: Stage) -> None:
    well, ill = stage.replica(), stage.replica()
    stage.sicken(ill)
    stage.door.publish(table("i", backends={"i-1": (well, ill)}))

    seen(stage.door, lambda view: view.healthy.get("i-1") == 1)


def test_health_is_followed_also_without_traffic(stage: Stage) -> None:
    address = stage.replica()
    stage.door.publish(table("j", backends={"j-1": (address,)}))
    seen(stage.door, lambda view: view.healthy.get("j-1") == 1)

    stage.sicken(address)
    seen(stage.door, lambda view: view.healthy.get("j-1") == 0)
    stage.heal(address)
    seen(stage.door, lambda view: view.healthy.get("j-1") == 1)


def test_nothing_is_in_flight_or_counted_where_nobody_asked(stage: Stage) -> None:
    stage.door.publish(table("k", backends={"k-1": (stage.replica(),)}, weights={"k-1": 100}))
    view = seen(stage.door, lambda view: view.healthy.get("k-1") == 1)

    assert not view.in_flight.get("k-1")
    assert "k-1" not in view.counts or view.counts["k-1"].requests == 0
