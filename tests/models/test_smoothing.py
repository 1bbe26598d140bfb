"""The NumPy smoothing is that of statsmodels, and Theta that of its papers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.smoothing import (
    CANDIDATES,
    Fit,
    Floats,
    best,
    candidates,
    decompose,
    is_seasonal,
    mean_step,
    origins,
    smooth,
    theta,
)

CHANCE = np.random.default_rng(42)
WALK = 50 + np.cumsum(CHANCE.normal(0.3, 1.0, 60))
YEAR = 1 + 0.3 * np.sin(2 * np.pi * np.arange(12) / 12)
SEASONAL = (100 + np.arange(96)) * np.tile(YEAR, 8) * CHANCE.normal(1, 0.01, 96)


def statsmodels(family: str, start: str, **known: float) -> Any:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    trend, damped = None if family == "simple" else "add", family == "damped"
    return ExponentialSmoothing(WALK, trend=trend, damped_trend=damped, initialization_method=start, **known)


@pytest.mark.parametrize("family", ["simple", "trend", "damped"])
def test_forecasts_are_those_of_statsmodels_with_the_same_parameters(family: str) -> None:
    ours = best(smooth(WALK), family)
    level, trend = ours.start
    known = {"initial_level": level} | ({} if family == "simple" else {"initial_trend": trend})
    theirs = statsmodels(family, "known", **known).fit(
        smoothing_level=ours.alpha,
        smoothing_trend=None if family == "simple" else ours.beta / ours.alpha,
        damping_trend=ours.phi if family == "damped" else None,
        optimized=False,
    )

    np.testing.assert_allclose(ours.path(8), theirs.forecast(8), rtol=1e-9)
    assert ours.sse == pytest.approx(theirs.sse, rel=1e-6)


@pytest.mark.parametrize("family", ["simple", "trend", "damped"])
def test_the_grid_is_as_good_as_an_optimiser_within_five_percent(family: str) -> None:
    ours, theirs = best(smooth(WALK), family), statsmodels(family, "estimated").fit()

    assert ours.sse <= 1.05 * theirs.sse


def sse_by_hand(fit: Fit, level: float, trend: float) -> float:
    total = 0.0
    for value in WALK:
        error = value - level - fit.phi * trend
        level += fit.phi * trend + fit.alpha * error
        trend = fit.phi * trend + fit.beta * error
        total += error**2
    return total


def test_the_start_is_the_one_with_the_least_errors() -> None:
    fit = best(smooth(WALK), "damped")
    level, trend = fit.start

    assert sse_by_hand(fit, level, trend) == pytest.approx(fit.sse)
    for other in [(level + 0.1, trend), (level - 0.1, trend), (level, trend + 0.1), (level, trend - 0.1)]:
        assert sse_by_hand(fit, *other) > fit.sse


def by_hand_theta(values: Floats, alpha: float, start: float, horizon: int) -> Floats:
    """The method of 2000: half a line, half simple smoothing of the line with doubled curvature."""
    n = len(values)
    slope, intercept = np.polyfit(np.arange(1, n + 1), values, 1)
    level = start
    for value, line in zip(values, intercept + slope * np.arange(1, n + 1), strict=True):
        level += alpha * (2 * value - line - level)
    return np.asarray((intercept + slope * np.arange(n + 1, n + horizon + 1) + level) / 2)


def test_theta_is_the_mean_of_a_line_and_smoothing() -> None:
    path = theta(WALK, smooth(WALK), 5, dynamic=False, share=(0.5, 0.5))

    # Which alpha was chosen does not show; one of the grid must give this path. Its start is forgotten after 60 values.
    close = [
        np.abs(path - by_hand_theta(WALK, alpha, float(WALK[0]), 5)).max() for alpha in [*(np.arange(5, 20) / 20), 0.99]
    ]
    assert min(close) < 1e-3


def test_theta_goes_on_with_half_the_slope_of_the_line() -> None:
    slope, _ = np.polyfit(np.arange(60), WALK, 1)

    np.testing.assert_allclose(np.diff(theta(WALK, smooth(WALK), 9, dynamic=False, share=(0.5, 0.5))), slope / 2)


def test_dynamic_theta_follows_a_line_entirely_and_a_level_not_at_all() -> None:
    line, level = np.arange(30.0), np.tile([1.0, -1.0, 0.0], 10)
    followed = theta(line, smooth(line), 5, dynamic=True, share=(0.0, 1.0))
    flat = theta(level, smooth(level), 5, dynamic=True, share=(0.0, 1.0))

    np.testing.assert_allclose(followed, np.arange(30.0, 35.0), atol=0.3)
    assert np.abs(flat).max() < 0.3


@pytest.mark.parametrize("period", [4, 12])
def test_seasons_that_are_there_are_found_and_removed(period: int) -> None:
    wave = 1 + 0.2 * np.sin(2 * np.pi * np.arange(period) / period)
    values = 100 * np.tile(wave, 8)
    seasons = decompose(values, period)

    assert is_seasonal(values, period)
    np.testing.assert_allclose(seasons.factors, wave / wave.mean(), rtol=1e-6)
    np.testing.assert_allclose(seasons.removed(values), 100 * wave.mean(), rtol=1e-6)
    np.testing.assert_allclose(seasons.restored(np.ones(period), after=2), np.roll(seasons.factors, -2))


def test_factors_that_may_be_noise_are_drawn_to_one() -> None:
    noise = np.random.default_rng(1).normal(100, 10, 60)
    strong = np.tile(YEAR, 5) * noise
    raw = [np.mean(noise[place::12]) / noise.mean() for place in range(12)]

    assert np.ptp(decompose(noise, 12).factors) < 0.8 * np.ptp(raw)
    assert np.ptp(decompose(strong, 12).factors) > 0.8 * np.ptp(YEAR)


def test_a_series_with_zeros_has_terms_not_factors() -> None:
    values = np.tile([0.0, 5.0, 10.0, 5.0], 6)
    points, _ = candidates(values, 4, period=4)

    np.testing.assert_allclose(points[CANDIDATES.index("naive")], [0, 5, 10, 5], atol=0.5)


def test_seasons_need_three_rounds_and_more_than_chance() -> None:
    assert not is_seasonal(SEASONAL[:35], 12)
    assert is_seasonal(SEASONAL[:60], 12)
    assert sum(is_seasonal(noise, 12) for noise in np.random.default_rng(0).normal(0, 1, (100, 96))) <= 20
    assert not is_seasonal(np.full(60, 3.0), 12)
    assert not is_seasonal(SEASONAL, 1)


def test_a_season_under_a_steep_trend_is_found() -> None:
    december = np.where(np.arange(12) == 11, 1.3, 1.0)
    straight = np.linspace(100, 570, 48)

    assert is_seasonal(straight * np.tile(december, 4), 12)
    assert not is_seasonal(straight, 12)


def test_every_candidate_follows_a_clear_trend_and_season() -> None:
    truth = (100 + np.arange(96, 108)) * YEAR
    points, diverged = candidates(SEASONAL, 12, period=12)

    assert diverged == ()
    errors = np.abs(points / truth - 1).mean(axis=1)
    assert errors[CANDIDATES.index("dynamic theta")] < 0.03
    assert errors[CANDIDATES.index("naive")] < 0.08


@given(st.lists(st.floats(-1e15, 1e15), min_size=5, max_size=30), st.integers(1, 20))
def test_whatever_the_values_forecasts_are_numbers_and_stay_in_the_room(values: list[float], horizon: int) -> None:
    series = np.array(values)
    points, _ = candidates(series, horizon)
    room = np.ptp(series) * (2 + 4 * horizon / len(series))

    assert np.isfinite(points).all()
    assert (np.abs(points - series[-1]) <= room * 1.001 + 1e-3).all()


def test_a_candidate_that_diverges_becomes_the_naive_forecast() -> None:
    values = np.exp2(np.arange(12, dtype=np.float64))  # its trend is half of its last value
    points, diverged = candidates(values, 100)

    assert "trend" in diverged
    np.testing.assert_array_equal(points[CANDIDATES.index("trend")], points[CANDIDATES.index("naive")])


@pytest.mark.parametrize("values", [[7.0] * 9, [1e15] * 9, [0.0] * 9, [0.3, 0.1 + 0.2] * 5])
def test_a_constant_series_goes_on(values: list[float]) -> None:
    points, _ = candidates(np.array(values), 3)

    np.testing.assert_allclose(points, np.full((len(CANDIDATES), 3), values[-1]))
    assert mean_step(np.array(values)) == 0


def test_origins_are_even_and_reach_back_one_horizon() -> None:
    assert origins(100, 18, shortest=24, most=6) == [97, 94, 91, 88, 85, 82]
    assert origins(14, 6, shortest=5, most=6) == [13, 12, 11, 10, 9, 8]
    assert origins(6, 3, shortest=5, most=6) == [5]
    assert origins(5, 1, shortest=5, most=6) == []
