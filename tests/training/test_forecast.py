"""`python -m training.forecast`: bad data is refused, settings are judged on series that they were not found on."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bentos.forecast.schema import LARGEST as LARGEST_SERVED
from models.forecast import ANY, LEVELS, ForecastModel, study
from models.smoothing import Floats
from training import calibration, series
from training.calibration import Case, Outcome
from training.datasets import DataError
from training.forecast import studies, study_of
from training.series import Task

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
needs_shared = pytest.mark.skipif(not (SHARED / "m3").is_dir(), reason=f"there is no m3 in {SHARED}")
Row = dict[str, Any]
YEAR = 1 + 0.3 * np.sin(2 * np.pi * np.arange(12) / 12)


def row(name: str, period: str, values: Floats, horizon: int) -> Row:
    """A line of the M3 file."""
    train, test = (" ".join(f"{value:.4f}" for value in part) for part in (values[:-horizon], values[-horizon:]))
    return {"id": name, "period": period, "type": "MICRO", "n": len(values) - horizon, "h": horizon} | {
        "train": train,
        "test": test,
    }


def growing(count: int = 12) -> list[Row]:
    """Series with trends and seasons, in which the naive forecast does badly."""
    chance = np.random.default_rng(42)
    years = [100 + 10 * np.arange(26) + chance.normal(0, 3, 26) for _ in range(count)]
    months = [(200 + 2 * np.arange(78)) * np.resize(YEAR, 78) * chance.normal(1, 0.02, 78) for _ in range(count)]
    return [
        *(row(f"Y{number}", "YEARLY", values, 6) for number, values in enumerate(years)),
        *(row(f"M{number}", "MONTHLY", values, 18) for number, values in enumerate(months)),
    ]


def write(folder: Path, rows: list[Row]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(rows[0]), *(",".join(map(str, one.values())) for one in rows)]
    (folder / "m3_series.csv.gz").write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return folder


def environment(folder: Path) -> dict[str, str]:
    own = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own}


def train(folder: Path, *options: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "training.forecast", *options],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def stored_models(folder: Path) -> list[Path]:
    return list((folder / "bentoml/models/forecast").glob("*/model.json"))


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "data/m3", growing())
    done = train(folder, "--data", "data", "--json", "--out", "exported")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)  # exactly one JSON object
    return folder, report


def test_it_beats_the_naive_forecast(trained: tuple[Path, dict[str, Any]]) -> None:
    _, report = trained
    metrics, naive = report["metrics"], report["baseline"]

    assert metrics["smape"] < naive["smape"]
    assert metrics["relative_mae"] < 0.9
    assert metrics["smape_yearly"] < naive["smape_yearly"]
    assert metrics["diverged"] == 0
    assert 0 <= metrics["coverage_50"] <= metrics["coverage_80"] <= metrics["coverage_95"] <= 1
    assert report["goals"] == []  # those are of M3


def test_the_model_is_stored_with_its_metrics(trained: tuple[Path, dict[str, Any]]) -> None:
    import yaml

    folder, report = trained
    (path,) = stored_models(folder)
    metadata = yaml.safe_load((path.parent / "model.yaml").read_text())["metadata"]

    assert report["tag"] == f"forecast:{path.parent.name}"
    assert metadata["smape"] == report["metrics"]["smape"]
    assert metadata["data_sha256"] == report["data"]["sha256"]
    assert path.read_bytes() == (folder / "exported/model.json").read_bytes()
    assert ForecastModel.from_bytes(path.read_bytes()).settings.keys() == {ANY}  # 12 series are too few of a kind
    assert report["data"]["train"] == 12 * 20 + 12 * 60


def test_training_twice_gives_the_same_model(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained

    done = train(tmp_path, "--data", str(folder / "data/m3"), "--out", "again")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again/model.json").read_bytes() == (folder / "exported/model.json").read_bytes()
    assert "relative_mae" in done.stdout


def test_a_model_no_better_than_naive_is_refused(tmp_path: Path) -> None:
    rows = [row(f"C{number}", "YEARLY", np.full(20, 5.0 + number), 6) for number in range(6)]
    write(tmp_path / "data", rows)

    refused = train(tmp_path, "--data", "data")
    assert refused.returncode == 2
    assert "no better than none: relative_mae 1, the naive baseline 1" in refused.stderr
    assert stored_models(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--data", "."], "m3_series.csv.gz is missing"),
    ],
)
def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path, options: list[str], problem: str) -> None:
    done = train(tmp_path, *options)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_leaves_no_model_and_no_process(tmp_path: Path) -> None:
    write(tmp_path / "data", growing(600))
    running = subprocess.Popen(
        [sys.executable, "-m", "training.forecast", "--data", "data"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout
        assert "read and check the data" in running.stdout.readline()  # so now it studies, in several processes
        until = time.monotonic() + 20
        while time.monotonic() < until and len(psutil.Process(running.pid).children()) < len(os.sched_getaffinity(0)):
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=120)
    finally:
        running.kill()

    assert running.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert stored_models(tmp_path) == []


def test_without_data_it_learns_from_series_that_packages_carry(tmp_path: Path) -> None:
    done = train(tmp_path, "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "built-in"
    assert report["metrics"]["relative_mae"] < 1
    assert report["metrics"]["smape_monthly"] < report["baseline"]["smape_monthly"]


@needs_shared
@pytest.mark.e2e
def test_a_tenth_of_m3_comes_near_the_goals(tmp_path: Path) -> None:
    done = train(tmp_path, "--data", str(SHARED), "--every", "10", "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    # The goals themselves are those of all 3,003 series: make bench-m3.
    assert report["metrics"]["smape"] < report["baseline"]["smape"]
    assert report["metrics"]["coverage_error_95"] < 0.04
    assert report["metrics"]["diverged"] == 0


# Reading


def test_the_folder_itself_and_the_root_of_all_data_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "m3", growing(2))

    assert series.m3(tmp_path).sha256 == series.m3(tmp_path / "m3").sha256


def test_series_of_a_frequency_go_to_either_half_in_turn(tmp_path: Path) -> None:
    tasks = series.m3(write(tmp_path, growing(3))).tasks

    assert [(task.name, task.frequency, task.half) for task in tasks] == [
        ("Y0", "yearly", 0), ("Y1", "yearly", 1), ("Y2", "yearly", 0),
        ("M0", "monthly", 0), ("M1", "monthly", 1), ("M2", "monthly", 0),
    ]  # fmt: skip
    assert (len(tasks[0].values), len(tasks[0].actual), len(tasks[3].actual)) == (20, 6, 18)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": "Y1"}, "id"),
        ({"period": "LUNAR"}, "period"),
        ({"n": 2}, "n row"),
        ({"h": 0}, "h row"),
        ({"n": "many"}, "n"),
        ({"train": "1 2 x"}, "train"),
        ({"train": "1 2 nan"}, "train"),
        ({"test": "1e16 2"}, "test"),
        ({"test": ""}, "test"),
        ({"n": 19}, "Y0 has 20 and 6 values, but says n = 19 and h = 6"),
        ({"h": 7}, "Y0 has 20 and 6 values, but says n = 20 and h = 7"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, changed: Row, problem: str) -> None:
    first, *others = growing(2)

    with pytest.raises(DataError, match=problem) as refused:
        series.m3(write(tmp_path, [first | changed, *others]))

    assert "m3_series.csv.gz" in refused.value.problem
    assert refused.value.fix


def test_series_that_are_there_twice_or_know_their_future_are_counted(tmp_path: Path) -> None:
    first, second, *others = growing(3)
    knows = second | {"train": f"1 2 {second['test']}", "n": 8}

    assert series.m3(write(tmp_path / "a", [first, second, *others])).twins == 0
    assert series.m3(write(tmp_path / "b", [first, knows, *others])).twins == 1
    assert series.m3(write(tmp_path / "c", [first, first | {"id": "again"}, *others])).twins == 1


def test_one_series_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few series"):
        series.m3(write(tmp_path, growing(1)[:1]))


def test_the_built_in_series_are_whole_and_no_value_is_forecast_twice() -> None:
    data = series.built_in()
    names = [task.name.split()[0] for task in data.tasks]

    assert {name: names.count(name) for name in names} == {"AirPassengers": 8, "co2": 33, "sunspots": 43}
    assert data.twins == 0
    first, second = data.tasks[:2]
    np.testing.assert_array_equal(second.values[-12:], first.actual)
    assert [task.half for task in data.tasks[:8]] == [0] * 4 + [1] * 4


def test_training_takes_what_the_service_takes() -> None:
    assert series.LARGEST == LARGEST_SERVED


# Settings


def cases(count: int, *, noise: float = 5.0, seed: int = 0) -> list[Case]:
    """Yearly series with a trend."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        values = 100 + chance.uniform(2, 8) * np.arange(30) + chance.normal(0, noise, 30)
        task = Task(name=str(number), frequency="yearly", half=number % 2, values=values[:24], actual=values[24:])
        found.append(Case(task=task, study=study_of(task)))
    return found


def test_intervals_found_on_one_half_hold_on_the_other() -> None:
    metrics, _ = calibration.scores(calibration.cross_fitted(cases(400)))

    assert metrics["coverage_95"] == pytest.approx(0.95, abs=0.03)
    assert metrics["coverage_80"] == pytest.approx(0.80, abs=0.05)
    assert metrics["coverage_50"] == pytest.approx(0.50, abs=0.07)


def test_settings_do_not_see_the_half_that_they_are_judged_on() -> None:
    known = cases(60)
    changed = [
        case if case.task.half == 0 else replace(case, task=replace(case.task, actual=case.task.actual + 1e6))
        for case in known
    ]

    # Half 1 is judged by settings of half 0, which has not changed; and the other way round.
    first, again = calibration.cross_fitted(known), calibration.cross_fitted(changed)
    np.testing.assert_allclose(widths(first[30:], known), widths(again[30:], changed))
    assert first[:30] != again[:30]


def widths(outcomes: list[Outcome], of: list[Case]) -> list[float]:
    """Of the intervals of half 1, in the unit of the values."""
    late = [case.task.actual for case in of if case.task.half]
    return [one.width * float(np.abs(actual).mean()) for one, actual in zip(outcomes, late, strict=True)]


def test_trust_goes_to_what_forecasts_well() -> None:
    settings = calibration.fitted(cases(80, noise=1.0)).settings["yearly"]
    shares = dict(zip(("naive", "simple", "trend", "damped", "theta", "dynamic theta"), settings.weights, strict=True))

    assert sum(settings.weights) == pytest.approx(1)
    assert shares["trend"] + shares["dynamic theta"] > shares["naive"] + shares["simple"]


def test_a_frequency_with_few_series_gets_the_settings_of_all() -> None:
    assert calibration.fitted(cases(19)).settings.keys() == {ANY}
    assert calibration.fitted(cases(20)).settings.keys() == {ANY, "yearly"}


def test_quantiles_rise_and_are_raised_for_few_series() -> None:
    few, many = (calibration.fitted(cases(count, seed=3)).settings[ANY] for count in (20, 200))

    assert list(many.quantiles) == sorted(many.quantiles)
    assert len(few.quantiles) == len(LEVELS)
    assert few.quantiles[-1] > few.quantiles[0] > 0


def test_a_forecast_far_from_all_that_was_is_counted_as_diverged() -> None:
    (case,) = cases(1)
    model = calibration.fitted(cases(20))
    wild = replace(case, study=replace(case.study, points=case.study.points * 1e4))

    assert not calibration.judged(case, model).diverged
    assert calibration.judged(wild, model).diverged


def test_many_series_are_studied_by_several_processes_in_order() -> None:
    tasks = [case.task for case in cases(60)]

    for task, found in zip(tasks, studies(tasks), strict=True):
        np.testing.assert_array_equal(found.points, study(task.values, 6, "yearly").points)
