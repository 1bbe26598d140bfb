"""`noren status --json` says what `ps` and Envoy's admin page say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e


def test_status_is_true_before_during_and_after_a_rollout(house: House) -> None:
    house.up()
    assert _told(house) == {}

    house.apply("echo:v1", "--wait", replicas=2)
    assert _told(house) == {"echo-1": ("echo:v1", 2, 100)}

    house.apply("echo:v2", strategy={"step_wait": "60s", "bake": "60s"})
    house.until_state("shifting(50)")
    house.until(lambda: len(house.weights()) == 2)
    assert _told(house) == {"echo-1": ("echo:v1", 2, 50), "echo-2": ("echo:v2", 1, 50)}
    assert house.status()["deployments"][0]["live"]["name"] == "echo-1"

    house.run("promote", "echo")
    house.until_state("done")
    house.until(house.settled)
    assert _told(house) == {"echo-2": ("echo:v2", 1, 100)}
    assert house.status()["deployments"][0]["live"]["bento"] == "echo:v2"


def _told(house: House) -> dict[str, tuple[str, int, int]]:
    """Revision -> Bento, replicas, share of traffic: as `status` tells it, after each was compared with the machine."""
    status = house.status()
    assert [status["pid"]] == [p.pid for p in house.processes("server")]
    assert "noren.server" in psutil.Process(status["pid"]).cmdline()
    told: dict[str, tuple[str, int, int]] = {}
    replicas = [replica for deployment in status["deployments"] for replica in deployment["replicas"]]
    assert {r["pid"] for r in replicas} == {p.pid for p in house.processes("replica") if p.leads}
    for deployment in status["deployments"]:
        assert deployment["weights"] == house.weights()
        for replica in deployment["replicas"]:
            bento, port = _serves(replica["pid"])
            assert replica["address"] == f"127.0.0.1:{port}"
            assert replica["state"] == "ready"
            assert port in _listens(replica["pid"])
            _, others, _ = told.get(replica["revision"], ("", 0, 0))
            told[replica["revision"]] = (bento, others + 1, deployment["weights"].get(replica["revision"], 0))
    return told


def _serves(pid: int) -> tuple[str, int]:
    """The Bento and the port in the command line of noren-serve."""
    line = psutil.Process(pid).cmdline()
    assert line[1:3] == ["-m", "noren_serve"]
    return line[3], int(line[line.index("--port") + 1])


def _listens(pid: int) -> set[int]:
    """The ports that the process and its children listen on."""
    leader = psutil.Process(pid)
    return {
        connection.laddr.port
        for process in (leader, *leader.children(recursive=True))
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
