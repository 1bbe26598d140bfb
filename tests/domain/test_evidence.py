"""Evidence against a canary: what it is, and how seldom it misleads."""

import math

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipy_stats

from noren.domain.evidence import evidence


@pytest.mark.parametrize(("green", "blue", "share"), [(0, 0, 0.1), (3, 5, 0.1), (12, 4, 0.5), (1, 40, 0.3)])
def test_evidence_is_the_mixture_over_worse_shares(green: int, blue: int, share: float) -> None:
    """By numerical integration of the likelihood ratio."""
    r0 = 1.5 * share / (1.5 * share + 1 - share)
    prior = scipy_stats.beta(20 * r0, 20 * (1 - r0))

    def ratio(r: float) -> float:
        weight = float(prior.pdf(r)) / float(prior.sf(r0))
        return weight * (r / r0) ** green * ((1 - r) / (1 - r0)) ** blue

    assert evidence(green, blue, share, 1.5) == pytest.approx(integrate.quad(ratio, r0, 1)[0], rel=1e-6)


def test_evidence_seldom_speaks_against_a_canary_that_is_as_bad_as_allowed_however_often_one_looks() -> None:
    rng, share = np.random.default_rng(7), 0.1
    r0 = 1.5 * share / (1.5 * share + 1 - share)
    table = np.array([[evidence(g, n - g, share, 1.5) for g in range(301)] for n in range(301)])
    wrong = 0
    for _ in range(2000):
        green = np.cumsum(rng.random(300) < r0)
        wrong += bool((table[np.arange(1, 301), green] >= 100).any())
    assert wrong <= 2000 * 0.01 + 3 * math.sqrt(2000 * 0.01)


def test_evidence_finds_a_canary_that_is_much_worse_within_few_events() -> None:
    assert evidence(10, 2, 0.1, 1.5) > 100
    assert evidence(1, 9, 0.1, 1.5) < 1
    assert evidence(100_000, 0, 0.1, 1.5) > 100  # and no overflow
    with pytest.raises(ValueError, match="share"):
        evidence(1, 1, 1.0, 1.5)


def test_what_speaks_for_a_canary_is_no_evidence_however_much_of_it_there_is() -> None:
    assert evidence(0, 10_000, 0.5, 1.5) < 1e-6
    assert evidence(1, 1_000_000, 0.9, 1.5) == 0.0
