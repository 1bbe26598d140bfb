"""A real Envoy before tiny real servers."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from noren.control.ports import DoorView, Table
from noren.domain.deployment import Route
from noren.domain.errors import DriverUnavailable
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.machine import Machine, free_port


class Replica:
    """Answers /readyz, /slow (once released), /fail (500), and everything else with its name and the path.

    While it is `failing` every answer but that to /readyz is a 500; while it is not `awake` nobody gets an answer. As
    many requests for /cut as there are `cuts` are answered by the end of the connection.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.released = threading.Event()
        self.failing = False
        self.awake = threading.Event()
        self.awake.set()
        self.cuts: list[object] = []
        self._connections: list[socket.socket] = []
        replica = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def setup(self) -> None:
                super().setup()
                replica._connections.append(self.connection)

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                replica.awake.wait(30)  # less than the client waits
                if self.path == "/slow":
                    replica.released.wait(30)
                if self.path == "/cut" and replica.cuts:
                    replica.cuts.pop()
                    self.close_connection = True
                    return  # without a word
                fails = self.path == "/fail" or (replica.failing and self.path != "/readyz")
                body = json.dumps({"name": replica.name, "path": self.path}).encode()
                self.send_response(500 if fails else 200)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-noren-revision", "a lie")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 — as http.server calls it

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        loop = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        loop.start()

    def close(self) -> None:
        """Like the end of its process: the open connections end too."""
        self.released.set()
        self.awake.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class House:
    """One home folder with its Envoy, the deployment `shop`, and replicas."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.machine = Machine(home)
        self.port, self.admin_port = free_port(), free_port()
        self.door = self.new_door()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)
        self._replicas: list[Replica] = []

    def new_door(self, **changes: Any) -> EnvoyFrontDoor:
        ports = {"port": self.port, "admin_port": self.admin_port, **changes}
        return EnvoyFrontDoor(self.home, self.machine, **ports)

    def replica(self, name: str) -> Replica:
        self._replicas.append(Replica(name))
        return self._replicas[-1]

    def publish(self, weights: dict[str, int], *replicas: Replica, **fields: Any) -> None:
        backends: dict[str, list[str]] = {}
        for replica in replicas:
            backends.setdefault(replica.name, []).append(replica.address)
        route = Route(prefix="/shop", host="shop.localhost")
        self.door.publish(Table(deployment="shop", route=route, backends=backends, weights=weights, **fields))

    def seen(self, claim: Callable[[DoorView], bool]) -> DoorView:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(DriverUnavailable):
                view = self.door.look()
                if claim(view):
                    return view
                assert time.monotonic() < deadline, f"never came true; at last: {view}"
            time.sleep(0.02)

    def serve(self, weights: dict[str, int], *replicas: Replica, **fields: Any) -> DoorView:
        """Publish, and wait until it is in force and every replica is healthy."""
        self.publish(weights, *replicas, **fields)
        names = [replica.name for replica in replicas]
        return self.seen(
            lambda view: (
                view.weights.get("shop") == weights
                and all(view.healthy.get(name) == names.count(name) for name in names)
            )
        )

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={key.replace("_", "-"): value for key, value in headers.items()})

    def envoys(self) -> list[int]:
        """Pids of the Envoys themselves, and not of the shells that keep them; the newest last."""
        found = [p for p in self.machine.processes("envoy", "front-door") if not p.leads]
        return [p.pid for p in sorted(found, key=lambda p: int(p.env["NOREN_FRONT_DOOR_GENERATION"]))]

    def envoy_pid(self) -> int:
        (envoy,) = self.envoys()
        return envoy

    def close(self) -> None:
        self.machine.signal("envoy", "front-door", signal.SIGCONT, all_of_it=True)
        self.machine.signal("envoy", "front-door", signal.SIGKILL, all_of_it=True)
        self.client.close()
        for replica in self._replicas:
            replica.close()
        while self.machine.processes("envoy"):
            time.sleep(0.01)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.close()
