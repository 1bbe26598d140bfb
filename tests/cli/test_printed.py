"""What verbs print of answers that quote anything: markup, repeated lines, long histories."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from rich.console import Console

from noren.api import PREFIX
from noren.api.schemas import (
    CheckView,
    DeploymentView,
    EventView,
    ReplicaView,
    RevisionView,
    RolloutView,
    StatusView,
    VerdictView,
)
from noren.cli import console, logs, status, verdict, watch
from noren.client import Client
from noren.control.ports import ReplicaState
from noren.domain.verdict import Outcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MARKUP = "[Errno 13] [/predict] [bold]x[/bold]"


def deployment() -> DeploymentView:
    """Everything in it that others wrote looks like markup."""
    check = CheckView(name="smoke", outcome=Outcome.FAIL, detail=MARKUP, figures={"green_p50_ms": float("nan")})
    verdict = VerdictView(
        revision="shop-1",
        attempt=1,
        outcome=Outcome.FAIL,
        reason=MARKUP,
        checks=[check],
        started_at=NOON,
        ended_at=NOON,
        evidence=f"/srv/{MARKUP}",
    )
    replica = ReplicaView(
        revision="shop-1",
        index=0,
        state=ReplicaState.BROKEN,
        address="",
        pid=None,
        started_at=None,
        restarts=2,
        detail=MARKUP,
        memory_bytes=0,
    )
    rollout = RolloutView(
        green="shop-1",
        blue=None,
        state="undone",
        active=False,
        paused=False,
        attempt=1,
        failure=MARKUP,
        started_at=NOON,
        ready_at=None,
        switched_at=None,
        ended_at=NOON,
    )
    return DeploymentView(
        name="shop",
        live=None,
        previous=None,
        weights={},
        rollout=rollout,
        queued=None,
        replicas=[replica],
        ready=True,
        last_verdict=verdict,
        trouble=None,
        urls=["http://127.0.0.1:7480/shop"],
    )


class Answers:
    """A control plane that answers with this deployment and this history."""

    def __init__(self, events: list[EventView] | None = None, *, leads: bool = True, leader: str = "") -> None:
        self.events, self.asked = events or [], 0
        self.lead: dict[str, Any] = {"leads": leads, "leader": leader}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        shop, what = deployment(), request.url.path.rpartition("/")[2]
        if what == "status":
            places = dict.fromkeys(("version", "home", "api", "front_door", "admin"), "")
            everything = StatusView(**places, **self.lead, pid=1, deployments=[shop])
            return httpx.Response(200, text=everything.model_dump_json())
        if what == "verdicts":
            assert shop.last_verdict
            return httpx.Response(200, text=f"[{shop.last_verdict.model_dump_json()}]")
        if what == "events":
            after, name = int(request.url.params["after"]), request.url.path.split("/")[-2]
            page = [e.model_dump_json() for e in self.events if e.id > after and e.deployment == name][:1000]
            return httpx.Response(200, text=f"[{','.join(page)}]")
        return httpx.Response(200, text=shop.model_dump_json())

    def client(self) -> Client:
        client = Client("http://127.0.0.1:7410")
        client._http = httpx.Client(base_url=client.url + PREFIX, transport=httpx.MockTransport(self))
        return client


def test_what_looks_like_markup_is_printed_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for verb in (status, verdict):
        monkeypatch.setattr(verb, "client", Answers().client)
        monkeypatch.setattr(verb, "out", Console(width=200, highlight=False))
    status.status()
    assert capsys.readouterr().out.count(MARKUP) == 4  # rollout, replica, verdict, evidence
    verdict.verdict("shop")
    assert capsys.readouterr().out.count(MARKUP) == 2  # detail and evidence

    monkeypatch.setattr(watch, "out", Console(width=200, highlight=False, force_terminal=True))
    assert not watch.follow(Answers().client(), {"shop": None})
    Console(width=200, highlight=False).print(watch._now(deployment()))
    assert capsys.readouterr().out.count(MARKUP) == 3  # state, evidence, and state again


@pytest.mark.parametrize(
    ("leads", "leader", "said"),
    [(True, "a:7410", None), (False, "a:7410", "led by a:7410: "), (False, "", "no control")],
)
def test_status_begins_with_who_acts_where_that_is_another_control_plane(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leads: bool, leader: str, said: str | None
) -> None:
    monkeypatch.setattr(status, "client", Answers(leads=leads, leader=leader).client)
    status.status()
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(said or "shop")


def event(number: int, kind: str = "state", deployment: str = "shop") -> EventView:
    return EventView(id=number, at=NOON, kind=kind, message=f"line {number}", deployment=deployment)


def test_watch_begins_at_the_current_rollout_however_long_the_history_is(capsys: pytest.CaptureFixture[str]) -> None:
    history = [event(n, "apply" if n in (1, 500, 2400) else "state") for n in range(1, 2411)]
    assert not watch.follow(Answers(history).client(), {"shop": None})
    lines = [line for line in capsys.readouterr().out.splitlines() if "line " in line]
    assert (len(lines), "line 2400" in lines[0], "line 2410" in lines[-1]) == (11, True, True)


def test_several_rollouts_are_told_together_in_the_order_in_which_things_happened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    history = [event(n, deployment=("shop", "cart")[n % 2]) for n in range(1, 7)]
    assert not watch.follow(Answers(history).client(), {"shop": None, "cart": None})
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "line " in line]
    assert [(line[1], line[-1]) for line in lines] == [(("shop", "cart")[n % 2], str(n)) for n in range(1, 7)]


WARM = {"blue": "shop-0", "warm_until": NOON}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"state": "gating"}, "shop-1 gating"),
        ({"state": "gating", "paused": True}, "shop-1 gating, paused: `noren resume`"),
        ({"state": "held", "paused": True}, "shop-1 held, paused: `noren promote` or `noren abort`"),
        ({"state": "unvisited(10)"}, "shop-1 unvisited(10): waits for guests"),
        ({"state": "baking"}, "shop-1 baking"),
        ({"state": "baking"} | WARM, "shop-1 baking: serves all guests; shop-0 stays warm until"),
        ({"state": "done", "active": False, "paused": True} | WARM, "shop-1 done"),
    ],
)
def test_the_state_says_what_is_waited_for(known: dict[str, Any], said: str) -> None:
    view = deployment()
    assert view.rollout
    rollout = view.rollout.model_copy(update={"active": True, "failure": None} | known)
    told = console.state(view.model_copy(update={"rollout": rollout}))
    assert told.startswith(said)
    assert (":" in told) == (":" in said)


def test_who_follows_by_lines_is_told_once_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view = deployment()
    assert view.rollout
    under_way = {"failure": None, "active": True, "state": "baking"} | WARM
    course = [view.rollout.model_copy(update=update) for update in (under_way, under_way, {"failure": None})]
    seen: list[tuple[DeploymentView, list[EventView]]] = [
        (view.model_copy(update={"rollout": rollout}), []) for rollout in course
    ]
    monkeypatch.setattr(watch, "_ask", lambda *_: seen.pop(0))
    monkeypatch.setattr(watch, "_EVERY_S", 0)
    assert watch.follow(Answers().client(), {"shop": None})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" stays warm")[0] for line in lines[:2]] == [
        "shop: shop-1 baking: serves all guests; shop-0",
        "shop: shop-1 undone",
    ]


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        (["0 | a"], ["0 | a"], []),
        (["0 | a"], ["0 | a", "0 | b"], ["0 | b"]),
        (["0 | a"], ["0 | a", "0 | a"], ["0 | a"]),  # the same words again are news
        (["0 | a", "0 | b"], ["0 | b", "0 | c"], ["0 | c"]),  # a tail moves on
        (["0 | a", "1 | x"], ["0 | a", "0 | b", "1 | x", "1 | y"], ["0 | b", "1 | y"]),
        (["0 | a"], ["0 | a", "1 | a"], ["1 | a"]),  # a replica more
        (["0 | a", "0 | hal"], ["0 | a", "0 | half"], ["0 | half"]),
        (["0 | a", "0 | b"], ["0 | new"], ["0 | new"]),  # rotated
        (["0 | a"], [], []),
    ],
)
def test_following_logs_prints_each_new_line_once(before: list[str], now: list[str], added: list[str]) -> None:
    assert logs._added(before, now) == added


def test_following_long_logs_is_quick() -> None:
    before = [f"0 | {n}" for n in range(10_000)]
    assert logs._added(before, [*before[5:], *("0 | new" for _ in range(5))]) == ["0 | new"] * 5


@pytest.mark.parametrize(("active", "number"), [(True, 4), (False, 7)])
def test_logs_are_those_of_green_while_it_is_on_its_way_and_else_of_what_serves(active: bool, number: int) -> None:
    view = deployment()
    live = RevisionView(
        name="shop-7", number=7, bento="shop:v1", replicas=1, workers=1, env=[], steps=[100], promoted=True
    )
    assert view.rollout
    rollout = view.rollout.model_copy(update={"green": "shop-4", "active": active})
    assert logs._current(view.model_copy(update={"live": live, "rollout": rollout})) == number


def test_the_status_says_that_green_is_not_compared_with_blue_while_that_matters() -> None:
    view = deployment()
    assert view.rollout
    for active, emergency, told in ((True, True, True), (True, False, False), (False, True, False)):
        rollout = view.rollout.model_copy(update={"active": active, "emergency": emergency})
        labels = [label for label, _ in status._lines(view.model_copy(update={"rollout": rollout}))]
        assert ("emergency" in labels) is told
