"""The client against the API: the same documents, and the same errors on both sides."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from noren.api import PREFIX
from noren.client import Client
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError, Stale
from noren.manifests.deployment_file import Request, read

if TYPE_CHECKING:
    from tests.api.conftest import Plane


def over(transport: httpx.BaseTransport, url: str = "http://127.0.0.1:7410") -> Client:
    client = Client(url)
    client._http = httpx.Client(base_url=url + PREFIX, transport=transport)
    return client


@pytest.fixture
def client(plane: Plane) -> Client:
    return over(plane.http._transport)


def request(**changes: object) -> Request:
    spec = {"name": "shop", "bento": "shop:v1", "strategy": {"bake": "0s", "step_wait": "0s", "step_requests": 0}}
    return Request.model_validate({"spec": spec | changes})


def test_every_method_reads_what_the_api_answers(plane: Plane, client: Client) -> None:
    assert client.apply(request()).changed
    plane.tick()

    assert client.status().deployments == [client.deployment("shop")]
    assert client.deployment("shop").weights == {"shop-1": 100}
    assert [r.name for r in client.revisions("shop")] == ["shop-1"]
    assert [v.revision for v in client.verdicts("shop")] == ["shop-1"]
    events = client.events("shop")
    assert client.events("shop", after=events[0].id) == events[1:]
    assert client.logs("shop", 1, lines=5) == ["0 | shop-1 started"]
    client.apply(request(bento="shop:v2"))
    rollout = client.command("pause", "shop").rollout
    assert rollout
    assert rollout.paused
    client.command("resume", "shop")
    plane.tick(30)
    assert client.command("rollback", "shop", to=1).name == "shop"
    assert client.delete("shop").live is None


def test_the_file_that_was_read_arrives_as_it_was_meant(plane: Plane, client: Client, tmp_path: Path) -> None:
    (tmp_path / "l.py").write_text("# grüß\n")
    (tmp_path / "shop.yaml").write_text(
        "name: shop\nbento: shop:v1\nenv: {A: 1}\ngates: {load: {locustfile: l.py, warmup: 1500ms}}\n"
        "strategy: {hold_within: 300h, step_wait: 0.5s}\n"
    )
    wanted = read(tmp_path / "shop.yaml")
    client.apply(wanted)
    (stored,) = plane.store.revisions("shop")
    expected = wanted.revision()
    assert (stored.env, stored.gates, stored.strategy) == (expected.env, expected.gates, expected.strategy)
    assert stored.gates.load.locustfile == "# grüß\n"


def test_load_gates_that_are_off_arrive_as_off(plane: Plane, client: Client) -> None:
    client.apply(request(gates={"load": False}))
    assert not plane.store.revisions("shop")[0].gates.load.enabled


@pytest.mark.parametrize("error", [SpecError, NotFound, Conflict, Stale, DriverUnavailable, DriverError])
def test_an_error_there_is_the_same_error_here(
    plane: Plane, client: Client, monkeypatch: pytest.MonkeyPatch, error: type[NorenError]
) -> None:
    def fail() -> None:
        raise error("what is wrong", fix="what to do")

    monkeypatch.setattr(plane.loop, "look", fail)
    with pytest.raises(NorenError) as raised:
        client.status()
    assert isinstance(raised.value, error if error is not Stale else Conflict)
    assert (raised.value.problem, raised.value.fix) == ("what is wrong", "what to do")


def test_a_name_that_would_be_another_address_is_not_found(plane: Plane, client: Client) -> None:
    client.apply(request())
    plane.tick()
    for trick in ("shop/revisions", "../status", "shop?x=", "shop#", "%2e%2e", "a b", "é"):
        with pytest.raises(NotFound):
            client.deployment(trick)
        with pytest.raises(NotFound):
            client.delete(trick)
    assert not plane.store.load("shop").removed


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b"<html>oops</html>"),
        (502, b""),
        (404, b'{"detail": "Not Found"}'),
        (400, b"Invalid host header"),
        (500, b"[]"),
        (302, b""),
    ],
)
def test_an_answer_of_something_else_says_that_it_is_something_else(status: int, content: bytes) -> None:
    stranger = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    with pytest.raises(DriverError, match=f"answered {status}") as raised:
        over(stranger).status()
    assert "something else" in raised.value.fix


@pytest.mark.parametrize("content", [b"<html></html>", b"{}", b"[]", b"null"])
def test_a_success_of_something_else_is_no_traceback(content: bytes) -> None:
    stranger = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    with pytest.raises(DriverError, match="answered 200"):
        over(stranger).status()


def test_without_a_control_plane_the_error_says_how_to_start_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: the connection is refused
        client = Client(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(DriverUnavailable, match="no control plane answers") as raised:
            client.status()
        assert "noren up" in raised.value.fix
        assert not client.running()


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("late"), httpx.RemoteProtocolError("torn")])
def test_a_control_plane_that_stops_in_the_middle_is_unavailable(fault: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise fault

    with pytest.raises(DriverUnavailable, match="did not answer"):
        over(httpx.MockTransport(fail)).status()
