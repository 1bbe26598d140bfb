"""The forecast model: averages, intervals and warnings from a study of one series."""

import json
import subprocess
import sys
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.forecast import (
    ANY,
    LEVELS,
    OTHER,
    ForecastModel,
    Settings,
    filled,
    scale_of,
    shares_of,
    smape,
    study,
)
from models.smoothing import CANDIDATES, Floats, candidates

EQUAL = Settings(
    weights=(1.0,) * len(CANDIDATES),
    power=1.0,
    growth=0.5,
    quantiles=tuple(1.25 * NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS),
)
MODEL = ForecastModel({ANY: EQUAL, OTHER: EQUAL, "monthly": replace(EQUAL, power=4.0)})
YEAR = 1 + 0.3 * np.sin(2 * np.pi * np.arange(12) / 12)
NOISE = np.random.default_rng(42).normal(1, 0.02, 120)
MONTHS: Floats = (100 + np.arange(120)) * np.tile(YEAR, 10) * NOISE


def test_a_trend_with_seasons_goes_on() -> None:
    found = MODEL.forecast(MONTHS, horizon=12, frequency="monthly")
    truth = (100 + np.arange(120, 132)) * YEAR

    assert np.abs(found.points / truth - 1).mean() < 0.04
    assert found.seasonal
    assert found.warnings == ()
    assert found.backtest
    assert found.backtest.mae < found.backtest.naive_mae
    assert found.backtest.origins == 6


def test_the_average_leans_to_what_did_well_on_the_past() -> None:
    found = study(MONTHS, 12, "monthly")
    errors = np.nanmean(np.abs(found.errors), axis=(1, 2))

    even, leaning = (shares_of(found, replace(EQUAL, power=power)) for power in (0.0, 4.0))

    np.testing.assert_allclose(even, 1 / len(CANDIDATES))
    assert leaning.argmax() == errors.argmin()
    assert leaning.sum() == pytest.approx(1)
    assert (np.argsort(leaning) == np.argsort(-errors)).all()


def test_a_candidate_without_weight_has_no_share() -> None:
    only = replace(EQUAL, weights=tuple(float(name == "theta") for name in CANDIDATES))
    found = ForecastModel({ANY: only}).forecast(MONTHS, horizon=3)

    assert found.shares == {"theta": 1.0}
    assert found.model == "theta"


def test_the_back_test_sees_nothing_of_what_comes_after_an_origin() -> None:
    found = study(MONTHS, 12, "monthly")
    by_hand, _ = candidates(MONTHS[:118], 2, period=12)

    np.testing.assert_allclose(found.errors[:, 0, :2], MONTHS[118:] - by_hand)
    assert np.isnan(found.errors[:, 0, 2:]).all()
    np.testing.assert_array_equal(found.actual[5, :12], MONTHS[108:])


def test_the_interval_of_a_level_is_inside_that_of_a_higher_one() -> None:
    levels = (0.01, 0.3, 0.5, 0.77, 0.95, 0.99, 0.999)
    found = MODEL.forecast(MONTHS, horizon=12, frequency="monthly", levels=levels)

    lower, upper = (np.stack([getattr(one, side) for one in found.intervals]) for side in ("lower", "upper"))
    assert [one.level for one in found.intervals] == list(levels)
    assert (np.diff(lower, axis=0) < 0).all()
    assert (np.diff(upper, axis=0) > 0).all()
    assert (lower[0] < found.points).all()
    assert (found.points < upper[0]).all()


def test_between_and_beyond_the_calibrated_levels_reach_bends_like_a_normal_law() -> None:
    assert [EQUAL.reach(level) for level in LEVELS] == pytest.approx(EQUAL.quantiles)
    assert EQUAL.reach(0.999) == pytest.approx(1.25 * NormalDist().inv_cdf(0.9995))
    assert EQUAL.reach(0.2) == pytest.approx(1.25 * NormalDist().inv_cdf(0.6))


def test_intervals_grow_with_the_horizon() -> None:
    found = study(MONTHS, 8, "monthly")
    scale = scale_of(found, shares_of(found, EQUAL), EQUAL)

    np.testing.assert_allclose(scale / scale[0], np.sqrt(np.arange(1, 9)))


def test_a_few_lucky_errors_do_not_make_an_interval_narrow() -> None:
    lucky = np.array([1.0, 5, 3, 8, 8, 8, 8])  # the only error that the naive forecast makes on its past is 0
    found = study(lucky, 1, "yearly")

    assert scale_of(found, shares_of(found, EQUAL), EQUAL)[0] > 0.5


def test_what_is_never_below_zero_is_not_forecast_below_it() -> None:
    falling = np.array([100.0, 90, 80, 70, 60, 50, 40, 30, 20, 10, 5, 2])
    found = MODEL.forecast(falling, horizon=12, frequency="yearly")

    assert found.points.min() >= 0
    assert min(one.lower.min() for one in found.intervals) >= 0
    assert any("below zero" in warning for warning in found.warnings) == bool((found.points == 0).any())
    assert MODEL.forecast(falling - 50, horizon=12).points.min() < -50


@pytest.mark.parametrize("count", [3, 4, 5])
def test_a_tiny_series_is_answered_by_its_last_value_with_a_warning(count: int) -> None:
    found = MODEL.forecast(np.arange(1.0, count + 1), horizon=4)

    np.testing.assert_array_equal(found.points, np.full(4, float(count)))
    assert (found.model, found.backtest) == ("naive", None)
    assert "fewer than 6 values" in found.warnings[0]
    assert (np.diff(found.intervals[0].upper) > 0).all()


def test_a_constant_series_is_repeated_with_a_warning() -> None:
    found = MODEL.forecast(np.full(40, 7.0), horizon=3, frequency="monthly")

    for numbers in (found.points, found.intervals[0].lower, found.intervals[-1].upper):
        np.testing.assert_array_equal(numbers, np.full(3, 7.0))
    assert "constant" in found.warnings[0]


@pytest.mark.parametrize(
    ("count", "horizon", "frequency", "warning"),
    [
        (30, 6, "monthly", "fewer than three seasons"),
        (1_001, 3, "daily", "only the last 1,000 values"),
        (20, 21, "yearly", "longer than the series"),
        (40, 3, "hourly", "not trained on this frequency"),
    ],
)
def test_what_weakens_a_forecast_is_told(count: int, horizon: int, frequency: str, warning: str) -> None:
    values = np.random.default_rng(7).normal(50, 5, count)

    assert any(warning in told for told in MODEL.forecast(values, horizon=horizon, frequency=frequency).warnings)


def test_only_the_last_thousand_values_count() -> None:
    values = np.random.default_rng(7).normal(50, 5, 1_400)
    all_of_them, last = (MODEL.forecast(part, horizon=3, frequency="yearly") for part in (values, values[-1_000:]))

    np.testing.assert_array_equal(all_of_them.points, last.points)


@given(
    st.lists(st.floats(-1e15, 1e15), min_size=3, max_size=40),
    st.integers(1, 60),
    st.sampled_from([None, "yearly", "quarterly", "monthly", "hourly"]),
)
def test_every_series_gets_numbers(values: list[float], horizon: int, frequency: str | None) -> None:
    found = MODEL.forecast(np.array(values), horizon=horizon, frequency=frequency)

    assert found.points.shape == (horizon,)
    assert np.isfinite(found.points).all()
    for one in found.intervals:
        assert np.isfinite([one.lower, one.upper]).all()
        assert (one.lower <= found.points).all()
        assert (found.points <= one.upper).all()
    assert sum(found.shares.values()) == pytest.approx(1)


def test_twice_the_series_has_twice_the_forecast() -> None:
    once, twice = (MODEL.forecast(MONTHS * by, horizon=6, frequency="monthly") for by in (1, 2))

    np.testing.assert_allclose(twice.points, 2 * once.points)
    np.testing.assert_allclose(twice.intervals[0].lower, 2 * once.intervals[0].lower)


def test_missing_values_lie_between_their_neighbours() -> None:
    values, missing = filled([None, 1.0, None, None, 4.0, 2.0, None])

    np.testing.assert_allclose(values, [1, 1, 2, 3, 4, 2, 2])
    assert missing == 4
    assert filled([1.0, 2.0])[1] == 0


def test_smape_is_that_of_the_m_competitions() -> None:
    found = smape(np.array([100.0, 0.0, 1.0, -1.0]), np.array([50.0, 0.0, -1.0, -3.0]))

    np.testing.assert_allclose(found, [200 * 50 / 150, 0, 200, 100])


def test_a_stored_model_gives_the_same_forecast() -> None:
    again = ForecastModel.from_bytes(MODEL.to_bytes())

    assert again.settings == MODEL.settings
    np.testing.assert_array_equal(
        again.forecast(MONTHS, horizon=5, frequency="monthly").points,
        MODEL.forecast(MONTHS, horizon=5, frequency="monthly").points,
    )


def damaged(**changed: object) -> bytes:
    return json.dumps(json.loads(MODEL.to_bytes()) | changed).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        MODEL.to_bytes()[:200],
        damaged(forecast=99),
        damaged(candidates=["one"]),
        damaged(settings={}),
        damaged(settings={ANY: {}}),
        damaged(settings={ANY: {"weights": [1], "power": 1, "growth": 1, "quantiles": [1]}}),
    ],
)
def test_something_else_than_a_model_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored forecast model"):
        ForecastModel.from_bytes(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", (1.0,)),
        ("weights", (0.0,) * len(CANDIDATES)),
        ("weights", (-1.0, *(1.0,) * (len(CANDIDATES) - 1))),
        ("weights", (float("nan"),) * len(CANDIDATES)),
        ("quantiles", (1.0,)),
        ("quantiles", (2.0, *(1.0,) * (len(LEVELS) - 1))),
        ("quantiles", (0.0, *(1.0,) * (len(LEVELS) - 1))),
        ("power", -1.0),
        ("growth", float("inf")),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        replace(EQUAL, **{name: value})  # type: ignore[arg-type]


def test_serving_needs_numpy_alone() -> None:
    heavy = {"scipy", "pandas", "statsmodels"}
    check = f"import sys, models.forecast; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
