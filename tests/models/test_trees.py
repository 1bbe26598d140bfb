"""The plain trees say what scikit-learn's say, and their SHAP values are Shapley's."""

import itertools
import math
import subprocess
import sys
import timeit
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from models import trees
from models.trees import Trees, _Condition, from_boosting, from_leaves

Floats = npt.NDArray[np.float64]

COLOUR, TOWN = 1, 3  # the categorical columns, which scikit-learn moves to the front
SMALL: dict[str, Any] = {"max_iter": 8, "max_leaf_nodes": 8, "min_samples_leaf": 5, "early_stopping": False}


def table(rows: int = 400, *, seed: int = 42) -> tuple[Floats, Floats]:
    """Five columns, of which one never lacks a value and one is noise, and a target with interactions."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 5))
    x[:, COLOUR] = random.choice([0, 1, 3, 6], rows)  # 2, 4 and 5 are not there
    x[:, TOWN] = random.choice(3, rows)
    y = 2 * x[:, 0] + (x[:, COLOUR] == 3) * x[:, 2] - (x[:, TOWN] == 1) + 0.1 * random.normal(size=rows)
    x[random.random(rows) < 0.1, 0] = np.nan
    x[random.random(rows) < 0.1, COLOUR] = np.nan
    return x, y


def strange(x: Floats) -> Floats:
    """The same rows with values in them that the fit did not see."""
    values = [np.nan, np.inf, -np.inf, 2.0, 5.0, 7.0, 300.0, -1.0, 2.5, 1e300]
    rows = np.repeat(x[: len(values)], 5, axis=0)
    for number, (value, column) in enumerate(itertools.product(values, range(5))):
        rows[number, column] = np.nan if math.isinf(value) and column in (COLOUR, TOWN) else value
    return rows


def regressor(x: Floats, y: Floats, **options: Any) -> Any:
    return HistGradientBoostingRegressor(**SMALL | {"categorical_features": [COLOUR, TOWN]} | options).fit(x, y)


@pytest.fixture(scope="module")
def data() -> tuple[Floats, Floats]:
    return table()


@pytest.fixture(scope="module")
def model(data: tuple[Floats, Floats]) -> Any:
    return regressor(*data)


@pytest.fixture(scope="module")
def ours(model: Any) -> Trees:
    return from_boosting(model)


# What the model says


def test_scores_equal_those_of_scikit_learn(data: tuple[Floats, Floats], model: Any, ours: Trees) -> None:
    np.testing.assert_allclose(ours.scores(data[0]), model.predict(data[0]), atol=1e-9)


def test_unknown_missing_and_infinite_values_go_where_scikit_learn_sends_them(
    data: tuple[Floats, Floats], model: Any, ours: Trees
) -> None:
    rows = strange(data[0])

    np.testing.assert_allclose(ours.scores(rows), model.predict(rows), atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"categorical_features": None},
        {"categorical_features": [False, False, False, True, False]},
        {"max_leaf_nodes": None, "min_samples_leaf": 1},
        {"max_depth": 1},
        {"loss": "quantile", "quantile": 0.9},
        {"loss": "absolute_error"},
        {"early_stopping": True, "random_state": 42},
        {"max_bins": 10},
    ],
    ids=str,
)
def test_whatever_it_was_fitted_with_the_scores_are_the_same(
    data: tuple[Floats, Floats], options: dict[str, Any]
) -> None:
    model = regressor(*data, **options)
    rows = np.concatenate([data[0], strange(data[0])])

    np.testing.assert_allclose(from_boosting(model).scores(rows), model.predict(rows), atol=1e-9)


def test_scores_of_a_classifier_are_log_odds(data: tuple[Floats, Floats]) -> None:
    x, y = data
    model = HistGradientBoostingClassifier(categorical_features=[COLOUR, TOWN], **SMALL).fit(x, y > 0.5)

    np.testing.assert_allclose(from_boosting(model).scores(x), model.decision_function(x), atol=1e-9)


def test_scores_with_a_log_link_are_logarithms(data: tuple[Floats, Floats]) -> None:
    x, y = data
    model = regressor(x, np.exp(y), loss="poisson")

    np.testing.assert_allclose(np.exp(from_boosting(model).scores(x)), model.predict(x), rtol=1e-9)


def test_a_column_of_one_category_that_is_sometimes_missing_is_scored_alike() -> None:
    x, y = table()
    x[:, TOWN] = np.where(y > 0, 0.0, np.nan)
    model = regressor(x, y)
    rows = strange(x)

    np.testing.assert_allclose(from_boosting(model).scores(rows), model.predict(rows), atol=1e-9)


def test_a_target_that_never_changes_gives_trees_of_one_leaf() -> None:
    x, _ = table()
    ours = from_boosting(regressor(x, np.full(len(x), 7.0)))

    assert ours.scores(x[:3]).tolist() == [7.0, 7.0, 7.0]
    assert not ours.contributions(x[:3]).any()


def test_a_row_is_scored_sooner_than_scikit_learn_does_it(data: tuple[Floats, Floats], model: Any, ours: Trees) -> None:
    row = data[0][:1]

    assert least_seconds(lambda: ours.scores(row)) < least_seconds(lambda: model.predict(row))


def least_seconds(work: Callable[[], object]) -> float:
    """Of ten times: what it takes when nothing comes between."""
    return min(timeit.repeat(work, number=1, repeat=10))


# Why it says so


def shapley(model: Any, row: Floats) -> Floats:
    """By the definition: over all coalitions. A feature outside of one is averaged over by the counts of the nodes."""
    seen: Floats = model._preprocessor.transform(row[None])[0]
    places = [*np.flatnonzero(model.is_categorical_), *np.flatnonzero(~model.is_categorical_)]
    count = len(seen)
    coalitions = [frozenset(some) for size in range(count + 1) for some in itertools.combinations(range(count), size)]
    worth = {some: sum(walk(tree, 0, seen, some) for (tree,) in model._predictors) for some in coalitions}
    found = np.zeros(count)
    for feature, some in itertools.product(range(count), coalitions):
        if feature not in some:
            weight = math.factorial(len(some)) * math.factorial(count - len(some) - 1) / math.factorial(count)
            found[places[feature]] += weight * (worth[some | {feature}] - worth[some])
    return found


def walk(tree: Any, number: int, seen: Floats, coalition: AbstractSet[int]) -> float:
    node = tree.nodes[number]
    if node["is_leaf"]:
        return float(node["value"])
    left, right = int(node["left"]), int(node["right"])
    if int(node["feature_idx"]) in coalition:
        return walk(tree, left if goes_left(tree, node, seen) else right, seen, coalition)
    counts = [int(tree.nodes[child]["count"]) for child in (left, right)]
    values = [walk(tree, child, seen, coalition) for child in (left, right)]
    return (counts[0] * values[0] + counts[1] * values[1]) / sum(counts)


def goes_left(tree: Any, node: Any, seen: Floats) -> bool:
    value = float(seen[int(node["feature_idx"])])
    if math.isnan(value):
        return bool(node["missing_go_to_left"])
    if not node["is_categorical"]:
        return value <= float(node["num_threshold"])
    words = tree.raw_left_cat_bitsets[int(node["bitset_idx"])]
    return bool(int(words[int(value) // 32]) >> (int(value) % 32) & 1)


def test_contributions_are_shapleys_values_by_brute_force(data: tuple[Floats, Floats], model: Any, ours: Trees) -> None:
    rows = np.concatenate([data[0][:6], strange(data[0])[::9]])

    by_force = np.stack([shapley(model, row) for row in rows])

    np.testing.assert_allclose(ours.contributions(rows), by_force, atol=1e-9)


def test_contributions_equal_those_of_the_shap_package(data: tuple[Floats, Floats]) -> None:
    shap = pytest.importorskip("shap", reason="the package shap is not installed")
    x, y = data
    model = regressor(x, y, categorical_features=None)
    theirs = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")

    ours = from_boosting(model)

    np.testing.assert_allclose(ours.contributions(x[:50]), theirs.shap_values(x[:50]), atol=1e-6)
    assert ours.expected == pytest.approx(float(np.ravel(theirs.expected_value)[0]), abs=1e-6)


def test_contributions_add_up_to_the_score(data: tuple[Floats, Floats], ours: Trees) -> None:
    rows = np.concatenate([data[0], strange(data[0])])

    np.testing.assert_allclose(ours.expected + ours.contributions(rows).sum(axis=1), ours.scores(rows), atol=1e-9)


def test_the_expected_score_is_the_mean_over_the_training_rows(data: tuple[Floats, Floats], ours: Trees) -> None:
    assert ours.expected == pytest.approx(ours.scores(data[0]).mean(), abs=1e-9)


def test_a_feature_that_no_tree_asks_for_contributes_nothing(data: tuple[Floats, Floats]) -> None:
    x, y = data[0].copy(), data[1]
    x[:, 4] = 0.0
    contributions = from_boosting(regressor(x, y)).contributions(x)

    assert not contributions[:, 4].any()
    assert contributions[:, 0].any()


def test_one_leaf_with_two_conditions_as_worked_out_by_hand(ours: Trees) -> None:
    # worth: nobody 1/8, the first 1/4, the second 1/2, both 1
    leaf = (1.0, {0: _Condition(upto=0.0, share=0.5), 1: _Condition(upto=0.0, share=0.25)})
    alone = from_leaves([leaf], nodes=ours.nodes, start=10.0, n_features=2)  # only scores need its own nodes

    assert alone.expected == 10.125
    assert alone.contributions(np.array([[-1.0, -1.0]]))[0].tolist() == pytest.approx([0.3125, 0.5625])


@pytest.mark.parametrize("degree", range(1, 30))
def test_the_quadrature_is_exact_for_the_polynomials_that_occur(degree: int) -> None:
    nodes, weights = trees._quadrature(degree)

    assert len(nodes) == math.ceil(degree / 2)
    assert float(weights @ nodes ** (degree - 1)) == pytest.approx(1 / degree, rel=1e-12)


# How it is kept and used


def test_stored_trees_say_the_same(data: tuple[Floats, Floats], ours: Trees) -> None:
    again = Trees.from_bytes(ours.to_bytes())

    assert again.scores(data[0]).tolist() == ours.scores(data[0]).tolist()
    assert again.contributions(data[0][:5]).tolist() == ours.contributions(data[0][:5]).tolist()
    assert again.to_bytes() == ours.to_bytes()


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04broken"])
def test_something_else_than_trees_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="not stored trees"):
        Trees.from_bytes(damage)


def test_damaged_trees_are_refused(ours: Trees) -> None:
    data = ours.to_bytes()
    middle = len(data) // 2

    for damaged in (data[:middle], data[:300] + bytes(200) + data[500:]):
        with pytest.raises(ValueError, match="trees"):
            Trees.from_bytes(damaged)


def test_trees_of_another_format_are_refused(ours: Trees, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ours.to_bytes()
    monkeypatch.setattr(trees, "_FORMAT", 99)

    with pytest.raises(ValueError, match="format 3; this code reads 99"):
        Trees.from_bytes(data)


def test_many_rows_are_handled_in_parts(
    data: tuple[Floats, Floats], ours: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = ours.scores(data[0]), ours.contributions(data[0])
    monkeypatch.setattr(trees, "_CELLS", 3 * ours.feature.size)
    monkeypatch.setattr(trees, "_WALKERS", 0)  # one row at a time

    np.testing.assert_allclose(ours.scores(data[0]), together[0], atol=1e-12)
    np.testing.assert_allclose(ours.contributions(data[0]), together[1], atol=1e-12)


def test_no_rows_have_no_scores(ours: Trees) -> None:
    assert ours.scores(np.empty((0, 5))).shape == (0,)
    assert ours.contributions(np.empty((0, 5))).shape == (0, 5)


@pytest.mark.parametrize("shape", [(5,), (1, 4), (1, 6), (1, 1, 5)])
def test_rows_of_another_width_are_refused(ours: Trees, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"rows must have the shape \[n, 5\]"):
        ours.scores(np.zeros(shape))


def test_a_model_of_three_classes_is_refused(data: tuple[Floats, Floats]) -> None:
    x, y = data
    model = HistGradientBoostingClassifier(**SMALL).fit(x, np.digitize(y, [0.0, 1.0]))

    with pytest.raises(ValueError, match="two classes"):
        from_boosting(model)


def test_categories_that_are_no_codes_are_refused(data: tuple[Floats, Floats]) -> None:
    x, y = data
    halves = x.copy()
    halves[:, COLOUR] /= 2

    with pytest.raises(ValueError, match="OrdinalEncoder"):
        from_boosting(regressor(halves, y))


def test_serving_does_not_import_scikit_learn() -> None:
    check = "import sys, models.trees; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
