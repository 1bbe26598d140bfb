"""The command line of `noren gate calibrate`: what is refused, and what is said."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noren.api.schemas import DeploymentView
from noren.cli import calibrate
from noren.cli.app import app
from noren.domain.deployment import Gates, LoadGate, Margins, Revision, Route
from noren.domain.errors import Conflict, DriverUnavailable, SpecError
from noren.gates.calibration import Calibration
from noren.gates.launches import Trial
from noren.machine import ENDINGS
from noren.runtimes.memory import MemoryRuntime

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BY_QUANTILE = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
FOUND = Calibration(
    deployment="tea", bento="tea:v1", cores=2, launches=5, duration_s=20.0, rate=50.0, measured_at=NOON,
    launch_sigma=0.03, launch_sigma_high=0.06, latency_ms={"p50": 9.0, "p95": 12.0, "p99": 31.0},
    design_effect=BY_QUANTILE, scatter=BY_QUANTILE,
)  # fmt: skip

ROLLOUT: dict[str, Any] = {
    "green": "tea-4", "blue": "tea-3", "state": "gating", "active": True, "paused": False, "attempt": 1,
    "failure": None, "started_at": NOON, "ready_at": None, "switched_at": None, "ended_at": None,
}  # fmt: skip


def view(**changes: Any) -> DeploymentView:
    live = {
        "name": "tea-3", "number": 3, "bento": "tea:v1", "replicas": 1, "workers": 1, "env": [], "steps": [100],
        "promoted": True,
    }  # fmt: skip
    document: dict[str, Any] = {
        "name": "tea", "live": live, "previous": None, "weights": {}, "rollout": None, "queued": None, "replicas": [],
        "ready": True, "last_verdict": None, "trouble": None, "urls": [],
    }  # fmt: skip
    return DeploymentView.model_validate(document | changes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'name'"),
        (["tea", "--launches", "2"], "--launches"),
        (["tea", "--launches", "many"], "--launches"),
        (["tea", "--duration", "soon"], "--duration: a duration is a number"),
        (["tea", "--duration", "1ms"], "shorter than 1s"),
        (["tea", "--nonsense"], "nonsense"),
    ],
)
def test_a_wrong_command_line_ends_like_that_of_other_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """No verdict comes of it, so 2 is not taken."""
    monkeypatch.setenv("NOREN_HOME", str(tmp_path))
    ended = CliRunner().invoke(app, ["gate", "calibrate", *arguments])
    assert ended.exit_code == 2, ended.output
    assert said in ended.output


def test_without_a_control_plane_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOREN_HOME", str(tmp_path))
    monkeypatch.setenv("NOREN_PORT", "1")
    ended = CliRunner().invoke(app, ["gate", "calibrate", "tea"])
    assert isinstance(ended.exception, DriverUnavailable)
    assert "noren up" in ended.exception.fix


def test_only_what_is_live_and_at_rest_is_copied() -> None:
    assert calibrate._live_number(view()) == 3
    with pytest.raises(Conflict, match="tea has no live revision"):
        calibrate._live_number(view(live=None))
    with pytest.raises(Conflict, match=r"rollout of tea-4 is under way \(gating\)"):
        calibrate._live_number(view(rollout=ROLLOUT))
    assert calibrate._live_number(view(rollout=ROLLOUT | {"state": "done", "active": False})) == 3


class Plane:
    """A control plane that shows one deployment, or is away."""

    def __init__(self, shown: DeploymentView | None) -> None:
        self._shown = shown

    def deployment(self, name: str) -> DeploymentView:
        if self._shown is None:
            raise DriverUnavailable("no control plane answers", fix="noren up")
        assert name == self._shown.name
        return self._shown


def test_a_rollout_that_begins_meanwhile_ends_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    live = Revision(deployment="tea", number=3, bento="tea:v1", route=Route(prefix="/tea", host="tea.localhost"))
    later = {**view().model_dump()["live"], "name": "tea-4", "number": 4}

    def seen(shown: DeploymentView | None) -> None:
        monkeypatch.setattr(calibrate, "client", lambda: Plane(shown))
        calibrate._see_undisturbed(live)

    seen(view())
    seen(None)  # then none begins either
    with pytest.raises(Conflict, match=r"rollout of tea-4 is under way"):
        seen(view(rollout=ROLLOUT))
    with pytest.raises(Conflict, match="tea-3 is no longer live"):
        seen(view(live=later))


@pytest.mark.parametrize(
    ("rate", "seconds", "enough"), [(50, 1.9, False), (50, 2, True), (1, 49, False), (1, 50, True)]
)
def test_a_launch_is_long_enough_to_say_something(rate: float, seconds: float, enough: bool) -> None:
    route = Route(prefix="/tea", host="tea.localhost")
    live = Revision(deployment="tea", number=3, bento="tea:v1", route=route, gates=Gates(load=LoadGate(rate=rate)))
    tried, length = Trial(runtime=MemoryRuntime(), live=live, examples=()), timedelta(seconds=seconds)
    if enough:
        calibrate._see_long_enough(tried, length)
        return
    with pytest.raises(SpecError, match="too short") as raised:
        calibrate._see_long_enough(tried, length)
    assert f"--duration {50 if rate == 1 else 2}s" in raised.value.fix


def test_one_calibration_of_a_home_at_a_time(tmp_path: Path) -> None:
    with calibrate._alone(tmp_path), pytest.raises(Conflict, match="under way"), calibrate._alone(tmp_path):
        pass
    with calibrate._alone(tmp_path):
        pass


@pytest.mark.parametrize("signum", ENDINGS, ids=lambda signum: signum.name)
def test_however_it_is_ended_it_cleans_up_undisturbed(signum: signal.Signals) -> None:
    before, cleaned = [signal.getsignal(one) for one in ENDINGS], []

    def work() -> None:
        with calibrate._ended_in_order():
            try:
                os.kill(os.getpid(), signum)
            finally:
                for again in ENDINGS:
                    os.kill(os.getpid(), again)
                    cleaned.append(again)

    with pytest.raises(SystemExit) as raised:
        work()

    assert raised.value.code == 128 + signum
    assert cleaned == list(ENDINGS)
    assert [signal.getsignal(one) for one in ENDINGS] == before


def test_what_was_found_is_a_table_of_margins_by_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    calibrate._print(FOUND, Margins(p50=0.15), tmp_path / "tea.json", as_json=False)
    said = capsys.readouterr().out
    assert "launch_sigma 0.0300; with 95 % confidence at most 0.0600" in said
    for words in ("in 45 s", "in 2 min", "in 10 min", "p99", f"{FOUND.resolves('p50', 45):.1%}", "15%", "31.0 ms"):
        assert words in said


def test_as_json_it_is_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    calibrate._print(FOUND, Margins(), tmp_path / "tea.json", as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["launch_sigma"], said["launch_sigma_high"], said["cores"]) == (0.03, 0.06, 2)
    assert said["design_effect"] == BY_QUANTILE
    assert said["resolves"]["p95"]["600s"] == FOUND.resolves("p95", 600)
    assert said["stored"].endswith("tea.json")
