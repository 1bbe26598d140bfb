"""The load gate, and `noren gate calibrate`, with real copies of a real Bento."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noren.gates import files
from noren.gates.calibration import from_json
from noren.gates.duet import QUANTILES

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

SMALL = ("--launches", "3", "--duration", "2s")


def copies(house: House) -> list[str]:
    """What runs, and is wanted to run, of a calibration."""
    runs = {p.env["NOREN_REVISION"] for p in house.processes("replica")}
    wanted = {folder.name for folder in (house.home / "replicas").iterdir()}
    return sorted(name for name in runs | wanted if name.startswith("calibrate_"))


@pytest.mark.quiet
def test_a_bento_that_is_much_slower_fails_the_load_gate(serving: House) -> None:
    load = {"rate": 30, "warmup": "0s", "duration": "12s"}

    said = serving.apply("echo:slow", "--wait", expect=1, gates={"load": load}).out

    assert "failed its gate: " in said
    verdict = serving.run("verdict", "echo", "--json").json[-1]
    assert verdict["outcome"] == "FAIL"
    assert [check["name"] for check in verdict["checks"] if check["outcome"] == "FAIL"] != []
    assert verdict["degraded"] == ""  # there was room for a copy of blue
    assert verdict["replicas"] != []
    serving.until(Path(verdict["evidence"], "report.html").exists)  # drawn while the rollout goes on
    serving.until(serving.settled)
    serving.until(lambda: serving.processes("gate") == [])


@pytest.mark.quiet
def test_a_calibration_is_stored_and_leaves_nothing_running(serving: House) -> None:
    before = {p.pid for p in serving.processes()}

    for _ in range(3):  # it refuses to measure on a machine that is busy, which this one may be for a moment
        done = serving.run("gate", "calibrate", "echo", "--json", *SMALL, expect=None)
        if "the machine is too busy" not in done.err:
            break
    assert done.code == 0, done.text

    stored = files.calibration(serving.home, "echo")
    found = from_json(stored.read_bytes())
    assert (found.deployment, found.bento, found.launches, found.duration_s) == ("echo", "echo:v1", 3, 2)
    assert 0 <= found.launch_sigma <= found.launch_sigma_high
    said = done.json
    assert said["launch_sigma"] == found.launch_sigma
    assert set(said["resolves"]) == set(QUANTILES)
    assert all(margin > 0 for by_time in said["resolves"].values() for margin in by_time.values())
    assert copies(serving) == []
    assert {p.pid for p in serving.processes()} == before
    assert sorted(file.name for file in stored.parent.iterdir()) == ["echo.json", "lock"]
    assert serving.settled()  # the control plane did not mind


def test_ctrl_c_in_the_middle_ends_the_copies_and_stores_nothing(serving: House) -> None:
    stored = files.calibration(serving.home, "echo")
    stored.unlink(missing_ok=True)
    calibrating = serving.begin("gate", "calibrate", "echo", *SMALL)
    serving.until(lambda: len(copies(serving)) == 2)

    said = serving.interrupt(calibrating)

    assert "launch 1 of 3: starting two copies of echo-" in said.err
    assert copies(serving) == []
    assert not stored.exists()
    assert serving.settled()


def test_a_deployment_that_is_unknown_or_nowhere_live_is_refused(serving: House) -> None:
    said = serving.run("gate", "calibrate", "tea", expect=3)
    assert "tea" in said.err
    assert "fix:" in said.err


def test_a_copy_that_does_not_get_ready_says_its_last_words(house: House) -> None:
    """The Bento was changed behind the back of the one that runs."""
    house.up()
    house.apply("echo:v2", "--wait", strategy={"steps": [100], "bake": "0s"})
    service = house.bentoml_home / "bentos" / "echo" / "v2" / "src" / "service.py"
    sound = service.read_text()
    service.write_text(sound.replace("import os\n", "import nosuchmodule\n"))
    try:
        said = house.run("gate", "calibrate", "echo", *SMALL, expect=5)
    finally:
        service.write_text(sound)
    assert "did not get ready" in said.err
    assert "nosuchmodule" in said.err
    assert copies(house) == []
