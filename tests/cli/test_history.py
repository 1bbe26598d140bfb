"""What `noren history` and `noren prune` print, and which times are understood."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from noren.api import PREFIX
from noren.api.schemas import EventView, LeftoverView
from noren.cli.app import app
from noren.cli.history import moment
from noren.client import Client
from noren.control.ports import LeftoverKind
from noren.domain.errors import SpecError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASKED = EventView(
    id=1,
    at=NOON,
    kind="promote",
    message="promote shop [bold]x[/bold]",
    deployment="shop",
    who="ada",
    claimed=True,
    reason="blue answers 500",
    before={"live": "shop-1", "weights": {"shop-1": 100}, "phase": "held", "step": None},
    after={"live": "shop-1", "weights": {"shop-2": 100}, "phase": "gating", "step": 0, "marks": ["paused", "rushed"]},
)
STEPPED = EventView(id=2, at=NOON, kind="state", message="shop-2: done", deployment="shop")
PRUNED = LeftoverView(kind=LeftoverKind.LOG, name="shop-1.0.log", used_at=NOON, users=["shop-1"], size_bytes=1_500_000)


@pytest.fixture
def out() -> Console:
    """Where the commands print."""
    return Console(width=200, highlight=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, out: Console) -> list[httpx.URL]:
    """A control plane with this history, and what it was asked."""
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        views = [ASKED, STEPPED] if request.url.path.endswith("history") else [PRUNED]
        return httpx.Response(200, text=f"[{','.join(view.model_dump_json() for view in views)}]")

    def client() -> Client:
        client = Client("http://127.0.0.1:7410")
        client._http = httpx.Client(base_url=client.url + PREFIX, transport=httpx.MockTransport(answer))
        return client

    for verb in ("history", "prune"):
        monkeypatch.setattr(f"noren.cli.{verb}.client", client)
        monkeypatch.setattr(f"noren.cli.{verb}.out", out)
    return asked


def noren(*argv: str) -> Any:
    return CliRunner().invoke(app, list(argv))


def test_a_line_says_when_who_what_why_and_what_it_changed(
    asked: list[httpx.URL], monkeypatch: pytest.MonkeyPatch, out: Console
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(out, "print", lambda text, **_: lines.extend(text.splitlines()))
    assert noren("history").exit_code == 0
    at = f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}"
    assert lines == [
        f"{at}  ada        shop         promote   promote shop [bold]x[/bold]",
        " " * 21 + "why: blue answers 500",
        " " * 21 + "weights shop-1 100 -> shop-2 100, phase held -> gating, step none -> 0, "
        "marks none -> paused+rushed",
        f"{at}  noren      shop         state     shop-2: done",
    ]


def test_what_was_asked_for_is_sent(asked: list[httpx.URL]) -> None:
    assert noren("history", "shop", "--since", "2026-01-01T12:00+00:00", "--limit", "7", "--json").exit_code == 0
    assert dict(asked[-1].params) == {"name": "shop", "since": NOON.isoformat(), "limit": "7"}
    assert noren("prune", "--bentos", "--dry-run", "--reason", "full", "--json").exit_code == 0
    assert dict(asked[-1].params) == {"bentos": "true", "dry_run": "true", "reason": "full"}


def test_prune_says_what_went_and_how_much_it_was(
    asked: list[httpx.URL], monkeypatch: pytest.MonkeyPatch, out: Console
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(out, "print", lambda text, **_: lines.append(text))
    noren("prune")
    noren("prune", "--dry-run")
    assert lines[:2] == ["log                1.5 MB  shop-1.0.log", "removed: 1, 1.5 MB"]
    assert lines[3] == "would be removed: 1, 1.5 MB"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOON - timedelta(seconds=90)),
        ("30m", NOON - timedelta(minutes=30)),
        ("3h", NOON - timedelta(hours=3)),
        ("2d", NOON - timedelta(days=2)),
        ("1w", NOON - timedelta(weeks=1)),
        ("2025-12-31T23:00:00+01:00", datetime(2025, 12, 31, 22, tzinfo=UTC)),
    ],
)
def test_a_time_is_so_long_ago_or_a_date(text: str, meant: datetime) -> None:
    assert moment(text, NOON) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2 d", "-1d", "2y", "999999999w", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_none_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SpecError, match="is no time that there was") as raised:
        moment(text, NOON)
    assert "2d" in raised.value.fix
