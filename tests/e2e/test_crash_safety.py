"""`kill -9` of anything: what was going on goes on, and no guest notices what could be kept from them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

SHIFTING = ("shifting(50)",)


@pytest.mark.parametrize(
    ("bento", "states", "strategy"),
    [
        ("echo:late", ("starting", "warming"), {}),
        ("echo:thoughtful", ("gating",), {}),
        ("", SHIFTING, {"step_wait": "6s"}),
        ("", ("baking",), {"step_wait": "0s", "bake": "8s"}),
    ],
    ids=["starting", "gating", "shifting", "baking"],
)
def test_a_rollout_goes_on_after_a_kill_of_the_control_plane(
    serving: House, tmp_path: Path, bento: str, states: Sequence[str], strategy: dict[str, Any]
) -> None:
    blue, bento = serving.live()[0], bento or serving.other()
    hold = tmp_path / "hold"
    hold.touch()
    with serving.traffic() as traffic:
        serving.apply(bento, strategy=strategy, env={"HOLD": str(hold)})
        serving.until_state(*states)
        began = _history(serving)
        serving.kill("server")
        hold.unlink()
        time.sleep(0.5)  # guests are served without it
        serving.up()
        assert serving.until_state("done", "undone") == "done"
        serving.until(serving.settled)

    green = serving.live()[0]
    assert serving.live()[1] == bento
    assert traffic.failures == []
    assert set(traffic.served_by) == {blue, green}
    history = _history(serving)
    assert history[: len(began)] == began
    moves = [message for kind, message in history if kind == "state" and message.startswith(f"{green}: ")]
    assert [move.removeprefix(f"{green}: ") for move in moves] in (
        ["starting", "warming", "gating", "shifting(50)", "baking", "done"],
        ["warming", "gating", "shifting(50)", "baking", "done"],
    )


def test_a_failing_rollout_is_undone_after_a_kill_of_the_control_plane(serving: House) -> None:
    blue = serving.live()[0]
    with serving.traffic() as traffic:
        serving.apply("echo:unready", strategy={"ready_within": "8s"})
        serving.until_state("warming")
        serving.kill("server")
        serving.up()
        assert serving.until_state("done", "undone") == "undone"
        serving.until(serving.settled)

    assert traffic.failures == []
    assert set(traffic.served_by) == {blue}


def test_a_killed_control_plane_is_replaced_by_just_one(serving: House) -> None:
    replicas = [p.pid for p in serving.processes("replica")]
    envoy = serving.leader("envoy").pid
    serving.kill("server")

    both = [serving.begin("up") for _ in range(2)]
    for up in both:
        serving.end(up)

    assert len(serving.processes("server")) == 1
    assert [p.pid for p in serving.processes("replica")] == replicas
    assert serving.leader("envoy").pid == envoy


def test_a_killed_replica_comes_back_and_leaves_no_orphan(serving: House) -> None:
    (before,) = serving.look()["replicas"]
    workers = [p.pid for p in serving.processes("replica") if not p.leads]
    assert workers

    serving.kill("replica")
    # In this order: until its death is noticed, all seems settled.
    serving.until(lambda: before["pid"] not in [replica["pid"] for replica in serving.look()["replicas"]])
    serving.until(serving.settled)

    (after,) = serving.look()["replicas"]
    assert after["restarts"] == before["restarts"] + 1
    assert not {p.pid for p in serving.processes("replica")} & {before["pid"], *workers}
    serving.until(lambda: _answers(serving))


def test_a_killed_worker_comes_back_within_its_replica(serving: House) -> None:
    leader = serving.leader("replica").pid
    worker = _worker(leader)

    os.kill(worker.pid, signal.SIGKILL)
    # BentoML starts another worker after some seconds, in which the replica takes requests and answers none.
    serving.until(lambda: _answers(serving) and worker.pid != _worker(leader).pid)

    assert serving.leader("replica").pid == leader
    serving.until(serving.settled)


def test_a_killed_front_door_comes_back_with_the_same_weights(serving: House) -> None:
    serving.apply(serving.other(), strategy={"step_wait": "12s"})
    serving.until_state(*SHIFTING)
    serving.run("pause", "echo")
    weights = serving.weights()
    assert sorted(weights.values()) == [50, 50]
    first = serving.leader("envoy").pid

    serving.kill("envoy")
    serving.until(lambda: serving.weights() != {})

    assert serving.weights() == weights
    assert serving.leader("envoy").pid != first
    assert serving.ask().json() == {"text": "hello"}
    serving.run("resume", "echo")
    assert serving.until_state("done", "undone") == "done"
    serving.until(serving.settled)


def test_down_and_up_brings_the_live_revision_back(serving: House) -> None:
    live, weights = serving.live(), serving.weights()

    serving.run("down")
    assert serving.processes() == []
    serving.up()
    serving.until(serving.settled)

    assert serving.look()["replicas"][0]["restarts"] == 0  # it was ended on purpose: that is no crash
    assert serving.live() == live
    assert serving.weights() == weights
    assert serving.ask().json() == {"text": "hello"}


def test_down_in_the_middle_of_a_rollout_ends_everything_and_up_ends_the_rollout(serving: House) -> None:
    serving.apply(serving.other(), strategy={"step_wait": "12s"})
    serving.until_state(*SHIFTING)

    serving.run("down")
    assert serving.processes() == []
    serving.up()

    serving.until_state("done", "undone")
    serving.until(serving.settled)
    assert serving.ask().json() == {"text": "hello"}


def _history(house: House) -> list[tuple[str, str]]:
    events = house.http.get(f"{house.api}/deployments/echo/events").json()
    return [(event["kind"], event["message"]) for event in events]


def _answers(house: House) -> bool:
    try:
        return house.ask().status_code == 200
    except httpx.TimeoutException:
        return False


def _worker(leader: int) -> psutil.Process:
    """The process that answers requests: the child that has BentoML's worker as its program."""
    children = psutil.Process(leader).children(recursive=True)
    living = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return next(child for child in living if "worker" in " ".join(child.cmdline()))
