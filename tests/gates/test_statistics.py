"""The statistics against published examples, other implementations, and what they promise, by simulation."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from noren.gates import statistics
from noren.gates.statistics import Floats

# Hollander, Wolfe & Chicken, table 3.1: the Hamilton depression scale of nine patients before and after a
# tranquillizer. R: wilcox.test(y, x, paired = TRUE, conf.int = TRUE, conf.level = .96) gives -.46 and [-.786, -.010].
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


def test_the_typical_shift_is_that_of_the_textbook() -> None:
    found = statistics.hodges_lehmann(np.subtract(AFTER, BEFORE), alpha=0.0196)
    assert found.estimate == pytest.approx(-0.46)
    assert [found.low, found.high] == pytest.approx([-0.786, -0.010])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.floats(0.001, 0.2))
def test_the_bounds_of_the_shift_are_where_the_signed_rank_test_turns(values: list[float], alpha: float) -> None:
    """By counting all signs: a bound cuts off as many Walsh averages as the exact test of size alpha allows."""
    n = len(values)
    sums = [sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in product([0, 1], repeat=n)]
    cut = max((w for w in range(n * (n + 1) // 2 + 1) if np.mean(np.array(sums) <= w) <= alpha), default=None)
    walsh = sorted((values[i] + values[j]) / 2 for i in range(n) for j in range(i, n))

    found = statistics.hodges_lehmann(values, alpha)

    assert (found.low, found.high) == ((-math.inf, math.inf) if cut is None else (walsh[cut], walsh[-1 - cut]))
    assert found.estimate == np.median(walsh)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_a_shift_of_nothing_is_no_shift(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        statistics.hodges_lehmann(bad, 0.05)


# Newcombe 1998, table II, method 10, 95 %.
NEWCOMBE = [
    ((56, 70, 48, 80), (0.0524, 0.3339)),
    ((9, 10, 3, 10), (0.1705, 0.8090)),
    ((10, 10, 0, 20), (0.6791, 1.0000)),
    ((0, 10, 0, 20), (-0.1611, 0.2775)),
    ((5, 56, 0, 29), (-0.0381, 0.1926)),
]


@pytest.mark.parametrize(("counts", "bounds"), NEWCOMBE)
def test_the_difference_of_two_rates_is_that_of_the_paper(
    counts: tuple[int, int, int, int], bounds: tuple[float, float]
) -> None:
    found = statistics.newcombe(*counts, alpha=0.025)
    assert (round(found.low, 4), round(found.high, 4)) == bounds


@given(st.integers(0, 50), st.integers(1, 200), st.floats(0.001, 0.2))
def test_the_exact_bounds_of_a_rate_are_where_the_binomial_turns(errors: int, more: int, alpha: float) -> None:
    n = errors + more
    upper = statistics.clopper_pearson_upper(errors, n, alpha)
    assert scipy_stats.binom.cdf(errors, n, upper) == pytest.approx(alpha, rel=1e-6)
    lower = statistics.clopper_pearson_lower(errors, n, alpha)
    assert lower == 0 if not errors else scipy_stats.binom.sf(errors - 1, n, lower) == pytest.approx(alpha, rel=1e-6)


def test_nothing_is_known_of_a_rate_without_requests() -> None:
    assert (statistics.clopper_pearson_upper(0, 0, 0.05), statistics.clopper_pearson_lower(0, 0, 0.05)) == (1.0, 0.0)
    assert statistics.newcombe(0, 0, 3, 10, 0.05).high == 1.0
    assert statistics.clopper_pearson_upper(7, 7, 0.05) == 1.0


def blocks(rng: np.random.Generator, count: int, size: int) -> tuple[list[Floats], list[Floats]]:
    """Both arms of an A/A run: log-normal latencies, in blocks that are slow or quick for both."""
    drift = rng.normal(0, 0.1, count)
    green, blue = ([np.exp(rng.normal(math.log(10) + d, 0.35, size)) for d in drift] for _ in range(2))
    return green, blue


def test_the_tail_of_two_equal_arms_is_seldom_found_different() -> None:
    """The upper bound of a one-sided 5 % interval lies below the truth in 5 % of runs: 12 blocks of 250 requests."""
    rng = np.random.default_rng(11)
    outside = 0
    for seed in range(300):
        green, blue = blocks(rng, 12, 250)
        found = statistics.tail_shift(green, blue, 0.99, 0.05, draws=400, seed=seed)
        outside += found.high < 0
        assert found.low <= found.estimate <= found.high
    assert outside <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05)


@pytest.mark.parametrize(("every", "surely_worse"), [(4, False), (2, True)])
def test_a_pause_now_and_then_is_seen_in_the_tail_and_not_in_the_typical_shift(every: int, surely_worse: bool) -> None:
    rng = np.random.default_rng(3)
    green, blue = blocks(rng, 16, 400)
    for block in green[::every]:
        block[:16] += 250  # 4 % of the requests of such a block
    shifts = [math.log(np.quantile(g, 0.95) / np.quantile(b, 0.95)) for g, b in zip(green, blue, strict=True)]
    assert statistics.hodges_lehmann(shifts, 0.05).high < math.log(1.3)
    tail = statistics.tail_shift(green, blue, 0.99, 0.05)
    assert tail.high > math.log(1.3)
    assert (tail.low > math.log(1.3)) == surely_worse


def test_the_bootstrap_is_the_same_for_the_same_seed_and_its_quantiles_are_those_of_drawn_blocks() -> None:
    rng = np.random.default_rng(5)
    green, blue = blocks(rng, 6, 40)
    assert statistics.tail_shift(green, blue, 0.9, 0.05, seed=1) == statistics.tail_shift(
        green, blue, 0.9, 0.05, seed=1
    )
    drawn = rng.multinomial(6, np.full(6, 1 / 6), size=20)
    found = statistics._weighted_quantiles(green, drawn, 0.9)
    for weights, quantile in zip(drawn, found, strict=True):
        pooled = np.concatenate([np.repeat(block, weight) for block, weight in zip(green, weights, strict=True)])
        assert quantile == np.quantile(pooled, 0.9, method="inverted_cdf")


def test_a_tail_of_nothing_raises_and_one_block_bounds_nothing() -> None:
    with pytest.raises(ValueError, match="at least one latency"):
        statistics.tail_shift([np.array([])], [np.array([1.0])], 0.99, 0.05)
    assert statistics.tail_shift([np.array([2.0])], [np.array([1.0])], 0.99, 0.05).high == math.inf
    green = [np.array([1.0]), *[np.array([])] * 9]
    assert statistics.tail_shift(green, [np.ones(5)] * 10, 0.99, 0.05).high == math.inf


def test_the_width_of_launches_adds_in_quadrature() -> None:
    width = statistics.launch_half_width(0.1, 2, 0.05)
    assert width == pytest.approx(1.6449 * 0.1, rel=1e-4)
    found = statistics.Interval(estimate=0.0, low=-0.3, high=0.4).widened(0.3)
    assert [found.low, found.high] == pytest.approx([-math.hypot(0.3, 0.3), 0.5])


def test_the_variance_between_groups_is_what_the_scatter_within_does_not_explain() -> None:
    groups = [np.array([1.0, 3.0]), np.array([5.0, 7.0]), np.array([3.0, 5.0])]
    estimate, high = statistics.variance_between(groups, 0.05)
    # The means 2, 6, 4 have the variance 4; within groups it is 2, so of a mean of two 1.
    assert estimate == pytest.approx(4 - 1)
    # R: (2 * 4 - 2 * 1 * qf(.05, 2, 3)) / qchisq(.05, 2)
    assert high == pytest.approx((8 - 2 * scipy_stats.f.ppf(0.05, 2, 3)) / scipy_stats.chi2.ppf(0.05, 2))
    assert statistics.variance_between([np.array([1.0, 3.0])] * 3, 0.05)[0] == 0


@pytest.mark.parametrize("between", [0.0, 0.05, 1.0, 20.0])
def test_the_bound_of_the_variance_between_groups_holds_as_often_as_it_says(between: float) -> None:
    rng, runs = np.random.default_rng(0), 2000
    held = 0
    for _ in range(runs):
        groups = list(rng.normal(0, 1, (5, 16)) + rng.normal(0, math.sqrt(between), (5, 1)))
        held += statistics.variance_between(groups, 0.05)[1] >= between
    assert held / runs > 0.935


@pytest.mark.parametrize("bad", [[], [np.array([1.0, 2.0])], [np.array([1.0, 2.0]), np.array([1.0])]])
def test_a_variance_between_groups_needs_groups_with_a_scatter(bad: list[Floats]) -> None:
    with pytest.raises(ValueError, match="two"):
        statistics.variance_between(bad, 0.05)
