"""`python -m training`: every bundle in turn, in a folder with small scripts in the place of the real ones."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("__init__", "__main__", "datasets", "steps", "store", "tracking", "trainer")

TRAINS = """
import json, os, sys
if __name__ == "__main__":
    print("told while it runs", file=sys.stderr)
    goals = [{"metric": "auc", "goal": ">= 0.8", "met": True}, {"metric": "f1", "goal": ">= 0.6", "met": False}]
    scores = {"auc": 0.8765, "f1": 0.5}
    data = {"name": "teas"}
    print(json.dumps({"metrics": scores, "baseline": {"auc": 0.5}, "goals": goals, "data": data, "ran": sys.argv[1:]}))
"""
FAILS = """
import sys
if __name__ == "__main__":
    sys.exit("error: the teapot is empty")
"""
CHATTERS = """
if __name__ == "__main__":
    print("not one JSON object")
"""
NEVER_ENDS = """
import pathlib, sys, time
if __name__ == "__main__":
    try:
        pathlib.Path("begun").touch()
        time.sleep(600)
    except KeyboardInterrupt:
        pathlib.Path("cleaned up").touch()
        sys.exit(130)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "training"
    folder.mkdir()
    for name in SHARED:
        shutil.copy(ROOT / f"training/{name}.py", folder)
    (folder / "black.py").write_text(TRAINS)
    (folder / "green.py").write_text(TRAINS)
    (folder / "water.py").write_text("# helps the others, and cannot be run\n")
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments]


def train(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": "", "COLUMNS": "160"}
    return subprocess.run(
        command(*arguments), cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_all_bundles_are_trained_in_turn_and_shown_in_one_table(project: Path) -> None:
    done = train(project)

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == ["[1/2] black", "[2/2] green"]
    assert done.stderr.count("told while it runs") == 2
    rows = [re.sub(r"[│|]", " ", line).split() for line in done.stdout.splitlines()]
    assert ["auc", "0.8765", "0.5", ">=", "0.8", "reached"] in rows
    assert ["f1", "0.5", "-", ">=", "0.6", "missed"] in rows


def test_a_goal_that_is_missed_is_no_failure_and_json_is_one_document(project: Path) -> None:
    done = train(project, "green", "--json")

    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert list(document["trained"]) == ["green"]
    assert document["failed"] == {}


def test_what_is_asked_for_is_passed_on(project: Path) -> None:
    done = train(project, "green", "--data", "some where", "--force", "--json")

    assert json.loads(done.stdout)["trained"]["green"]["ran"] == ["--json", "--data", "some where", "--force"]


@pytest.mark.parametrize(("script", "reason"), [(FAILS, "exit code 1"), (CHATTERS, "did not print one JSON object")])
def test_one_that_fails_does_not_stop_the_others_but_is_told_by_the_exit_code(
    project: Path, script: str, reason: str
) -> None:
    (project / "training/earl.py").write_text(script)

    done = train(project, "--json")

    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert sorted(document["trained"]) == ["black", "green"]
    assert reason in document["failed"]["earl"]
    assert "earl was not trained" in done.stderr


@pytest.mark.parametrize("name", ["nosuch", "water", "trainer", "../black"])
def test_an_unknown_name_is_refused_before_anything_is_trained(project: Path, name: str) -> None:
    done = train(project, "black", name)

    assert done.returncode == 2
    assert f"there is no bundle {name}" in done.stderr
    assert "name some of black, green" in done.stderr
    assert "told while it runs" not in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_script_once_and_ends_everything(project: Path, ending: signal.Signals) -> None:
    (project / "training/black.py").write_text(NEVER_ENDS)
    running = subprocess.Popen(
        command(),
        cwd=project,
        env={**os.environ, "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (project / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(ending)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()

    assert running.returncode == 130, said
    assert (project / "cleaned up").exists()
    assert "green" not in said


def test_the_bundles_of_the_shop_are_found() -> None:
    from training.__main__ import bundles

    assert "sentiment" in bundles()
    assert not {"trainer", "datasets", "tables", "store", "steps", "tracking"} & set(bundles())
