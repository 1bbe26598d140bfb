"""`make bench-train`: rows from reports, and what a pull request is told of them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import train
from benchmarks.rows import Row

REPORT: dict[str, Any] = {
    "metrics": {"auc": 0.87654321, "rmse": 3754.2},
    "baseline": {"auc": 0.5},
    "goals": [{"metric": "rmse", "goal": "<= 4000", "met": True}],
    "data": {"name": "teas", "train": 8000, "test": 2000},
    "seconds": 12.3,
}


def figures(**values: float) -> dict[str, Row]:
    goals = {"auc": ">= 0.8", "rmse": "<= 4000"}
    return {
        name: Row(name=name, value=value, unit="s" if name == "training" else "", goal=goals.get(name, ""))
        for name, value in values.items()
    }


def told(before: dict[str, Row], now: dict[str, Row]) -> list[list[str]]:
    page = train.markdown(before, now, against="main")
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith("| figure")
    ]


def test_metrics_baselines_and_seconds_become_rows_that_can_be_judged() -> None:
    assert list(train.rows({"tea": REPORT})) == [
        Row(name="tea on teas: auc", value=0.876543, unit=""),
        Row(name="tea on teas: auc, naive baseline", value=0.5, unit=""),
        Row(name="tea on teas: rmse", value=3754.2, unit="", goal="<= 4000"),
        Row(name="tea on teas: training", value=12.3, unit="s"),
    ]


@pytest.mark.parametrize(
    ("before", "now", "cells"),
    [
        ({"auc": 0.85}, {"auc": 0.9}, ["auc", "0.85", "0.9", "+0.05", ">= 0.8", "better"]),
        ({"auc": 0.9}, {"auc": 0.85}, ["auc", "0.9", "0.85", "-0.05", ">= 0.8", "worse"]),
        ({"rmse": 3000}, {"rmse": 3500}, ["rmse", "3000", "3500", "+500", "<= 4000", "worse"]),
        ({"rmse": 3500}, {"rmse": 3000}, ["rmse", "3500", "3000", "-500", "<= 4000", "better"]),
        ({"auc": 0.7}, {"auc": 0.7}, ["auc", "0.7", "0.7", "+0", ">= 0.8", "**missed**"]),
        ({}, {"auc": 0.9}, ["auc", "", "0.9", "", ">= 0.8", "new"]),
        ({"auc": 0.9}, {}, ["auc", "0.9", "", "", ">= 0.8", "gone"]),
        ({"other": 1}, {"other": 2}, ["other", "1", "2", "+1", "", ""]),
    ],
)
def test_a_pull_request_is_told_what_changed_and_what_is_missed(
    before: dict[str, float], now: dict[str, float], cells: list[str]
) -> None:
    assert told(figures(**before), figures(**now)) == [cells]


def test_what_is_as_it_was_and_seconds_are_not_told() -> None:
    before, now = figures(auc=0.9, training=10.0), figures(auc=0.9, training=20.0)

    assert told(before, now) == []
    assert "All figures are as at main." in train.markdown(before, now, against="main")


def test_the_title_counts_missed_goals_and_a_first_time_is_said() -> None:
    page = train.markdown({}, figures(auc=0.7, rmse=3000), against="main")

    assert page.startswith("### Training: 2 of 2 figures to look at, 1 goal missed\n")
    assert "No figures are committed at main." in page


def test_the_report_compares_the_working_folder_with_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "benchmarks/results/train.json"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(train, "ROOT", tmp_path)
    monkeypatch.setattr(train, "FILE", file)

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    def write(auc: float) -> None:
        file.write_text(json.dumps({"rows": [{"name": "auc", "value": auc, "unit": "", "goal": ">= 0.8"}]}))

    write(0.85)
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    write(0.9)

    assert train.main(["report"]) == 0
    assert "| auc | 0.85 | 0.9 | +0.05 | >= 0.8 | better |" in capsys.readouterr().out
    assert train.main(["report", "--against", "nosuch"]) == 0
    assert "No figures are committed at nosuch." in capsys.readouterr().out


def test_the_page_of_a_bundle_has_a_table_for_each_data_set() -> None:
    full = REPORT | {"data": {"name": "all teas", "train": 1, "test": 2}}

    assert train.table("tea", [{"tea": REPORT}, {"tea": full}, {"tea": full}]).split("\n\n") == [
        "| teas: 8,000 + 2,000 rows | score | naive baseline | to beat | |\n"
        "|---|---:|---:|---|---|\n"
        "| auc | 0.8765 | 0.5 |  |  |\n"
        "| rmse | 3754 |  | <= 4000 | reached |",
        "| all teas: 1 + 2 rows | score | naive baseline | to beat | |\n"
        "|---|---:|---:|---|---|\n"
        "| auc | 0.8765 | 0.5 |  |  |\n"
        "| rmse | 3754 |  | <= 4000 | reached |",
    ]


def test_a_training_that_fails_publishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[object] = []
    monkeypatch.setattr(train, "_train", lambda _: (1, {}))
    monkeypatch.setattr(train, "publish", lambda *arguments, **_: published.append(arguments))

    assert train.main([]) == 1
    assert published == []


def test_what_is_published_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(train, "_train", lambda _: (0, {"tea": REPORT}))
    monkeypatch.setattr(train, "publish", lambda _, rows, *, command: commands.append(f"{command}: {len(rows)}"))

    assert train.main([]) == train.main(["--data", "../shared/data"]) == 0
    assert commands == ["make bench-train: 4", "make bench-train DATA=../shared/data: 8"]
