"""What somebody sends who means harm, or whose program is broken: too much, too slowly, something else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient

from noren.api import PREFIX, edge, wire
from noren.api.app import make
from noren.api.problems import MEDIA_TYPE
from noren.domain.commands import Deployment
from noren.stores.sql import SqlStore

if TYPE_CHECKING:
    from tests.api.conftest import Plane

SHOP = '{"spec": {"name": "shop", "bento": "shop:v1", %s}}'


def refused(answer: Any, *statuses: int) -> dict[str, Any]:
    """The problem of an answer with one of the statuses."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert problem["detail"]
    assert problem["fix"]
    assert len(answer.content) < 20_000
    return problem


def put(plane: Plane, body: bytes) -> Any:
    headers = {"content-type": "application/json"}
    return plane.http.put(f"{PREFIX}/deployments/shop", content=body, headers=headers)


BODIES: dict[str, bytes] = {
    "no UTF-8": (SHOP % '"env": {"A": "').encode() + b"\xff\xfe",
    "half a character": (SHOP % r'"env": {"A": "\ud800"}').encode(),
    "half a character in a name": (SHOP % r'"\ud800": 1').encode(),
    "half a character as bytes": (SHOP % '"env": {"A": "?"}').encode().replace(b"?", b"\xed\xa0\x80"),
    "half a character of a metric": (SHOP % r'"gates": {"quality": {"metric": "\udcff"}}').encode(),
    "half a character of a Locust file": rb'{"spec": {"name": "shop", "bento": "shop:v1"}, "locustfile": "\ud800"}',
    "a null byte in a Locust file": rb'{"spec": {"name": "shop", "bento": "shop:v1"}, "locustfile": "a\u0000"}',
    "a null byte in a variable": (SHOP % r'"env": {"A": "a\u0000"}').encode(),
    "a null byte in the name of a variable": (SHOP % r'"env": {"A\u0000": "a"}').encode(),
    "a line break in the name of a variable": (SHOP % r'"env": {"A\n": "a"}').encode(),
    "variables that no process starts with": (SHOP % f'"env": {{"A": "{"x" * 200_000}"}}').encode(),
    "no number": (SHOP % '"slo": {"p95_ms": NaN}').encode(),
    "no end": (SHOP % '"slo": {"p95_ms": 1e999}').encode(),
    "an endless number": (SHOP % f'"replicas": {"9" * 5000}').encode(),
    "a large number": (SHOP % f'"replicas": {"9" * 4000}').encode(),
    "deep lists": b"[" * 100_000,
    "deep mappings": b'{"a":' * 100_000,
    "many mistakes": (SHOP % ", ".join(f'"x{n}": 1' for n in range(50_000))).encode(),
    "a long mistake": (SHOP % f'"{"x" * 1_000_000}": 1').encode(),
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"shop"',
    "YAML": b"spec: {name: shop, bento: shop:v1}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_none_is_refused_and_changes_nothing(plane: Plane, body: bytes) -> None:
    refused(put(plane, body), 400, 422)
    assert plane.store.deployments() == []


def test_a_body_that_is_too_large_is_refused_before_it_is_read(plane: Plane) -> None:
    problem = refused(put(plane, b" " * (edge.MOST_BYTES + 1)), 413)
    assert str(edge.MOST_BYTES) in problem["detail"]
    assert put(plane, (SHOP % '"replicas": 2').encode().ljust(edge.MOST_BYTES)).status_code == 200


TRICKS = (
    *("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "..%5c..%5cetc", "shop%00", "shop%0a", "shop%20"),
    *("%ff%fe", "%c0%ae%c0%ae", "%ed%a0%80", "SHOP", "shop;a=b", "shop*", "[a-z]*", "%5ba-z%5d*"),
    *("~root", "-", "-rf", "1", "shop-", "%F0%9F%8D%B1", "%D0%B0", "a" * 51, "a" * 20_000, "shop%3fx", "$(id)", "`id`"),
)


@pytest.mark.parametrize("name", TRICKS, ids=lambda name: name[:30])
def test_a_name_that_is_a_trick_is_nobodys_name(plane: Plane, name: str) -> None:
    plane.apply()
    plane.tick()
    before = plane.store.deployments()
    body = {"spec": {"name": name, "bento": "shop:v1"}}
    refused(plane.ask("PUT", f"/deployments/{name}", body), 404, 405, 422)
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/abort"), ("GET", "/events"), ("GET", "/verdicts")):
        refused(plane.ask(method, f"/deployments/{name}{rest}"), 404, 405, 422)
    refused(plane.ask("GET", f"/deployments/{name}/revisions/1/logs"), 404, 422)
    assert plane.store.deployments() == before


BENTOS = (
    *("../../x:y", "/etc:passwd", "shop:../../v1", "shop:..", "shop:v1/../..", "shop:v1\n", "shop:v1\0", "..:..", "."),
    *("a" * 300, "shop:" + "v" * 300, "*:*", "shop:*", "~:v1", "-shop:v1", "shop:-v1", "shop:v1:v2", "SHOP:v1"),
    *("\u0449:v1", "shop:v1;id", "shop:$(id)", "s3://bucket/shop:v1", "shop@sha256:0", "shop:%2e%2e"),
)


@pytest.mark.parametrize("bento", BENTOS, ids=lambda bento: ascii(bento)[:30])
def test_a_bento_that_is_a_path_is_no_bento(plane: Plane, tmp_path: Path, bento: str) -> None:
    before = set(tmp_path.rglob("*"))
    refused(plane.ask("PUT", "/deployments/shop", {"spec": {"name": "shop", "bento": bento}}), 422)
    assert plane.store.deployments() == []
    assert set(tmp_path.rglob("*")) == before


ROUTES: tuple[dict[str, str], ...] = (
    *({"prefix": prefix} for prefix in ("/..", "/.", "/a/../b", "//", "/a//b", "/", "/%2e%2e", "/a?b", "/a#b", "/a\n")),
    *({"prefix": prefix} for prefix in ("/" + "a" * 200, "/{name}", "/a\0")),
    *({"host": host} for host in ("a..b", "*", "127.0.0.1:80", "a/b", "a\nb", "A.b", ".", "-a", "é.de", "")),
    {"host": "a" * 254},
)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: ascii(route)[:30])
def test_a_route_that_nobody_could_ask_for_is_refused(plane: Plane, route: dict[str, str]) -> None:
    refused(plane.apply(route=route), 422)
    assert plane.store.deployments() == []


NUMBERS = (
    *("0", "-1", "1e3", "1.5", "%2e%2e", "1%2f..%2f..%2fserver", "*", "9" * 5000, str(2**31)),
    *("%D9%A3", "1%00", "_twin"),
)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number[:20])
def test_a_revision_without_a_number_has_no_log(plane: Plane, number: str) -> None:
    plane.apply()
    plane.tick()
    refused(plane.ask("GET", f"/deployments/shop/revisions/{number}/logs"), 404, 422)


@pytest.mark.parametrize("to", [0, -1, 2**31, 10**400, 1.5, "1e3", "../1", [], {}, True], ids=lambda to: str(to)[:10])
def test_a_rollback_to_no_number_is_refused(plane: Plane, to: object) -> None:
    plane.apply()
    plane.tick()
    refused(plane.ask("POST", "/deployments/shop/rollback", {"to": to}), 409, 422)


def test_an_event_that_no_database_can_count_is_refused_and_the_last_that_it_can_is_not(
    plane: Plane, tmp_path: Path
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'noren.db'}")
    store.save(Deployment(name="shop"))
    http = TestClient(make(replace(plane.parts, store=store)), base_url="http://127.0.0.1:7410")
    events = f"{PREFIX}/deployments/shop/events?after="
    assert http.get(f"{events}{2**63 - 1}").json() == []
    for after in (2**63, -1, 10**400, "9" * 5000, "x", "%00"):
        refused(http.get(f"{events}{after}"), 422)


def test_an_address_that_takes_another_method_says_which(plane: Plane) -> None:
    answer = plane.ask("PATCH", "/status")
    refused(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:7410@evil", "[::1", "*"])
def test_a_call_by_another_name_is_a_problem_too(plane: Plane, host: str) -> None:
    problem = refused(plane.ask("GET", "/status", host=host), 400)
    assert "localhost" in problem["fix"]


# Over a socket: what no well-behaved client library would send


def until(happened: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {within_s} s")
        time.sleep(0.01)


class Port:
    """The control plane's own port, as uvicorn serves it."""

    def __init__(self, plane: Plane) -> None:
        config = uvicorn.Config(make(plane.parts), host="127.0.0.1", port=0, **wire.OPTIONS)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.open: list[socket.socket] = []

    @property
    def number(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def send(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.number), timeout=20)
        self.open.append(connection)
        connection.sendall(data)
        return connection

    def see_that_it_answers(self) -> None:
        """Another client, sooner or later: where patience is short, one may be too slow on a busy machine."""
        until(self._answers, "it answers")

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.number}/livez", trust_env=False).status_code == 200
        return False


@pytest.fixture
def port(plane: Plane) -> Iterator[Port]:
    made = Port(plane)
    made.thread.start()
    until(lambda: made.server.started, "the server starts")
    yield made
    for connection in made.open:
        connection.close()
    made.server.should_exit = True
    made.thread.join(timeout=20)
    assert not made.thread.is_alive()


def ended(connection: socket.socket) -> bool:
    """Whether the other side has ended it; waits for what it says, at most the time limit of the socket."""
    try:
        return connection.recv(65_536) == b""
    except ConnectionError:
        return True


def told(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the problem of the answer, after which the connection has ended."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65_536):
            said += more
    head, _, body = said.partition(b"\r\n\r\n")
    assert MEDIA_TYPE.encode() in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["fix"]
    return int(head.split()[1]), problem


HEAD = b"PUT /noren/v1/deployments/shop HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET /livez", HEAD + b"x: "], ids=["nothing", "a line", "a head"])
def test_a_head_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, port: Port, begun: bytes) -> None:
    monkeypatch.setattr(wire, "CLIENT_WITHIN_S", 0.1)
    slow = [port.send(begun) for _ in range(3)]
    port.see_that_it_answers()
    assert all(ended(connection) for connection in slow)


def test_a_head_that_comes_drop_by_drop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(wire, "CLIENT_WITHIN_S", 0.5)
    connection = port.send(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    connection.sendall(b"GET /livez HTTP/1.1\r\nx: ")

    def refused_a_drop() -> bool:
        try:
            connection.sendall(b"x")
        except ConnectionError:
            return True
        return False

    until(refused_a_drop, "the connection ends")
    port.see_that_it_answers()


def test_who_asks_now_and_then_is_let_be(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(wire, "CLIENT_WITHIN_S", 1.5)
    client = HTTPConnection("127.0.0.1", port.number, timeout=20)
    client.connect()
    first = client.sock
    for _ in range(12):  # more than two looks
        client.request("GET", "/livez")
        assert client.getresponse().read()
        time.sleep(0.3)
    assert client.sock is first
    client.close()


def test_who_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(wire, "CLIENT_WITHIN_S", 0.2)
    # More answers than the buffers of both sides hold.
    port.send(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 1000)
    until(lambda: bool(port.server.server_state.connections), "the connection begins")
    until(lambda: not port.server.server_state.connections, "the connection ends")
    port.see_that_it_answers()


def test_of_too_many_connections_those_that_wait_longest_go(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(wire, "MOST_CONNECTIONS", 5)
    slow = [port.send(b"GET /livez HTTP/1.1\r\n") for _ in range(30)]
    port.see_that_it_answers()
    assert all(ended(connection) for connection in slow[:20])
    until(lambda: len(port.server.server_state.connections) <= 5, "the others are gone")
    port.see_that_it_answers()


def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(edge, "BODY_WITHIN_S", 0.1)
    slow = [port.send(HEAD + b"content-length: 100\r\n\r\n{") for _ in range(3)]
    port.see_that_it_answers()
    assert [told(connection)[0] for connection in slow] == [408, 408, 408]


@pytest.mark.parametrize(
    "sent",
    [b"content-length: 1000000000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n"],
    ids=["declared", "chunked"],
)
def test_a_body_without_an_end_is_refused_as_soon_as_it_is_known(
    monkeypatch: pytest.MonkeyPatch, port: Port, sent: bytes
) -> None:
    monkeypatch.setattr(edge, "MOST_BYTES", 1000)
    assert told(port.send(HEAD + sent))[0] == 413
    port.see_that_it_answers()


LONG_HEAD = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n"
LONG = wire.HEAD_BYTES + 50  # no more: an answer is lost where a connection is closed over what nobody has read


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        (LONG_HEAD + b"x: ").ljust(LONG, b"x"),
        (LONG_HEAD + b"x: y\r\n" * 20_000)[:LONG],
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
    ],
    ids=["TLS", "HTTP/0.9", "bytes", "a long header", "many headers", "a negative length", "two lengths"],
)
def test_what_is_no_request_is_told_so(port: Port, data: bytes) -> None:
    assert told(port.send(data))[0] == 400
    port.see_that_it_answers()


def test_a_client_that_hangs_on_does_not_keep_the_control_plane_from_ending(
    monkeypatch: pytest.MonkeyPatch, port: Port
) -> None:
    monkeypatch.setattr(edge, "BODY_WITHIN_S", 0.5)
    port.send(b"GET /livez")
    port.send(HEAD + b"content-length: 100\r\n\r\n{")
    port.see_that_it_answers()
    port.server.should_exit = True
    port.thread.join(timeout=20)
    assert not port.thread.is_alive()
