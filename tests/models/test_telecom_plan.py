"""The telecom_plan model: the likelier plan, and how surely it fits."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from models import churn, telecom_plan
from models.churn import ChurnModel
from models.classifier import Parameters
from models.probability import Truths, logistic
from models.telecom_plan import TelecomPlanModel

SETTINGS = [Parameters(trees=30, depth=3)]


def usages(rows: int = 800) -> tuple[pd.DataFrame, Truths]:
    random = np.random.default_rng(42)
    calls = random.poisson(63, rows)
    made = pd.DataFrame(
        {
            "calls": calls,
            "minutes": calls * random.normal(7, 0.5, rows),
            "messages": random.poisson(38, rows),
            "mb_used": random.normal(17_000, 7_000, rows).clip(0),
        }
    )
    return made, random.random(rows) < logistic((made["mb_used"].to_numpy() - 20_000) / 3_000)


@pytest.fixture(scope="module")
def model() -> TelecomPlanModel:
    return TelecomPlanModel(telecom_plan.fit(*usages(), settings=SETTINGS).classifier)


def test_the_plan_is_the_likelier_one_and_the_fit_is_its_probability(model: TelecomPlanModel) -> None:
    advice = model.advise(usages()[0].to_dict("records"))

    assert {one.plan for one in advice} == {"smart", "ultra"}
    assert all(one.plan == ("ultra" if one.probability >= 0.5 else "smart") for one in advice)
    assert all(one.fit == pytest.approx(max(one.probability, 1 - one.probability)) for one in advice)


def test_as_many_plans_fit_as_are_expected_to() -> None:
    table, ultra = usages(4_000)
    model = TelecomPlanModel(telecom_plan.fit(table.iloc[:2_000], ultra[:2_000], settings=SETTINGS).classifier)

    advice = model.advise(table.iloc[2_000:].to_dict("records"))
    right = [(one.plan == "ultra") == true for one, true in zip(advice, ultra[2_000:], strict=True)]

    assert np.mean([one.fit for one in advice]) == pytest.approx(np.mean(right), abs=0.03)


def test_who_uses_much_data_is_advised_ultra(model: TelecomPlanModel) -> None:
    little, much = model.advise(
        [{"calls": 63, "minutes": 440.0, "messages": 38, "mb_used": mb_used} for mb_used in (5_000.0, 35_000.0)]
    )

    assert (little.plan, much.plan) == ("smart", "ultra")


def test_a_stored_model_advises_the_same(model: TelecomPlanModel) -> None:
    records = usages()[0].to_dict("records")

    assert TelecomPlanModel.from_bytes(model.to_bytes()).advise(records) == model.advise(records)
    assert model.advise([]) == []


def test_a_model_of_another_service_is_refused() -> None:
    table, left = usages()
    other = ChurnModel(churn.fit(table, left, missed=2.0, settings=SETTINGS).classifier)

    with pytest.raises(ValueError, match="not a stored telecom_plan model: it tells churn"):
        TelecomPlanModel.from_bytes(other.to_bytes())


def test_serving_imports_neither_scikit_learn_nor_pandas() -> None:
    check = "import sys, models.telecom_plan; sys.exit(bool({'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
