"""What a batch costs, learned from noisy batches."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noren_serve.cost import CostCurve

batches = st.lists(
    st.tuples(st.integers(0, 1000), st.floats(0, 100, allow_nan=False, allow_infinity=False)), min_size=1, max_size=60
)


def taught(observed: list[tuple[int, float]]) -> CostCurve:
    curve = CostCurve()
    for rows, seconds in observed:
        curve.learn(rows, seconds)
    return curve


def test_while_nothing_is_known_everything_is_free() -> None:
    assert CostCurve().predict(1000) == 0


@given(st.floats(0, 1), st.floats(1e-5, 0.1), st.lists(st.integers(1, 100), min_size=2, max_size=50, unique=True))
def test_a_line_without_noise_is_recovered_exactly(fixed: float, slope: float, sizes: list[int]) -> None:
    curve = taught([(rows, fixed + slope * rows) for rows in sizes])

    for rows in (1, 50, 200):
        assert curve.predict(rows) == pytest.approx(fixed + slope * rows, rel=1e-3)


@given(st.integers(0, 2**32))
def test_noise_of_a_tenth_moves_the_prediction_by_less_than_a_tenth(seed: int) -> None:
    random = Random(seed)
    sizes = random.choices(range(1, 101), k=300)
    curve = taught([(rows, (0.01 + 0.001 * rows) * random.uniform(0.9, 1.1)) for rows in sizes])

    for rows in (20, 50, 100):
        assert curve.predict(rows) == pytest.approx(0.01 + 0.001 * rows, rel=0.1)


def test_a_model_that_becomes_slower_or_quicker_is_followed_within_a_hundred_batches() -> None:
    sizes = [1 + i * 7 % 50 for i in range(100)]
    curve = taught([(rows, 0.01 + 0.001 * rows) for rows in sizes])

    for factor in (10, 0.1):
        for rows in sizes:
            curve.learn(rows, factor * (0.01 + 0.001 * rows))
        assert curve.predict(25) == pytest.approx(factor * 0.035, rel=0.25 if factor > 1 else 0.75)


@given(batches, st.lists(st.integers(1, 10_000), min_size=2, max_size=5))
def test_no_batch_costs_less_than_nothing_or_less_than_a_smaller_one(
    observed: list[tuple[int, float]], sizes: list[int]
) -> None:
    curve = taught(observed)

    costs = [curve.predict(rows) for rows in sorted(sizes)]

    assert costs[0] >= -1e-9
    assert all(larger >= smaller - 1e-9 for smaller, larger in pairwise(costs))


def test_batches_of_one_size_tell_no_slope_so_larger_ones_cost_in_proportion_and_smaller_ones_as_much() -> None:
    curve = taught([(10, 0.1)] * 20)

    assert curve.predict(10) == pytest.approx(0.1)
    assert curve.predict(40) == pytest.approx(0.4)
    assert curve.predict(1) == pytest.approx(0.1)


def test_an_empty_batch_teaches_nothing_and_breaks_nothing() -> None:
    assert taught([(0, 0.5)]).predict(1) >= 0
    assert taught([(0, 0.5), (10, 0.1)]).predict(10) == pytest.approx(0.1)
