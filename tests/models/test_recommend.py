"""The recommender: both matrices are what their papers say, and serving ranks as they do."""

import subprocess
import sys
from dataclasses import replace
from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommend import (
    NEIGHBOURS,
    Parameters,
    Ratings,
    RecommendModel,
    UnknownItemError,
    co_ratings,
    directions,
    ease,
    evaluate,
    fit,
    item_weights,
    projection,
    top,
)

SMALL = Parameters(penalty=2.0)
TITLES = {"i0": "The First\n One", "i1": "The Second"}


def ratings(users: int = 30, items: int = 12, seed: int = 42) -> Ratings:
    """Two tastes: even users rate the first half of the items more, odd ones the second."""
    chance = np.random.default_rng(seed)
    likes = chance.random((users, items)) < np.where(
        (np.arange(users) % 2 == 0)[:, None] == (np.arange(items) < items // 2), 0.7, 0.15
    )
    user, item = np.nonzero(likes)
    return Ratings(
        users=tuple(f"u{n}" for n in range(users)), items=tuple(f"i{n}" for n in range(items)), user=user, item=item
    )


@pytest.fixture(scope="module")
def known() -> Ratings:
    return ratings()


@pytest.fixture(scope="module")
def model(known: Ratings) -> RecommendModel:
    return fit(known, SMALL, TITLES)


def rated(known: Ratings, user: int) -> list[str]:
    return [known.items[item] for item in known.item[known.user == user]]


# The matrices


@pytest.mark.parametrize(("penalty", "dropout"), [(0.5, 0.0), (20.0, 0.0), (3.0, 0.4)])
def test_each_column_of_ease_is_the_ridge_regression_of_its_item_on_the_others(penalty: float, dropout: float) -> None:
    matrix = ratings().matrix().astype(float)
    gram = co_ratings(matrix)

    found = ease(gram, penalty=penalty, dropout=dropout)

    strength = penalty + dropout / (1 - dropout) * np.diag(gram)
    for item in range(len(gram)):
        others = np.arange(len(gram)) != item
        system = gram[np.ix_(others, others)] + np.diag(strength[others])
        assert found[others, item] == pytest.approx(np.linalg.solve(system, gram[others, item]), abs=1e-9)
        assert found[item, item] == 0


def test_the_svd_reconstructs_the_ratings_as_the_truncated_svd_of_the_matrix_does() -> None:
    matrix = ratings().matrix().astype(float)

    ours = matrix @ projection(directions(co_ratings(matrix), scale=1.0), factors=3)

    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    assert ours == pytest.approx((left[:, :3] * values[:3]) @ right[:3], abs=1e-9)


def test_scaling_divides_the_columns_by_a_power_of_their_norms() -> None:
    matrix = ratings().matrix().astype(float)

    ours = projection(directions(co_ratings(matrix), scale=0.25), factors=2)

    _, _, right = np.linalg.svd(matrix * np.linalg.norm(matrix, axis=0) ** -0.75, full_matrices=False)
    assert ours == pytest.approx(right[:2].T @ right[:2], abs=1e-9)


# Serving


@pytest.mark.parametrize("parameters", [SMALL, Parameters(method="svd", factors=3)])
def test_a_user_gets_what_the_matrix_says(known: Ratings, parameters: Parameters) -> None:
    model, matrix = fit(known, parameters, {}), known.matrix()
    scores = matrix @ item_weights(co_ratings(matrix), parameters)
    scores[matrix > 0] = -np.inf

    for user, name in enumerate(known.users):
        found = model.for_user(name, k=4).items
        expected = top(scores[user], 4)
        expected = expected[np.isfinite(scores[user][expected])]
        assert [item.score for item in found] == pytest.approx(scores[user][expected].tolist(), abs=1e-5)


def test_a_user_and_somebody_who_likes_the_same_items_get_the_same(model: RecommendModel, known: Ratings) -> None:
    assert model.for_user("u3", k=5) == model.for_items(rated(known, 3), k=5)


def test_the_order_of_the_likes_and_likes_that_come_twice_change_nothing(model: RecommendModel) -> None:
    assert model.for_items(["i2", "i0", "i2"], k=5) == model.for_items(["i0", "i2"], k=5)


def test_what_was_seen_is_left_out_unless_it_is_wanted(model: RecommendModel, known: Ratings) -> None:
    seen = set(rated(known, 0))

    without = {item.id for item in model.for_user("u0", k=100).items}
    everything = {item.id for item in model.for_user("u0", k=100, exclude_seen=False).items}

    assert without == set(known.items) - seen
    assert everything == set(known.items)


def test_the_best_come_first_and_there_are_k_of_them(model: RecommendModel) -> None:
    items = model.for_items(["i0"], k=3).items

    assert len(items) == 3
    assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)


def test_people_of_one_taste_are_recommended_that_taste() -> None:
    model = fit(ratings(users=400), Parameters(penalty=20.0), {})

    first = model.for_items(["i0", "i1", "i2"], k=3).items

    assert {item.id for item in first} <= {"i3", "i4", "i5"}


@pytest.mark.parametrize("liked", [None, []])
def test_who_is_unknown_gets_what_most_people_rated(
    model: RecommendModel, known: Ratings, liked: list[str] | None
) -> None:
    found = model.for_user("a stranger", k=3) if liked is None else model.for_items(liked, k=3)

    shares = known.matrix().mean(axis=0)
    assert found.cold_start
    assert [item.score for item in found.items] == pytest.approx(sorted(shares, reverse=True)[:3])
    assert not model.for_user("u0", k=3).cold_start


def test_an_item_that_nobody_rated_tells_nothing_of_who_likes_it(known: Ratings) -> None:
    model = fit(replace(known, items=(*known.items, "unrated")), SMALL, {})

    found = model.for_items(["unrated"], k=100)

    assert found.cold_start
    assert "unrated" not in {item.id for item in found.items}
    assert model.similar("unrated", k=5) == ()


def test_unknown_items_are_named_once_and_in_order(model: RecommendModel) -> None:
    with pytest.raises(UnknownItemError, match="b, a") as refused:
        model.for_items(["i0", "b", "a", "b"], k=3)
    assert refused.value.items == ("b", "a")
    with pytest.raises(UnknownItemError, match="nothing"):
        model.similar("nothing", k=3)


def test_similar_items_are_those_with_the_highest_cosine(model: RecommendModel, known: Ratings) -> None:
    matrix = known.matrix()
    columns = matrix / np.linalg.norm(matrix, axis=0)
    cosines = columns.T @ columns[:, 4]
    cosines[4] = -1

    found = model.similar("i4", k=5)

    assert "i4" not in {item.id for item in found}
    assert [item.score for item in found] == pytest.approx(sorted(cosines, reverse=True)[:5], abs=1e-6)


def test_not_more_similar_items_are_kept_than_can_be_asked_for() -> None:
    many = fit(ratings(users=40, items=150), SMALL, {})

    assert len(many.similar("i0", k=1000)) <= NEIGHBOURS


def test_titles_are_one_line_and_an_item_without_one_is_called_by_its_id(model: RecommendModel) -> None:
    assert [model.title(item) for item in ("i0", "i1", "i2")] == ["The First One", "The Second", "i2"]


# Storing


def test_a_stored_model_gives_the_same_answers(model: RecommendModel, known: Ratings) -> None:
    stored = RecommendModel.from_bytes(model.to_bytes())

    for user in (*known.users, "a stranger"):
        assert stored.for_user(user, k=5) == model.for_user(user, k=5)
    assert stored.similar("i1", k=5) == model.similar("i1", k=5)
    assert (stored.items, stored.users) == (known.items, known.users)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04broken"])
def test_something_else_than_a_model_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored recommend model"):
        RecommendModel.from_bytes(damage)


def test_half_a_file_is_refused(model: RecommendModel) -> None:
    data = model.to_bytes()

    with pytest.raises(ValueError, match="not a stored recommend model"):
        RecommendModel.from_bytes(data[: len(data) // 2])


def test_parts_that_do_not_fit_together_are_refused(model: RecommendModel) -> None:
    import io

    with np.load(io.BytesIO(model.to_bytes())) as stored:
        arrays: dict[str, Any] = dict(stored)
    for wrong in ({"weights": arrays["weights"][1:]}, {"rated": arrays["rated"][1:]}, {"format": np.array(0)}):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{**arrays, **wrong})
        with pytest.raises(ValueError, match=r"do not fit together|has format 0"):
            RecommendModel.from_bytes(buffer.getvalue())


def test_fitting_twice_gives_the_same_bytes(known: Ratings) -> None:
    assert fit(known, SMALL, TITLES).to_bytes() == fit(known, SMALL, TITLES).to_bytes()


def test_too_little_to_fit_is_refused(known: Ratings) -> None:
    nothing = known.part(np.zeros(len(known), dtype=bool))

    with pytest.raises(ValueError, match="at least two items, and ratings"):
        fit(nothing, SMALL, {})


@pytest.mark.parametrize(
    ("name", "value"), [("penalty", 0), ("penalty", float("nan")), ("dropout", 1), ("factors", 0), ("scale", 1.5)]
)
def test_parameters_that_cannot_work_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Parameters(**{name: value})  # type: ignore[arg-type]


# Measuring


def test_the_measures_of_an_example_worked_out_by_hand() -> None:
    scores = np.array([[9, 8, 7, 6, 5.0], [1, 2, 3, 4, 5.0], [1, 1, 1, 1, 1.0]])
    seen = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)
    wanted = np.array([[0, 0, 1, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)

    found = evaluate(scores, seen=seen, wanted=wanted, k=2)

    # The first is given 1 and 2, and wants 2 and 4; the second is given 4 and 3, and wants 4; the third wants nothing.
    first = (1 / log2(3)) / (1 / log2(2) + 1 / log2(3))
    assert found.ndcg == pytest.approx((first + 1) / 2)
    assert found.precision == pytest.approx(2 / 4)
    assert found.recall == pytest.approx((1 / 2 + 1) / 2)
    assert found.coverage == pytest.approx(4 / 5)


def test_fewer_wanted_items_than_places_do_not_lower_the_score() -> None:
    wanted = np.array([[0, 1, 0, 0]], dtype=bool)

    assert evaluate(wanted.astype(float), seen=~wanted & False, wanted=wanted, k=3).ndcg == 1


def test_the_same_scores_for_all_users_may_be_given_once() -> None:
    known = ratings()
    seen, wanted = known.matrix() > 0, ratings(seed=7).matrix() > 0
    popularity = known.matrix().sum(axis=0)

    once = evaluate(popularity, seen=seen, wanted=wanted & ~seen)

    assert once == evaluate(np.tile(popularity, (len(seen), 1)), seen=seen, wanted=wanted & ~seen)


@settings(max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 40))
def test_the_top_is_that_of_a_full_sort(values: list[float], k: int) -> None:
    scores = np.array(values)

    assert scores[top(scores, k)].tolist() == sorted(values, reverse=True)[:k]


def test_serving_imports_neither_scikit_learn_nor_scipy() -> None:
    check = "import sys, models.recommend; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
