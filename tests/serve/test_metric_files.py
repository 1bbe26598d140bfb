"""Whose files of metrics are whose: what a worker takes over, and what goes with it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from noren_serve import metric_files
from prometheus_client.mmap_dict import MmapedDict, mmap_key


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    yield tmp_path
    metric_files.write_as("")


def test_a_worker_knows_the_endpoints_that_were_counted_in_its_name(folder: Path) -> None:
    stored: Any = MmapedDict(str(folder / "counter_12-1.db"))  # type: ignore[no-untyped-call]
    for path in ("/predict", "/livez"):
        stored.write_value(mmap_key("requests", "requests_total", ["endpoint"], [path], "help"), 3.0, 0.0)
    stored.write_value(mmap_key("others", "others_total", [], [], "help"), 1.0, 0.0)
    stored.close()

    metric_files.write_as("12-1")
    assert metric_files.endpoints() == {"/predict", "/livez"}
    metric_files.write_as("12-2")
    assert metric_files.endpoints() == set()


def test_a_forked_process_has_files_of_its_own(folder: Path) -> None:
    metric_files.write_as("12-1")
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writing, metric_files._name().encode())
        os._exit(0)
    os.waitpid(pid, 0)

    assert metric_files._name() == "12-1"
    assert os.read(reading, 100) == str(pid).encode()


def test_only_the_gauges_of_the_living_go_with_a_worker(folder: Path) -> None:
    kept = ["counter_12-1.db", "gauge_all_12-1.db", "gauge_max_12-1.db", "gauge_livesum_12-2.db", "histogram_12-1.db"]
    for name in [*kept, "gauge_livesum_12-1.db", "gauge_liveall_12-1.db"]:
        (folder / name).touch()

    metric_files.forget("12-1")

    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)
