"""The M3 benchmark goes on where it was interrupted, and publishes nothing but M3."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.forecast import __main__ as bench
from benchmarks.forecast import studies
from benchmarks.forecast.ledger import Ledger
from benchmarks.forecast.peers import holt_winters
from training.series import Task


def tasks(count: int, frequency: str = "yearly") -> list[Task]:
    chance = np.random.default_rng(42)
    found = []
    for number in range(count):
        values = 100 + np.arange(50) + chance.normal(0, 3, 50)
        found.append(
            Task(name=f"T{number}", frequency=frequency, half=number % 2, values=values[:44], actual=values[44:])
        )
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks that were worked on, in this process."""
    names: list[str] = []

    def alone(function: Callable[[Task], Any], todo: Sequence[Task]) -> Iterator[Any]:
        for task in todo:
            names.append(task.name)
            yield function(task)

    monkeypatch.setattr(studies, "on_all_cores", alone)
    monkeypatch.setattr(bench, "on_all_cores", alone)
    return names


def test_what_is_done_is_not_done_again(tmp_path: Path, asked: list[str]) -> None:
    studies.complete(Ledger(tmp_path, data_sha256="a"), tasks(4))
    done = studies.complete(Ledger(tmp_path, data_sha256="a"), tasks(6))

    assert asked == ["T0", "T1", "T2", "T3", "T4", "T5"]
    assert sorted(done) == asked


def test_a_study_is_read_as_it_was_kept(tmp_path: Path) -> None:
    ledger, studied = Ledger(tmp_path, data_sha256="a"), studies.timed(tasks(1)[0])
    ledger.keep(studied)

    read = ledger.all()["T0"]
    for name in ("points", "errors", "actual"):
        np.testing.assert_array_equal(getattr(read.study, name), getattr(studied.study, name))
    assert (read.took_ms, read.study.period, read.study.diverged) == (studied.took_ms, 1, ())


def test_other_data_have_studies_of_their_own(tmp_path: Path) -> None:
    Ledger(tmp_path, data_sha256="a").keep(studies.timed(tasks(1)[0]))

    assert Ledger(tmp_path, data_sha256="b").all() == {}


def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path, asked: list[str]) -> None:
    ledger = Ledger(tmp_path, data_sha256="a")
    studies.complete(ledger, tasks(3))
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:-100])
    asked.clear()

    assert sorted(studies.complete(ledger, tasks(3))) == ["T0", "T1", "T2"]
    assert asked == ["T2"]
    assert sorted(ledger.all()) == ["T0", "T1", "T2"]


def test_several_processes_study_every_series_once() -> None:
    found = list(studies.on_all_cores(studies.timed, tasks(5)))

    assert sorted(one.name for one in found) == [f"T{number}" for number in range(5)]


def test_the_peer_is_judged_as_we_are() -> None:
    (task,) = tasks(1)
    peer = holt_winters(task)

    assert 0 < peer.smape < 20
    assert not peer.diverged


@pytest.mark.usefixtures("asked")
def test_other_series_than_those_of_m3_are_shown_and_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bench, "publish", lambda *_, **__: pytest.fail("published"))
    lines = ["id,period,type,n,h,train,test"]
    for task in tasks(12, "monthly"):
        train, test = (" ".join(map(str, part)) for part in (task.values.tolist(), task.actual.tolist()))
        lines.append(f"{task.name},MONTHLY,MICRO,44,6,{train},{test}")
    (tmp_path / "m3_series.csv.gz").write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))

    assert bench.main(["--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "12 series, not those of M3" in shown
    assert "statsmodels" in shown


def test_without_the_data_it_says_so(tmp_path: Path) -> None:
    assert bench.main(["--data", str(tmp_path / "nowhere")]) == 77
