"""The Locust file notices wrong answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str], str]
REQUEST: dict[str, Any] = {"values": [1, 2, 3], "horizon": 2, "levels": [0.5, 0.8]}
INNER = {"level": 0.5, "lower": [1.0, 1.0], "upper": [3.0, 4.0]}
OUTER = {"level": 0.8, "lower": [0.0, 0.5], "upper": [4.0, 5.0]}
GOOD: dict[str, Any] = {
    "points": [2.0, 2.5],
    "dates": None,
    "intervals": [INNER, OUTER],
    "model": "theta",
    "shares": {"theta": 1.0},
    "seasonal": False,
    "backtest": None,
    "warnings": [],
    "model_version": "a",
}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GOOD, "None"),
        (GOOD | {"points": [2.0]}, "expected 2 points"),
        (GOOD | {"points": [2.0, "x"]}, "a point is not a number"),
        (GOOD | {"points": [2.0, 9.0]}, "interval of 0.5 does not hold"),
        (GOOD | {"intervals": [INNER]}, "expected intervals"),
        (GOOD | {"intervals": [INNER, OUTER | {"lower": [0.0, 2.0]}]}, "interval of 0.8 does not hold"),
        (GOOD | {"intervals": [INNER, OUTER | {"upper": [9.0]}]}, "interval of 0.8 does not hold"),
        (GOOD | {"dates": ["2020-01-01", "2020-02-01"]}, "dates do not fit"),
        (GOOD | {"model_version": ""}, "model_version is empty"),
        ({"points": [1.0]}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: object, problem: str) -> None:
    arguments = f"json.loads({json.dumps(json.dumps([REQUEST, answer]))})"
    assert problem in run(f"import json\nprint(_problem(*{arguments}))")
