"""Real rollouts in a row: each is in the history with who asked for it, and none leaves anything behind."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

AT_ONCE = {"steps": [100], "bake": "0s"}
ME = pwd.getpwuid(os.getuid()).pw_name


def test_rollouts_in_a_row_leak_nothing_and_are_all_remembered(house: House) -> None:
    (house.home / "noren.toml").write_text("retain_revisions = 2\n")
    house.up()
    counted = []
    for number, bento in enumerate(("echo:v1", "echo:v2", "echo:v1", "echo:v2", "echo:v1"), start=1):
        judged = {"smoke": number > 2}  # only those go through a gate that are counted, or pruned
        house.apply(bento, "--wait", "--reason", f"rollout {number}", strategy=AT_ONCE, gates=judged)
        house.until(house.settled)
        house.until(lambda: house.processes("gate") == [])
        counted.append(_counted(house))

    # The first two made what is kept from then on.
    assert counted[2]["processes"] == counted[-1]["processes"]
    assert counted[2]["ports"] == counted[-1]["ports"]
    assert counted[-1]["descriptors"] <= counted[2]["descriptors"] + 3  # requests come and go
    assert [target for target in _open(house) if "/logs/echo" in target or "/gates/" in target] == []
    would = house.run("prune", "--dry-run", "--json").json
    assert {one["kind"] for one in would} == {"log", "gate"}
    assert house.run("prune", "--json", "--reason", "too much").json == would
    assert "there is nothing to remove" in house.run("prune").out
    logs = {path.name.partition(".")[0] for path in (house.home / "logs").glob("echo-*")}
    assert logs == {"echo-4", "echo-5"}
    assert {path.name[:6] for path in (house.home / "gates").iterdir()} == {"echo-4", "echo-5"}
    assert list((house.home / "envs").glob("*/.complete"))  # of a folder that homes share nothing goes
    house.run("rollback", "echo", "--reason", "back")  # what that needs is still there
    house.until(lambda: house.settled() and house.live() == ("echo-4", "echo:v2"))

    lines: list[dict[str, Any]] = house.run("history", "echo", "--json", "--limit", "1000").json
    asked = [(line["kind"], line["who"], line["reason"]) for line in lines if line["who"]]
    assert asked == [*(("apply", ME, f"rollout {n}") for n in range(1, 6)), ("rollback", ME, "back")]
    assert lines[-1]["after"]["live"] == "echo-4"
    assert house.run("history", "--json", "--since", "1h", "--limit", "1").json == lines[-1:]
    assert "why: rollout 5" in house.run("history", "echo", "--limit", "1000").out


def test_an_emergency_replaces_a_broken_blue_at_once_and_is_remembered_after_it_is_deleted(
    house: House, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    house.up()
    house.apply("echo:late", "--wait", strategy=AT_ONCE, env={"HOLD": str(hold)})
    hold.touch()  # from here on blue is not ready
    house.until(lambda: not house.look()["ready"])

    assert "needs a reason" in house.apply("echo:v2", "--emergency", expect=2).err
    strategy = {"steps": [10, 50, 100], "step_wait": "120s", "step_requests": 1000, "bake": "2s"}
    house.apply("echo:v2", "--emergency", "--reason", "blue is down", "--wait", strategy=strategy)
    house.until(house.settled)

    assert house.live() == ("echo-2", "echo:v2")
    assert house.ask().json() == {"text": "hello"}
    house.run("delete", "echo", "--reason", "no more")
    house.until(lambda: house.status()["deployments"] == [])
    lines = house.run("history", "echo", "--json").json
    (asked,) = [line for line in lines if line["kind"] == "apply" and line["reason"] == "blue is down"]
    assert "in an emergency" in asked["message"]
    assert asked["after"]["marks"] == ["emergency"]
    assert not [line for line in lines if "echo-2 10 %" in line["message"]]
    assert [line["reason"] for line in lines if line["kind"] == "remove"] == ["no more"]


def _counted(house: House) -> dict[str, int]:
    """What this home has of the machine; descriptors of the control plane alone, its pool of connections left out."""
    processes = [psutil.Process(p.pid) for p in house.processes()]
    listening = {
        connection.laddr.port
        for process in processes
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    return {"processes": len(processes), "ports": len(listening), "descriptors": len(_open(house))}


def _open(house: House) -> list[str]:
    """What the control plane has open, but for the database."""
    targets = []
    for descriptor in Path(f"/proc/{house.leader('server').pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            targets.append(str(descriptor.readlink()))
    return [target for target in targets if "noren.db" not in target]
