"""What is told of a load test before it runs is what the gate would say after it."""

from dataclasses import replace
from datetime import timedelta
from statistics import NormalDist

import pytest

from noren.domain.deployment import Gates, LoadGate, Margins, Revision, Route, Slo
from noren.domain.foresight import LAST_ALPHA, LAST_Z, too_few_requests
from noren.gates import statistics
from noren.gates.judgement import looks

BLUE = Revision(deployment="tea", number=1, bento="tea:v1", route=Route(prefix="/tea", host="tea.localhost"))


def green(requests: int, *, limit: float = 0.01, margin: float = 0.003, enabled: bool = True) -> Revision:
    load = LoadGate(enabled=enabled, rate=1, duration=timedelta(seconds=requests), margins=Margins(errors=margin))
    return replace(BLUE, number=2, slo=Slo(error_rate=limit), gates=Gates(load=load))


def test_the_level_is_that_of_the_last_look() -> None:
    assert looks(45)[-1].alpha == pytest.approx(LAST_ALPHA)
    assert NormalDist().inv_cdf(1 - LAST_ALPHA) == pytest.approx(LAST_Z, abs=1e-4)


@pytest.mark.parametrize("margin", [0.001, 0.003, 0.01, 0.05])
def test_the_fewest_requests_that_tell_a_margin_are_those_of_the_gate(margin: float) -> None:
    enough = next(n for n in range(1, 10_000) if statistics.newcombe(0, n, 0, n, LAST_ALPHA).high <= margin)
    assert too_few_requests(green(enough + 1, limit=0.5, margin=margin), BLUE) == ""
    assert f"{margin:.2%}" in too_few_requests(green(enough - 1, limit=0.5, margin=margin), BLUE)


@pytest.mark.parametrize("limit", [0.001, 0.01, 0.05])
def test_the_fewest_requests_that_tell_a_limit_are_those_of_the_gate(limit: float) -> None:
    enough = next(n for n in range(1, 10_000) if statistics.clopper_pearson_upper(0, n, LAST_ALPHA) <= limit)
    assert too_few_requests(green(enough, limit=limit), None) == ""
    assert f"slo.error_rate of {limit:.2%}" in too_few_requests(green(enough - 1, limit=limit), None)


def test_a_load_test_that_is_off_and_a_limit_of_zero_need_no_requests() -> None:
    assert too_few_requests(green(1, enabled=False), BLUE) == ""
    assert too_few_requests(green(1, limit=0), None) == ""
    assert too_few_requests(replace(BLUE, number=2), BLUE) == ""  # the defaults tell what they ask
