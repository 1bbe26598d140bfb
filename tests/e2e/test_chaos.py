"""The short form of benchmarks/chaos: whatever dies, no guest notices. See docs/reliability.md for the long one."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

HELD = {"step_wait": "120s", "bake": "120s"}


def test_the_front_door_is_restarted_in_the_middle_of_a_rollout_and_nobody_notices(serving: House) -> None:
    blue, before = serving.live()[0], serving.leader("envoy").pid
    with serving.traffic(rate=50) as traffic:
        serving.apply("echo:v2", strategy=HELD)
        serving.until_state("shifting(50)")
        weights = serving.weights()

        said = serving.run("frontdoor", "restart", "--json").json

        assert serving.url.startswith(said["front_door"])
        leaders = [p.pid for p in serving.processes("envoy") if p.leads]
        assert before in leaders  # it ends what it has begun
        assert len(leaders) == 2
        serving.until(lambda: serving.look().get("weights") == weights)  # the control plane sees the new one
        served = len(traffic.answers)
        serving.until(lambda: len(traffic.answers) > served + 50)
        serving.run("abort", "echo")
        serving.until(serving.settled)

    assert traffic.failures == []
    assert serving.live()[0] == blue
    assert len([p for p in serving.processes("envoy") if p.leads]) == 2  # none was taken for a broken one


def test_after_a_reboot_the_rollout_is_where_it_was(serving: House) -> None:
    blue = serving.live()[0]
    serving.apply("echo:v2", strategy=HELD)
    serving.until_state("shifting(50)")
    green, weights = serving.look()["rollout"]["green"], serving.weights()

    def dead() -> bool:
        for process in serving.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not serving.processes()

    def as_before() -> bool:
        seen = serving.look()
        replicas = {(r["revision"], r["state"]) for r in seen.get("replicas", [])}
        return seen.get("weights") == weights and replicas == {(blue, "ready"), (green, "ready")}

    serving.until(dead)
    serving.up()
    serving.until(as_before)

    assert serving.state() == "shifting(50)"
    with serving.traffic() as traffic:
        serving.until(lambda: len(traffic.served_by) == 2)
        serving.run("promote", "echo")
        serving.until(serving.settled)
    assert traffic.failures == []
    assert serving.live()[0] == green


def test_a_green_that_says_that_it_is_not_ready_is_undone_and_no_guest_fails(serving: House, tmp_path: Path) -> None:
    blue, hold = serving.live()[0], tmp_path / "hold"
    with serving.traffic(rate=50) as traffic:
        serving.apply("echo:late", strategy=HELD, env={"HOLD": str(hold)})
        serving.until_state("shifting(50)")
        serving.until(lambda: len(traffic.served_by) == 2)
        hold.touch()
        assert serving.until_state("undone", "done") == "undone"
        serving.until(serving.settled)

    assert traffic.failures == []
    assert serving.live()[0] == blue


def test_when_one_of_two_replicas_is_killed_only_what_it_was_answering_is_lost(serving: House) -> None:
    at_once = {"steps": [100], "bake": "0s"}
    serving.apply("echo:v1", "--wait", replicas=2, strategy=at_once)
    live = serving.live()[0]

    def ready() -> set[int]:
        return {r["pid"] for r in serving.look().get("replicas", []) if (r["revision"], r["state"]) == (live, "ready")}

    serving.until(lambda: len(ready()) == 2)
    before = ready()
    with serving.traffic(rate=50) as traffic:
        serving.until(lambda: len(traffic.answers) > 50)
        serving.machine.signal("replica", f"{live}/0", signal.SIGKILL, all_of_it=True)
        serving.until(lambda: len(ready()) == 2 and ready() != before)

    assert len(traffic.failures) <= 3  # of 50 a second that take some milliseconds each
    serving.apply("echo:v1", "--wait", strategy=at_once)
    serving.until(serving.settled)
