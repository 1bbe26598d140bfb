"""The churn model: a judgement fits its probability, and tells why."""

import subprocess
import sys
from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import churn
from models.churn import ChurnModel, risk
from models.classifier import Parameters
from models.probability import Truths, logistic

SETTINGS = [Parameters(trees=30, depth=3)]


def customers(rows: int = 800) -> tuple[pd.DataFrame, Truths]:
    random = np.random.default_rng(42)
    made = pd.DataFrame(
        {
            "credit_score": random.integers(350, 851, rows),
            "geography": random.choice(["France", "Germany", "Spain"], rows),
            "gender": random.choice(["Female", "Male"], rows),
            "age": random.integers(18, 93, rows),
            "tenure": random.integers(0, 11, rows),
            "balance": random.uniform(0, 200_000, rows),
            "num_of_products": random.integers(1, 5, rows),
            "is_active_member": random.integers(0, 2, rows),
        }
    )
    log_odds = 0.06 * (made["age"] - 70) + (made["geography"] == "Germany") - made["is_active_member"]
    return made, random.random(rows) < logistic(log_odds.to_numpy(dtype=float))


@pytest.fixture(scope="module")
def model() -> ChurnModel:
    return ChurnModel(churn.fit(*customers(), missed=2.0, settings=SETTINGS).classifier)


def records() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = customers()[0].to_dict("records")
    return made


def test_contributions_add_up_to_the_log_odds_of_the_probability(model: ChurnModel) -> None:
    for one in model.judge(records()):
        total = one.base + sum(added for _, added in one.contributions) + one.rest
        assert total == pytest.approx(log(one.probability / (1 - one.probability)), abs=1e-9)


def test_the_probability_is_the_classifiers(model: ChurnModel) -> None:
    rows = model.classifier.rows(records())

    judged = [one.probability for one in model.judge(records())]

    np.testing.assert_allclose(judged, model.classifier.probabilities(rows), atol=1e-9)


def test_the_largest_contributions_come_first_and_the_rest_is_smaller(model: ChurnModel) -> None:
    for one in model.judge(records()[:100]):
        sizes = [abs(added) for _, added in one.contributions]
        assert len({field for field, _ in one.contributions}) == churn.TOP
        assert sizes == sorted(sizes, reverse=True)
        assert abs(one.rest) <= (len(model.classifier.columns) - churn.TOP) * sizes[-1] + 1e-12


def test_an_offer_is_made_from_the_threshold_on(model: ChurnModel) -> None:
    judged = model.judge(records())

    assert {one.offer for one in judged} == {True, False}
    assert all(one.offer == (one.probability >= model.threshold) for one in judged)


def test_the_more_a_lost_customer_costs_the_sooner_an_offer_is_made(model: ChurnModel) -> None:
    dear = ChurnModel(churn.fit(*customers(), missed=10.0, settings=SETTINGS).classifier)

    assert dear.threshold < model.threshold


@pytest.mark.parametrize(
    ("probability", "band"),
    [(0.0, "low"), (0.1999, "low"), (0.2, "medium"), (0.4999, "medium"), (0.5, "high"), (1.0, "high")],
)
def test_the_bands_of_risk(probability: float, band: str) -> None:
    assert risk(probability) == band


def test_customers_are_judged_alike_alone_and_together(model: ChurnModel) -> None:
    together = model.judge(records()[:20])

    for alone, one in zip(records()[:20], together, strict=True):
        assert model.judge([alone])[0].probability == pytest.approx(one.probability, abs=1e-12)


def test_fields_that_the_model_was_not_fitted_on_are_ignored(model: ChurnModel) -> None:
    (customer, *_) = records()

    assert model.judge([{**customer, "has_cr_card": True, "estimated_salary": 1.0}]) == model.judge([customer])
    assert model.judge([]) == []


def test_a_model_of_few_fields_tells_all_of_them() -> None:
    table, left = customers()
    few = ChurnModel(churn.fit(table[["age", "gender"]], left, missed=2.0, settings=SETTINGS).classifier)

    (one,) = few.judge([{"age": 60, "gender": "Male", "balance": 5.0}])

    assert {field for field, _ in one.contributions} == {"age", "gender"}
    assert one.rest == 0.0


def test_a_stored_model_judges_the_same(model: ChurnModel) -> None:
    assert ChurnModel.from_bytes(model.to_bytes()).judge(records()) == model.judge(records())


def test_something_else_than_a_churn_model_is_refused() -> None:
    with pytest.raises(ValueError, match="not a stored churn model"):
        ChurnModel.from_bytes(b"PK\x03\x04broken")


def test_serving_imports_neither_scikit_learn_nor_pandas() -> None:
    check = "import sys, models.churn; sys.exit(bool({'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
