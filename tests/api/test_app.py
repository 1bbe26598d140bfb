"""Every address of the API: what it answers, and how it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from noren import __version__
from noren.api.app import make
from noren.control.ports import DoorView
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError, Stale
from noren.domain.observation import Counts
from noren.domain.verdict import Check, Outcome, Verdict

if TYPE_CHECKING:
    from tests.api.conftest import Plane

COMMANDS = ("promote", "abort", "pause", "resume", "rollback")


def refusal(answer: Any, status: int, title: str) -> dict[str, Any]:
    """The problem, after a look at its shape (RFC 9457)."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "fix"}
    assert (problem["type"], problem["title"], problem["status"]) == (f"noren:{title}", title, status)
    assert problem["detail"]
    assert problem["fix"]
    return problem


def test_livez_says_whose_control_plane_it_is(plane: Plane) -> None:
    answer = plane.http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "home": "/srv/noren"})


def test_status_says_which_control_plane_acts(plane: Plane) -> None:
    alone = plane.ask("GET", "/status").json()
    assert (alone["leads"], alone["leader"]) == (True, "")
    plane.http = TestClient(
        make(replace(plane.parts, leads=lambda: False, leader=lambda: "b:7411")), "http://127.0.0.1:7410"
    )
    beside = plane.ask("GET", "/status").json()
    assert (beside["leads"], beside["leader"]) == (False, "b:7411")


def test_an_apply_is_answered_with_the_revision_and_again_with_no_change(plane: Plane) -> None:
    first, again = plane.apply(replicas=2, env={"B": 1, "A": "x"}), plane.apply(replicas=2, env={"B": 1, "A": "x"})

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == {
        "changed": True,
        "deployment": "shop",
        "revision": {
            "name": "shop-1",
            "number": 1,
            "bento": "shop:v1",
            "replicas": 2,
            "workers": 1,
            "server": "noren",
            "resources": {"cpu": None, "memory_bytes": None},
            "env": ["A", "B"],
            "steps": [10, 50, 100],
            "promoted": False,
        },
        "called_off": None,
        "notes": [],
    }
    assert again.json() == first.json() | {"changed": False}


def test_the_status_shows_what_is_there_now(plane: Plane) -> None:
    plane.apply()
    plane.tick()

    status = plane.ask("GET", "/status").json()

    assert {key: status[key] for key in ("version", "home", "api", "front_door", "admin")} == {
        "version": __version__,
        "home": "/srv/noren",
        "api": "http://127.0.0.1:7410",
        "front_door": "http://127.0.0.1:7480",
        "admin": "http://127.0.0.1:7490",
    }
    (shop,) = status["deployments"]
    assert shop == plane.ask("GET", "/deployments/shop").json()
    assert (shop["live"]["name"], shop["weights"], shop["previous"]) == ("shop-1", {"shop-1": 100}, None)
    assert shop["urls"] == ["http://127.0.0.1:7480/shop", "http://shop.localhost:7480"]
    assert [(r["revision"], r["state"]) for r in shop["replicas"]] == [("shop-1", "ready")]
    assert shop["rollout"]["state"] == "done"


def test_live_is_what_guests_get_and_not_what_was_asked_for(plane: Plane) -> None:
    plane.apply("shop:v1")
    plane.tick()
    plane.apply("shop:v2", strategy={"steps": [40, 60, 100], "step_wait": "1h"})
    plane.tick()
    assert plane.ask("GET", "/deployments/shop").json()["live"]["name"] == "shop-1"  # 60 % blue

    plane.store.save(plane.store.load("shop"))
    plane.door.tables.clear()  # the front door lost all
    shop = plane.ask("GET", "/deployments/shop").json()
    assert (shop["weights"], shop["live"]["name"]) == ({}, "shop-1")


def test_every_command_answers_with_the_deployment_as_it_is_then(plane: Plane) -> None:
    plane.apply("shop:v1")
    plane.tick()
    plane.apply("shop:v2", strategy={"step_wait": "1h"})
    plane.tick()
    assert plane.ask("POST", "/deployments/shop/pause").json()["rollout"]["paused"] is True
    assert plane.ask("POST", "/deployments/shop/resume").json()["rollout"]["paused"] is False
    assert plane.ask("POST", "/deployments/shop/promote").json()["rollout"]["state"] == "shifting(10)"
    assert plane.ask("POST", "/deployments/shop/abort").json()["rollout"]["failure"] == "aborted by a person"
    plane.tick()
    plane.apply("shop:v2", strategy={"step_wait": "0s", "bake": "0s", "step_requests": 0})
    plane.tick()
    assert plane.ask("POST", "/deployments/shop/rollback").json()["rollout"]["green"] == "shop-1"


@pytest.mark.parametrize("body", [{"to": 1}, {"to": None}, None])
def test_a_rollback_may_name_its_revision(plane: Plane, body: object) -> None:
    plane.apply("shop:v1")
    plane.tick()
    plane.apply("shop:v2")
    plane.tick(30)
    answer = plane.ask("POST", "/deployments/shop/rollback", body)
    assert (answer.status_code, answer.json()["rollout"]["green"]) == (200, "shop-1")


def test_delete_is_accepted_and_done_later(plane: Plane) -> None:
    plane.apply()
    plane.tick()
    assert plane.ask("DELETE", "/deployments/shop").status_code == 202
    plane.tick()
    refusal(plane.ask("GET", "/deployments/shop"), 404, "NotFound")


def test_history_is_there_oldest_first(plane: Plane) -> None:
    plane.apply()
    plane.tick()

    assert [r["name"] for r in plane.ask("GET", "/deployments/shop/revisions").json()] == ["shop-1"]
    assert [v["outcome"] for v in plane.ask("GET", "/deployments/shop/verdicts").json()] == ["PASS"]
    events = plane.ask("GET", "/deployments/shop/events").json()
    assert (events[0]["kind"], events[0]["message"]) == ("apply", "shop-1: shop:v1")
    later = plane.ask("GET", f"/deployments/shop/events?after={events[2]['id']}").json()
    assert later == events[3:]


def test_logs_are_those_of_the_revision(plane: Plane) -> None:
    plane.apply()
    plane.tick()
    assert plane.ask("GET", "/deployments/shop/revisions/1/logs").json() == ["0 | shop-1 started"]
    refusal(plane.ask("GET", "/deployments/shop/revisions/9/logs"), 404, "NotFound")
    refusal(plane.ask("GET", "/deployments/nosuch/revisions/1/logs"), 404, "NotFound")


def test_figures_that_are_no_numbers_can_be_shown(plane: Plane) -> None:
    plane.apply()
    check = Check(name="load", outcome=Outcome.INVALID, detail="", figures={"ratio": math.nan, "p95_ms": math.inf})
    judged = Verdict(
        revision="shop-1",
        attempt=1,
        outcome=Outcome.INVALID,
        reason="nothing was measured",
        checks=(check,),
        started_at=plane.store.events("shop")[0].at,
        ended_at=plane.store.events("shop")[0].at,
    )
    plane.store.save(plane.store.load("shop"), verdict=judged)
    answer = plane.ask("GET", "/deployments/shop/verdicts")
    assert answer.status_code == 200
    assert answer.json()[0]["checks"][0]["figures"] == {}


UNKNOWN = [("GET", "/deployments/nosuch"), ("DELETE", "/deployments/nosuch")]
UNKNOWN += [("POST", f"/deployments/nosuch/{verb}") for verb in COMMANDS]
UNKNOWN += [("GET", f"/deployments/nosuch/{what}") for what in ("revisions", "verdicts", "events")]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_an_unknown_deployment_is_a_404_everywhere(plane: Plane, method: str, path: str) -> None:
    assert "'nosuch'" in refusal(plane.ask(method, path), 404, "NotFound")["detail"]


def test_a_command_that_was_stored_is_no_error_though_the_machine_cannot_be_looked_at(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.apply()
    plane.tick()
    plane.gate.outcome = Outcome.HOLD
    plane.apply("shop:v2")
    plane.tick()

    def away(**_: object) -> DoorView:
        raise DriverUnavailable("the front door does not answer", fix="wait")

    monkeypatch.setattr(plane.door, "look", away)
    told = plane.ask("POST", "/deployments/shop/promote")

    assert told.status_code == 200
    assert told.json()["trouble"].startswith("the front door does not answer")
    assert not told.json()["ready"]
    assert plane.ask("GET", "/deployments/shop").status_code == 503  # what only looks says that it cannot


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume", "rollback"])
def test_a_command_that_the_state_does_not_allow_is_a_409(plane: Plane, verb: str) -> None:
    plane.apply()
    plane.tick()
    refusal(plane.ask("POST", f"/deployments/shop/{verb}"), 409, "Conflict")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/deployments/shop", {}),
        ("PUT", "/deployments/shop", {"spec": {"name": "shop"}}),
        ("PUT", "/deployments/shop", {"spec": {"name": "shop", "bento": "shop:v1", "replica": 2}}),
        ("PUT", "/deployments/shop", {"spec": {"name": "shop", "bento": "../../x:y"}}),
        ("PUT", "/deployments/other", {"spec": {"name": "shop", "bento": "shop:v1"}}),
        ("PUT", "/deployments/shop", {"spec": {"name": "shop", "bento": "shop:v9"}}),
        ("PUT", "/deployments/shop", {"spec": {"name": "shop", "bento": "shop:v1"}, "locustfile": "x" * 1_000_001}),
        ("PUT", "/deployments/shop", [1]),
        ("POST", "/deployments/shop/rollback", {"to": 0}),
        ("POST", "/deployments/shop/rollback", {"to": "x"}),
        ("GET", "/deployments/shop/events?after=-1", None),
        ("GET", "/deployments/shop/revisions/1/logs?lines=0", None),
        ("GET", "/deployments/shop/revisions/x/logs", None),
    ],
)
def test_a_wrong_request_is_a_422_and_changes_nothing(plane: Plane, method: str, path: str, body: object) -> None:
    refusal(plane.ask(method, path, body), 422, "SpecError")
    assert plane.store.deployments() == []


def test_a_body_that_is_no_json_is_a_422(plane: Plane) -> None:
    headers = {"content-type": "application/json"}
    answer = plane.http.put("/noren/v1/deployments/shop", content=b"{", headers=headers)
    refusal(answer, 422, "SpecError")


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (SpecError, 422, "SpecError"),
        (NotFound, 404, "NotFound"),
        (Conflict, 409, "Conflict"),
        (Stale, 409, "Conflict"),
        (DriverUnavailable, 503, "DriverUnavailable"),
        (DriverError, 500, "DriverError"),
    ],
)
def test_each_class_of_error_has_its_status(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, error: type[NorenError], status: int, title: str
) -> None:
    def fail() -> None:
        raise error("no", fix="do this")

    monkeypatch.setattr(plane.loop, "look", fail)
    problem = refusal(plane.ask("GET", "/status"), status, title)
    assert (problem["detail"], problem["fix"]) == ("no", "do this")


def test_a_fault_of_ours_is_a_500_that_tells_nothing_of_the_inside(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("geheim")

    monkeypatch.setattr(plane.loop, "look", fail)
    answer = plane.ask("GET", "/status")
    refusal(answer, 500, "Fault")
    assert "geheim" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nosuch", 404), ("PATCH", "/status", 405)])
def test_an_address_that_does_not_exist_is_a_problem_too(plane: Plane, method: str, path: str, status: int) -> None:
    answer = plane.ask(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["fix"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7410", "localhost:7410", "[::1]:7410"])
def test_loopback_names_are_served(plane: Plane, host: str) -> None:
    assert plane.ask("GET", "/status", host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7410", "127.0.0.1.evil.example", "localhost.evil.example"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("DELETE", "/deployments/shop")])
def test_a_page_that_calls_loopback_by_a_name_of_its_own_is_refused(
    plane: Plane, host: str, method: str, path: str
) -> None:
    plane.apply()
    assert plane.ask(method, path, host=host).status_code == 400
    assert not plane.store.load("shop").removed


def test_a_page_of_another_origin_cannot_send_a_simple_request_that_changes_something(plane: Plane) -> None:
    plane.apply()
    body = '{"spec": {"name": "shop", "bento": "shop:v2"}}'
    answer = plane.http.put("/noren/v1/deployments/shop", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 422


def test_values_of_environment_variables_are_in_no_answer(plane: Plane) -> None:
    said = [plane.apply("shop:v1", env={"TOKEN": "geheim"}).text]
    plane.tick()
    said.append(plane.apply("shop:v2", env={"TOKEN": "geheim"}, strategy={"step_wait": "1h"}).text)
    plane.tick()
    plane.door.counts["shop-2"] = Counts(requests=100, errors=100)
    paths = ["", "/revisions", "/verdicts", "/events", "/revisions/1/logs"]
    said += [plane.ask("GET", f"/deployments/shop{path}").text for path in paths]
    said.append(plane.ask("GET", "/status").text)
    said += [plane.ask("POST", f"/deployments/shop/{verb}").text for verb in COMMANDS]
    plane.tick()
    said.append(plane.ask("GET", "/deployments/shop").text)
    # A wrong request is answered with what is wrong, and that may be a secret in the wrong place.
    said.append(plane.apply("shop:v1", env={"TOKEN": ["geheim"]}).text)
    said.append(plane.apply("shop:v1", envs="geheim").text)
    assert "TOKEN" in said[0]
    assert not [answer for answer in said if "geheim" in answer]


def test_a_wildcard_lets_every_host_in_when_the_address_is_not_loopback(plane: Plane) -> None:
    open_to_all = TestClient(make(replace(plane.parts, allowed_hosts=["*"])), base_url="http://noren.example")
    assert open_to_all.get("/livez").status_code == 200


def test_the_documentation_describes_every_address(plane: Plane) -> None:
    document = plane.http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert described["summary"], (method, path)
    assert plane.http.get("/docs").status_code == 200
