"""Ctrl-C anywhere leaves nothing half-written and no orphan; exit code 130."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e


def test_a_rollout_goes_on_when_the_one_who_waits_for_it_leaves(serving: House) -> None:
    other = serving.other()
    waiting = serving.begin("apply", serving.declare(other, strategy={"step_wait": "6s"}), "--wait")
    serving.until_state("gating", "shifting(50)")

    serving.interrupt(waiting)

    assert serving.until_state("done", "undone") == "done"
    assert serving.live()[1] == other


def test_watch_ends_without_a_word_of_complaint(serving: House) -> None:
    serving.apply(serving.other(), strategy={"step_wait": "60s"})
    watching = serving.begin("watch", "echo")
    serving.until_state("shifting(50)")
    serving.await_begun(watching)

    assert serving.interrupt(watching).err.strip() == ""

    serving.run("abort", "echo")


def test_up_leaves_nothing_of_what_it_had_started(house: House, tmp_path: Path) -> None:
    hold = tmp_path / "hold"

    def interrupted(begun: Callable[[subprocess.Popen[str]], object]) -> None:
        up = house.begin("up")
        begun(up)
        house.interrupt(up)
        time.sleep(0.3)  # what was started a moment ago would show itself now
        assert house.processes() == []

    interrupted(house.await_begun)
    # `up` waits for what is live, so that it has not ended before it is interrupted.
    house.up()
    house.apply("echo:late", "--wait", strategy={"steps": [100], "bake": "0s"}, env={"HOLD": str(hold)})
    house.run("down")
    hold.touch()
    interrupted(lambda _: house.until(lambda: house.processes("server")))
    interrupted(lambda _: house.until(lambda: house.processes("envoy")))
    hold.unlink()
    house.up()  # and nothing of it stands in the way
    assert len(house.processes("server")) == 1


def test_up_leaves_a_data_plane_that_served_before_as_it_was(serving: House) -> None:
    before = {p.pid for p in serving.processes() if p.kind != "server"}
    serving.kill("server")
    up = serving.begin("up")
    serving.until(lambda: serving.processes("server"))
    serving.machine.signal("server", "server", signal.SIGSTOP)  # or `up` might end before it is interrupted

    os.killpg(up.pid, signal.SIGINT)
    serving.machine.signal("server", "server", signal.SIGCONT)
    serving.end(up, expect=130)

    assert {p.pid for p in serving.processes()} == before
    assert serving.ask().json() == {"text": "hello"}
    serving.up()


def test_a_server_in_the_foreground_is_ended_by_ctrl_c_and_by_down(house: House) -> None:
    for ending in ("ctrl-c", "down"):
        server = house.begin("up", "--foreground")
        house.until(lambda: house.weights() == {} and house.answers())
        assert house.leader("server").pid == server.pid
        if ending == "ctrl-c":
            house.interrupt(server, expect=0)
            assert house.processes("server") == []
        house.run("down")
        assert house.processes() == []
    house.end(server, expect=0)


def test_build_leaves_no_half_of_a_bento(house: House, project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for after_s in (0, 0.7, 1.5, 2.3):
        build = house.begin("build", cwd=project, BENTOML_HOME=str(store))
        house.await_begun(build)
        time.sleep(after_s)
        os.killpg(build.pid, signal.SIGINT)
        _, err = build.communicate(timeout=60)
        assert build.returncode in (130, 0)  # 0: it was faster
        assert "noren/cli" not in err  # BentoML's own words are BentoML's

        assert _of_store(store) == []
        whole = [bento.parent for bento in store.glob("bentos/*/*/bento.yaml")]
        assert [folder for folder in store.glob("bentos/*/*") if folder.is_dir()] == whole
        assert all((bento / "env/python/requirements.txt").is_file() for bento in whole)
    said = house.run("build", "--version", "again", "--json", cwd=project, BENTOML_HOME=str(store))
    assert said.json == {"bento": "echo:again"}


def _of_store(store: Path) -> list[int]:
    """The processes that work for the store."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BENTOML_HOME") == str(store):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
