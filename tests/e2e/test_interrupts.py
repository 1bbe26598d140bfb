"""Ctrl-C anywhere leaves nothing half-written and no orphan; exit code 130."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e


def test_a_rollout_goes_on_when_the_one_who_waits_for_it_leaves(serving: House) -> None:
    waiting = serving.begin("apply", serving.declare("echo:v2"), "--wait")
    serving.until_state("gating", "shifting(50)")

    serving.interrupt(waiting)

    assert serving.until_state("done", "undone") == "done"
    assert serving.live()[1] == "echo:v2"


def test_watch_ends_without_a_word_of_complaint(serving: House) -> None:
    serving.apply("echo:v2", strategy={"step_wait": "60s"})
    watching = serving.begin("watch", "echo")
    serving.until_state("shifting(50)")

    assert serving.interrupt(watching).err.strip() == ""

    serving.run("abort", "echo")


@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.2, 1.6])
def test_up_leaves_a_whole_control_plane_or_nothing(house: House, after_s: float) -> None:
    up = house.begin("up")
    time.sleep(after_s)
    if up.poll() is None:
        house.interrupt(up)
        time.sleep(0.3)  # what was started a moment ago would show itself now
        assert house.processes() == []

    house.up()  # whatever there was does not stand in the way

    assert len(house.processes("server")) == 1


@pytest.mark.parametrize("after_s", [0.3, 1.0, 1.8, 2.6])
def test_build_leaves_no_half_of_a_bento(house: House, project: Path, tmp_path: Path, after_s: float) -> None:
    store = tmp_path / "store"
    build = house.begin("build", cwd=project, BENTOML_HOME=str(store))
    time.sleep(after_s)
    if build.poll() is None:
        house.interrupt(build)

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
