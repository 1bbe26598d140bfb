"""What is said of green's model beside blue's."""

from typing import Any

import pytest

from noren.control.ports import GateRun, Metrics
from noren.domain.deployment import QualityGate, Revision, Route
from noren.domain.verdict import Outcome
from noren.gates import quality

ROUTE = Route(prefix="/tea", host="tea.localhost")
AUC = QualityGate(metric="auc", margin=0.01)


def run(green: Metrics, blue: Metrics | None) -> GateRun:
    arms = [Revision(deployment="tea", number=n, bento=f"tea:v{n}", route=ROUTE) for n in (2, 1)]
    return GateRun(
        name="tea-2-1",
        green=arms[0],
        blue=arms[1] if blue is not None else None,
        attempt=1,
        green_url="http://127.0.0.1:1",
        blue_url=None,
        headers={},
        metrics={"green": green} | ({"blue": blue} if blue is not None else {}),
    )


def tea(**metrics: float) -> dict[str, dict[str, float]]:
    return {"tea": metrics}


@pytest.mark.parametrize(
    ("green", "blue", "asked", "outcome"),
    [
        (0.90, 0.88, AUC, Outcome.PASS),
        (0.875, 0.88, AUC, Outcome.PASS),
        (0.86, 0.88, AUC, Outcome.FAIL),
        (0.879, 0.88, QualityGate(metric="auc"), Outcome.FAIL),
        (0.88, 0.88, QualityGate(metric="auc"), Outcome.PASS),
        (0.90, 0.88, QualityGate(metric="auc", higher_is_better=False), Outcome.FAIL),
        (0.86, 0.88, QualityGate(metric="auc", higher_is_better=False), Outcome.PASS),
    ],
)
def test_green_may_be_worse_by_the_margin_and_no_more(
    green: float, blue: float, asked: QualityGate, outcome: Outcome
) -> None:
    found = quality.check(run(tea(auc=green), tea(auc=blue)), asked)
    assert found.outcome is outcome
    assert f"auc {green:.4g} against blue's {blue:.4g}" in found.detail


def test_a_first_green_has_nobody_to_be_compared_with() -> None:
    found = quality.check(run(tea(auc=0.9), None), AUC)
    assert (found.outcome, found.detail) == (Outcome.PASS, "auc 0.9; there is no blue to compare with")


@pytest.mark.parametrize(
    ("green", "blue", "asked", "said"),
    [
        (tea(f1=0.9, n=3), tea(auc=0.9), {}, "tea:v2 has no metric 'auc' stored with a model (there are: f1, n)"),
        ({}, None, {}, "tea:v2 has no metric 'auc' stored with a model (there are: none)"),
        (tea(auc=0.9), tea(f1=0.9), {}, "tea:v1 has no metric 'auc'"),
        (tea(auc=0.9) | {"cup": {"auc": 0.8}}, tea(auc=0.9), {}, "in several models (cup, tea): say which"),
        (tea(auc=0.9), tea(auc=0.9), {"model": "cup"}, "stored with the model 'cup'"),
    ],
)
def test_what_is_not_stored_is_not_guessed(green: Metrics, blue: Metrics, asked: dict[str, Any], said: str) -> None:
    found = quality.check(run(green, blue), QualityGate(metric="auc", **asked))
    assert found.outcome is Outcome.HOLD
    assert said in found.detail
    assert "train it again, or leave gates.quality out" in found.detail


def test_the_model_that_is_named_decides() -> None:
    both = tea(auc=0.5) | {"cup": {"auc": 0.8}}
    assert quality.check(run(both, both), QualityGate(metric="auc", model="cup")).outcome is Outcome.PASS
