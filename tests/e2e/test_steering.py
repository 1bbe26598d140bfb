"""The verbs that steer a rollout, in the states they fit and in those they do not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

LONG = {"step_wait": "60s", "bake": "60s"}


def test_an_identical_apply_changes_nothing(serving: House) -> None:
    """Nor does it after another one failed. The first test here, so that what the fixture applied is live."""
    serving.apply("echo:forgetful", "--wait", expect=1)
    serving.until(serving.settled)
    before = serving.look()
    blue = serving.live()

    said = serving.apply("echo:v1", "--wait", strategy={"steps": [100], "bake": "0s"})

    assert f"echo: unchanged, {blue[0]} is echo:v1" in said.out
    assert serving.look()["rollout"] == before["rollout"]
    assert serving.live() == blue


def test_a_second_apply_supersedes_the_rollout_under_way(serving: House) -> None:
    other = serving.other()
    blue = serving.live()[0]
    with serving.traffic() as traffic:
        serving.apply(other, strategy=LONG)
        serving.until_state("shifting(50)")
        first = serving.look()["rollout"]["green"]
        serving.until(lambda: first in traffic.served_by)
        said = serving.apply("echo:slow", "--wait", strategy={"bake": "0s"})
        serving.until(serving.settled)

    second, bento = serving.live()
    assert bento == "echo:slow"
    assert f"superseded by revision {second.rpartition('-')[2]}" in said.out
    assert f"{first}: undone" in said.out
    assert f"{second}: done" in said.out
    assert traffic.failures == []
    assert set(traffic.served_by) == {blue, first, second}
    assert {p.env["NOREN_REVISION"] for p in serving.processes("replica")} == {second}


def test_a_second_apply_while_green_starts_never_shows_the_first_to_a_guest(serving: House) -> None:
    other = serving.other()
    blue = serving.live()[0]
    with serving.traffic() as traffic:
        first = serving.begin("apply", serving.declare("echo:unready", strategy=LONG), "--wait")
        serving.until_state("warming")
        serving.apply(other, "--wait", strategy={"bake": "0s"})
        # Whoever waits for a revision that never served is told so.
        assert "superseded" in serving.end(first, expect=1).out
        serving.until(serving.settled)

    assert traffic.failures == []
    assert set(traffic.served_by) == {blue, serving.live()[0]}
    assert serving.live()[1] == other


def test_steering_without_a_rollout_is_a_conflict(serving: House) -> None:
    for verb in ("promote", "abort", "pause", "resume"):
        said = serving.run(verb, "echo", expect=4).err
        assert f"no rollout of echo is under way, so there is nothing to {verb}" in said
        assert "fix: see `noren status echo`" in said


def test_a_revision_that_has_not_been_judged_cannot_be_promoted(serving: House) -> None:
    serving.apply("echo:unready")
    serving.until_state("warming")

    said = serving.run("promote", "echo", expect=4).err

    assert "has not been judged yet (warming)" in said
    assert "fix: wait for its verdict" in said
    assert "aborted by a person" in serving.run("abort", "echo").out
    assert serving.until_state("undone", "done") == "undone"


def test_abort_gives_blue_all_traffic_back(serving: House) -> None:
    other = serving.other()
    blue = serving.live()[0]
    with serving.traffic() as traffic:
        serving.apply(other, strategy=LONG)
        serving.until_state("shifting(50)")
        serving.until(lambda: len(traffic.served_by) == 2)
        serving.run("abort", "echo")
        serving.until(serving.settled)

    assert serving.live()[0] == blue
    assert serving.state() == "undone"
    assert traffic.failures == []
    assert len(traffic.served_by) == 2


def test_a_rollback_while_blue_is_warm_is_by_weights_only(serving: House) -> None:
    other = serving.other()
    blue = serving.live()[0]
    with serving.traffic(rate=50) as traffic:
        serving.apply(other, strategy={"step_wait": "0s", "bake": "60s"})
        serving.until_state("baking")
        green = serving.live()[0]
        serving.until(lambda: traffic.answers[-1].revision == green)
        replicas = {p.pid for p in serving.processes("replica")}
        assert blue in {p.env["NOREN_REVISION"] for p in serving.processes("replica")}

        serving.run("rollback", "echo")
        taken = time.monotonic()
        serving.until(lambda: serving.weights() == {blue: 100})
        still_there = {p.pid for p in serving.processes("replica")}
        serving.until(serving.settled)

    last_of_green = max(answer.at for answer in traffic.answers if answer.revision == green)
    assert last_of_green - taken < 10  # seconds; the bake would have taken 60
    assert still_there
    assert still_there <= replicas  # nothing had to be started
    assert traffic.failures == []
    assert serving.live()[0] == blue


def test_a_rollback_after_blue_was_stopped_starts_it_first(serving: House) -> None:
    other = serving.other()
    blue = serving.live()[0]
    with serving.traffic() as traffic:
        serving.apply(other, "--wait", strategy={"steps": [100], "bake": "0s"})
        green = serving.live()[0]
        serving.until(serving.settled)
        serving.run("rollback", "echo")
        serving.until(lambda: serving.settled() and serving.live()[0] == blue)

    assert green != blue
    assert traffic.failures == []
    assert set(traffic.served_by) == {blue, green}


def test_a_rollback_to_what_cannot_be_gone_back_to_is_refused(serving: House) -> None:
    other = serving.other()
    first = serving.live()[0].rpartition("-")[2]
    serving.apply(other, "--wait", strategy={"steps": [100], "bake": "0s"})
    second = serving.live()[0].rpartition("-")[2]

    assert "is the live revision" in serving.run("rollback", "echo", "--to", second, expect=4).err
    assert "echo has no revision 999" in serving.run("rollback", "echo", "--to", "999", expect=3).err
    serving.apply("echo:unready")
    assert "fix: `noren abort echo` first" in serving.run("rollback", "echo", "--to", first, expect=4).err


# What these leave live takes its time to be rolled back to, so they stand behind the rollbacks.


def test_a_paused_rollout_keeps_its_split_until_it_is_resumed(serving: House) -> None:
    other = serving.other()
    serving.apply(other, strategy={"step_wait": "10s", "bake": "0s"})
    serving.until_state("shifting(50)")
    assert "paused" in serving.run("pause", "echo").out
    split = serving.weights()

    time.sleep(10)

    assert serving.weights() == split
    assert len(split) == 2
    serving.run("resume", "echo")
    assert serving.until_state("done", "undone") == "done"


def test_promote_skips_the_waiting_that_is_left(serving: House) -> None:
    other = serving.other()
    serving.apply(other, strategy=LONG)
    serving.until_state("shifting(50)")

    serving.run("promote", "echo")

    assert serving.until_state("done", "undone", within=60) == "done"  # of 120 s
    assert serving.live()[1] == other


def test_delete_takes_all_of_it_down(serving: House) -> None:
    serving.run("delete", "echo")
    serving.until(lambda: serving.deployments() == [])
    serving.apply("echo:v1", "--wait")
    assert serving.live() == ("echo-1", "echo:v1")  # nothing is remembered
    assert "echo has no previous revision" in serving.run("rollback", "echo", expect=4).err
    load = {"rate": 10, "warmup": "1s", "duration": "60s"}
    serving.apply("echo:v2", gates={"load": load})
    serving.until(lambda: len(serving.processes("gate")) > 1)

    serving.run("delete", "echo")
    serving.until(lambda: serving.deployments() == [])

    assert serving.status()["deployments"] == []
    assert serving.processes("replica") == []
    assert serving.processes("gate") == []
    assert serving.ask().status_code == 404
    serving.run("status", "echo", expect=3)
