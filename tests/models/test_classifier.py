"""The served classifier says what the scikit-learn pipeline says after calibration, and why."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import classifier
from models.classifier import Classifier, Fitted, Parameters, grid, pipeline
from models.probability import Floats, Truths, logistic

SMALL = Parameters(trees=20, depth=3, min_leaf=5)
CATEGORICAL = ("country", "colour")
COLUMNS = ("country", "colour", "age", "money")


def table(rows: int = 600, *, seed: int = 42) -> tuple[pd.DataFrame, Truths]:
    """Numbers before and between the texts, which come first in the model."""
    random = np.random.default_rng(seed)
    made = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows).astype(float),
            "country": random.choice(["Chad", "Peru", "Fiji"], rows),
            "money": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows)),
            "colour": random.choice(["red", "blue"], rows),
        }
    )
    log_odds = 0.05 * (made["age"] - 60) + (made["country"] == "Peru") * made["money"].fillna(1.0)
    return made, random.random(rows) < logistic(log_odds.to_numpy())


def fit(rows: pd.DataFrame, positive: Truths, **changed: Any) -> Fitted:
    options: dict[str, Any] = {
        "kind": "tea",
        "categorical": CATEGORICAL,
        "settings": [SMALL],
        "threshold": lambda _: 0.5,
    }
    return classifier.fit(rows, positive, **options | changed)


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, Truths]:
    return table()


@pytest.fixture(scope="module")
def fitted(data: tuple[pd.DataFrame, Truths]) -> Fitted:
    return fit(*data)


def expected(data: tuple[pd.DataFrame, Truths], fitted: Fitted, rows: pd.DataFrame) -> Floats:
    """Calibrated log-odds by scikit-learn."""
    ordered, positive = data[0][list(COLUMNS)], data[1]
    margins = pipeline(CATEGORICAL, SMALL).fit(ordered, positive).decision_function(rows[list(COLUMNS)])
    return fitted.line(np.asarray(margins, dtype=np.float64))


def test_it_says_what_the_pipeline_says_after_calibration(data: tuple[pd.DataFrame, Truths], fitted: Fitted) -> None:
    model = fitted.classifier
    rows = model.rows(data[0].to_dict("records"))

    np.testing.assert_allclose(model.trees.scores(rows), expected(data, fitted, data[0]), atol=1e-9)
    np.testing.assert_allclose(model.probabilities(rows), logistic(expected(data, fitted, data[0])), atol=1e-9)


def test_unknown_categories_and_missing_values_are_taken_as_the_pipeline_takes_them(
    data: tuple[pd.DataFrame, Truths], fitted: Fitted
) -> None:
    strange = pd.DataFrame(
        {
            "country": ["Atlantis", "Peru", "Chad"],
            "colour": ["red", "mauve", "blue"],
            "age": [40.0, np.nan, 200.0],
            "money": [np.nan, 3.0, -1e9],
        }
    )

    ours = fitted.classifier.trees.scores(fitted.classifier.rows(strange.to_dict("records")))

    np.testing.assert_allclose(ours, expected(data, fitted, strange), atol=1e-9)


def test_a_field_that_is_absent_counts_as_missing_and_one_too_many_is_ignored(fitted: Fitted) -> None:
    rows = fitted.classifier.rows([{"country": "Peru", "age": 40, "shoes": 46}])

    assert fitted.classifier.columns == COLUMNS
    assert rows[0, 0] == fitted.classifier.categories["country"].index("Peru")
    assert rows[0, 2] == 40.0
    assert np.isnan(rows[0, [1, 3]]).all()


def test_no_rows_have_no_probabilities(fitted: Fitted) -> None:
    assert fitted.classifier.probabilities(fitted.classifier.rows([])).shape == (0,)


def test_contributions_add_up_to_the_calibrated_log_odds(data: tuple[pd.DataFrame, Truths], fitted: Fitted) -> None:
    trees = fitted.classifier.trees
    rows = fitted.classifier.rows(data[0].to_dict("records"))

    totals = trees.expected + trees.contributions(rows).sum(axis=1)

    np.testing.assert_allclose(totals, expected(data, fitted, data[0]), atol=1e-9)


def test_a_path_asks_no_more_questions_than_the_depth(fitted: Fitted) -> None:
    assert fitted.classifier.trees.feature.shape[0] <= SMALL.depth


def test_the_setting_with_the_lowest_cross_validated_log_loss_is_taken(data: tuple[pd.DataFrame, Truths]) -> None:
    hopeless = replace(SMALL, trees=1, learning_rate=0.001, min_leaf=290)

    assert fit(*data, settings=[hopeless, SMALL]).parameters == SMALL
    assert fit(*data, settings=[SMALL, hopeless]).parameters == SMALL
    assert fit(*data, settings=[hopeless]).log_loss > fit(*data, settings=[SMALL]).log_loss


def test_the_threshold_is_chosen_by_calibrated_probabilities_of_rows_that_the_trees_had_not_seen(
    data: tuple[pd.DataFrame, Truths],
) -> None:
    given: list[Floats] = []

    def choose(probabilities: Floats) -> float:
        given.append(probabilities)
        return 0.25

    model = fit(*data, threshold=choose).classifier
    seen = model.probabilities(model.rows(data[0].to_dict("records")))
    loss = [np.mean(np.abs(probabilities - data[1])) for probabilities in (seen, given[0])]

    assert model.threshold == 0.25
    assert given[0].mean() == pytest.approx(data[1].mean(), abs=0.01)
    assert loss[0] < loss[1]  # what was learnt by heart looks better than it is


def test_a_table_of_numbers_alone_is_fitted_too(data: tuple[pd.DataFrame, Truths]) -> None:
    model = fit(data[0][["age", "money"]], data[1], categorical=()).classifier
    again = Classifier.from_bytes(model.to_bytes(), kind="tea")

    assert (again.columns, again.categories) == (("age", "money"), {})
    assert again.probabilities(again.rows([{"age": 85.0, "money": 1.0}]))[0] > 0.5


def test_a_stored_model_says_the_same(data: tuple[pd.DataFrame, Truths], fitted: Fitted) -> None:
    model = fitted.classifier
    again = Classifier.from_bytes(model.to_bytes(), kind="tea")
    records = data[0].to_dict("records")

    assert again.probabilities(again.rows(records)).tolist() == model.probabilities(model.rows(records)).tolist()
    assert (again.columns, again.categories, again.threshold) == (model.columns, model.categories, 0.5)


def test_fitting_twice_gives_the_same_bytes(data: tuple[pd.DataFrame, Truths], fitted: Fitted) -> None:
    assert fit(*data).classifier.to_bytes() == fitted.classifier.to_bytes()


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04broken"])
def test_something_else_than_a_model_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored tea model"):
        Classifier.from_bytes(damage, kind="tea")


def test_half_a_file_and_another_archive_are_refused(fitted: Fitted) -> None:
    data = fitted.classifier.to_bytes()

    for other in (data[: len(data) // 2], fitted.classifier.trees.to_bytes()):
        with pytest.raises(ValueError, match="not a stored tea model"):
            Classifier.from_bytes(other, kind="tea")


def test_a_model_of_another_kind_is_refused(fitted: Fitted) -> None:
    with pytest.raises(ValueError, match="not a stored coffee model: it tells tea"):
        Classifier.from_bytes(fitted.classifier.to_bytes(), kind="coffee")


def test_a_model_of_another_format_is_refused(fitted: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fitted.classifier.to_bytes()
    monkeypatch.setattr(classifier, "_FORMAT", 99)

    with pytest.raises(ValueError, match="format 1, and this code reads 99: train again"):
        Classifier.from_bytes(data, kind="tea")


def test_what_is_given_is_not_searched() -> None:
    assert len(grid()) == 12
    assert {parameters.depth for parameters in grid(depth=5)} == {5}
    assert grid(trees=30, depth=2) == [Parameters(trees=30, depth=2)]
