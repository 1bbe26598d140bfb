"""Probabilities are calibrated, cut where it is cheapest, and measured as defined."""

import numpy as np
import pytest

from models.probability import (
    Floats,
    Truths,
    calibration_by_chance,
    calibration_error,
    calibration_error_debiased,
    evaluate,
    logistic,
    platt,
    threshold_by_cost,
)


def drawn(probabilities: Floats, *, seed: int = 42) -> Truths:
    """Truths for which these probabilities are exact."""
    return np.random.default_rng(seed).random(len(probabilities)) < probabilities


def test_log_odds_of_any_size_have_a_probability() -> None:
    assert logistic(np.array([-1e6, -1.0, 0.0, 1.0, 1e6])).tolist() == pytest.approx(
        [0.0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1.0]
    )


def test_platt_finds_the_line_that_the_truths_were_drawn_by() -> None:
    margins = np.random.default_rng(1).normal(scale=2.0, size=20_000)

    line = platt(margins, drawn(logistic(0.5 * margins - 1.0)))

    assert [line.slope, line.offset] == pytest.approx([0.5, -1.0], abs=0.05)


def test_platt_makes_overconfident_margins_calibrated() -> None:
    margins = np.random.default_rng(1).normal(scale=3.0, size=5_000)
    positive = drawn(logistic(margins / 3))

    before, after = logistic(margins), logistic(platt(margins, positive)(margins))

    assert calibration_error(before, positive) > 0.1
    assert calibration_error(after, positive) < 0.03


def test_margins_that_separate_the_classes_get_a_finite_line() -> None:
    line = platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))

    assert 0 < line.slope < 100


@pytest.mark.parametrize("missed", [0.5, 1.0, 2.0, 5.0])
def test_with_exact_probabilities_the_threshold_is_that_of_the_costs(missed: float) -> None:
    probabilities = np.random.default_rng(1).random(200_000)

    found = threshold_by_cost(probabilities, drawn(probabilities), missed=missed)

    assert found == pytest.approx(1 / (1 + missed), abs=0.05)


@pytest.mark.parametrize("missed", [0.5, 2.0, 5.0])
def test_no_other_hundredth_is_cheaper(missed: float) -> None:
    probabilities = np.random.default_rng(1).random(200)
    positive = drawn(probabilities)

    def cost(threshold: float) -> float:
        pairs = zip(probabilities >= threshold, positive, strict=True)
        return sum(missed if true and not acts else float(acts and not true) for acts, true in pairs)

    found = threshold_by_cost(probabilities, positive, missed=missed)

    assert cost(found) == min(cost(step / 100) for step in range(1, 100))


def test_of_equally_cheap_thresholds_the_one_nearest_to_that_of_the_costs_is_taken() -> None:
    probabilities, positive = np.array([0.1, 0.9]), np.array([False, True])

    assert threshold_by_cost(probabilities, positive, missed=2.0) == 0.33


def test_the_calibration_error_as_worked_out_by_hand() -> None:
    # two bins: in the first 0.1 is promised and nothing comes, in the last 1.95 and one comes
    probabilities = np.array([0.05, 0.05, 0.95, 1.0])

    assert calibration_error(probabilities, np.array([False, False, True, False])) == pytest.approx(1.05 / 4)


def test_the_calibration_error_by_chance_is_that_of_exact_probabilities() -> None:
    probabilities = np.random.default_rng(1).beta(1, 3, size=600)

    seen = [calibration_error(probabilities, drawn(probabilities, seed=seed)) for seed in range(400)]

    assert calibration_by_chance(probabilities) == pytest.approx(np.mean(seen), rel=0.1)


def test_the_debiased_calibration_error_is_that_of_the_probabilities_themselves_however_few_the_rows() -> None:
    promised = np.random.default_rng(1).beta(1, 3, size=600)

    exact, off = (
        np.mean([calibration_error_debiased(promised, drawn(true, seed=seed)) ** 2 for seed in range(400)])
        for true in (promised, promised + 0.1 * (promised < 0.5))
    )

    assert exact < 0.5 * calibration_by_chance(promised) ** 2  # not 0, as no estimate is below it
    assert off == pytest.approx(0.1**2 * np.mean(promised < 0.5), rel=0.1)


def test_the_debiased_calibration_error_as_worked_out_by_hand() -> None:
    # one bin: half is promised and all come, which leaves nothing to chance; then half come
    assert calibration_error_debiased(np.full(3, 0.5), np.array([True, True, True])) == pytest.approx(0.5)
    assert calibration_error_debiased(np.full(2, 0.5), np.array([True, False])) == 0.0


def test_the_same_probability_for_everybody_tells_nothing() -> None:
    metrics = evaluate(np.full(10, 0.3), np.array([True] * 3 + [False] * 7), threshold=0.5)

    assert (metrics.auc, metrics.accuracy, metrics.f1, metrics.precision) == (0.5, 0.7, 0.0, 0.0)
    assert metrics.calibration_error == pytest.approx(0.0)
    assert metrics.brier == pytest.approx(0.21)


def test_the_threshold_itself_counts_as_positive() -> None:
    metrics = evaluate(np.array([0.4, 0.2]), np.array([True, False]), threshold=0.4)

    assert (metrics.accuracy, metrics.recall, metrics.auc) == (1.0, 1.0, 1.0)
