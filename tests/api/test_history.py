"""The history and the pruning by address: who is believed to have asked, what is found, and how it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from noren.api import PREFIX
from noren.client import Client, os_user
from noren.control.ports import Leftover, LeftoverKind
from noren.domain.errors import NotFound, SpecError
from noren.manifests.deployment_file import Request

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.api.conftest import Plane

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def client(plane: Plane) -> Client:
    client = Client("http://127.0.0.1:7410")
    client._http = httpx.Client(base_url=client.url + PREFIX, transport=plane.http._transport)
    return client


def request(bento: str = "shop:v1") -> Request:
    strategy = {"bake": "0s", "step_wait": "1h", "step_requests": 0}
    return Request.model_validate({"spec": {"name": "shop", "bento": bento, "strategy": strategy}})


def history(plane: Plane, **asked: object) -> list[dict[str, Any]]:
    answer = plane.http.get(PREFIX + "/history", params={name: str(value) for name, value in asked.items()})
    assert answer.status_code == 200, answer.text
    lines: list[dict[str, Any]] = answer.json()
    return lines


@pytest.mark.parametrize(
    ("claimed", "who"),
    [
        ("ada", "ada"),
        ("j%C3%BCrgen%20m", "jürgen m"),
        ("", "anonymous"),
        ("%0A%00%1B[31m", "[31m"),  # neither a new line nor a colour
        ("x" * 200, "x" * 100),
        ("%FF%FE", "\ufffd\ufffd"),
    ],
)
def test_who_asks_is_what_the_header_says(plane: Plane, claimed: str, who: str) -> None:
    plane.apply()
    plane.ask("POST", "/deployments/shop/pause?reason=gr%C3%BC%C3%9F%0Adich", None, **{"x-noren-user": claimed})
    line = history(plane)[-1]
    assert (line["kind"], line["who"], line["claimed"], line["reason"]) == ("pause", who, True, "grüß dich")


def test_the_client_says_who_runs_it_and_why(plane: Plane, client: Client) -> None:
    client.apply(request(), reason="first")
    plane.tick()
    client.apply(request("shop:v2"), reason="a & b = 100 %?")
    plane.tick()
    for verb in ("pause", "resume"):
        client.command(verb, "shop", reason=verb)
    client.command("promote", "shop", emergency=True, reason="blue is down")
    client.command("abort", "shop", reason="wrong one")
    client.delete("shop", reason="no more")

    lines = [line for line in client.history("shop", limit=1000) if line.who]
    assert {line.who for line in lines} == {os_user()}
    assert [(line.kind, line.reason) for line in lines] == [
        ("apply", "first"),
        ("apply", "a & b = 100 %?"),
        ("pause", "pause"),
        ("resume", "resume"),
        ("promote", "blue is down"),
        ("abort", "wrong one"),
        ("remove", "no more"),
    ]
    assert lines[1].after["rollout"] == "shop-2"


def test_an_emergency_is_in_the_status_and_needs_a_reason(plane: Plane, client: Client) -> None:
    client.apply(request())
    plane.tick()
    with pytest.raises(SpecError, match="an emergency needs a reason"):
        client.apply(request("shop:v2"), emergency=True)
    client.apply(request("shop:v2"), emergency=True, reason="blue is down")
    rollout = client.deployment("shop").rollout
    assert rollout
    assert rollout.emergency


def test_what_is_live_and_applied_again_calls_the_rollout_off(plane: Plane, client: Client) -> None:
    client.apply(request())
    plane.tick()
    client.apply(request("shop:v2"))
    applied = client.apply(request())
    assert (applied.changed, applied.called_off, applied.revision.name) == (True, "shop-2", "shop-1")


def test_history_is_asked_for_by_name_time_and_number(plane: Plane, client: Client) -> None:
    plane.apply("shop:v1")
    plane.apply("other:v1")
    assert [line["deployment"] for line in history(plane)] == ["shop", "other"]
    assert [line["deployment"] for line in history(plane, name="other")] == ["other"]
    assert [line["deployment"] for line in history(plane, limit=1)] == ["other"]
    assert history(plane, since="2026-01-01T12:00:01") == []
    assert len(history(plane, since="2026-01-01T21:00:00+09:00")) == 2
    assert client.history(since=NOON) == client.history() != []


def test_history_of_a_deleted_deployment_is_still_there_and_of_one_that_never_was_is_not(
    plane: Plane, client: Client
) -> None:
    client.apply(request())
    plane.tick()
    client.delete("shop")
    plane.tick()
    assert client.history("shop")[-1].message == "shop: nothing of it is left"
    with pytest.raises(NotFound, match="nothing is known of a deployment named 'nosuch'"):
        client.history("nosuch")


@pytest.mark.parametrize(
    "path",
    [
        "/history?limit=0",
        "/history?limit=1001",
        "/history?since=yesterday",
        "/history?since=0001-01-01T00:00:00%2B14:00",
        "/history?name=../x",
        "/history?name=%00",
    ],
)
def test_a_wrong_question_is_refused(plane: Plane, path: str) -> None:
    answer = plane.ask("GET", path)
    assert (answer.status_code, answer.json()["title"]) == (422, "SpecError")


def test_a_reason_without_end_is_refused_and_nothing_is_done(plane: Plane) -> None:
    plane.apply()
    answer = plane.ask("POST", f"/deployments/shop/pause?reason={'x' * 1001}")
    assert answer.status_code == 422
    assert [line["kind"] for line in history(plane)] == ["apply"]


def test_prune_tells_what_it_removed_and_a_dry_run_what_it_would(plane: Plane, client: Client) -> None:
    old = datetime(2025, 1, 1, tzinfo=UTC)
    plane.attic.things = [
        Leftover(kind=LeftoverKind.LOG, name="gone-1.0.log", used_at=old, users=frozenset({"gone-1"})),
        Leftover(kind=LeftoverKind.LOG, name="gone-2.0.log", used_at=NOON, users=frozenset({"gone-2"})),
    ]
    (would,) = client.prune(dry_run=True)
    assert (would.kind, would.name, would.users, would.size_bytes) == ("log", "gone-1.0.log", ["gone-1"], 1000)
    assert len(plane.attic.things) == 2
    assert client.prune(reason="the disk is full") == [would]
    assert client.prune(bentos=True) == []
    assert [one.name for one in plane.attic.things] == ["gone-2.0.log"]
    (line,) = client.history()
    assert (line.kind, line.deployment, line.who, line.reason) == ("prune", "", os_user(), "the disk is full")
