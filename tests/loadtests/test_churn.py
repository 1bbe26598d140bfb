"""The Locust file notices wrong answers, and asks for nothing that the service refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from bentos.churn.schema import Customer

Run = Callable[[str], str]
GOOD: dict[str, Any] = {
    "probability": 0.5,
    "decision": "offer",
    "threshold": 0.33,
    "risk": "high",
    "base_log_odds": -1.5,
    "contributions": [{"field": "age", "log_odds": 2.0}, {"field": "balance", "log_odds": -0.25}],
    "rest_log_odds": -0.25,
    "model_version": "a",
}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GOOD, "None"),
        ({**GOOD, "decision": "no_offer"}, "does not fit 0.5 and threshold 0.33"),
        ({**GOOD, "risk": "medium"}, "does not fit 0.5"),
        ({**GOOD, "rest_log_odds": 0.0}, "add up to log-odds of 0.25"),
        ({**GOOD, "probability": 1.5}, "not a probability"),
        ({**GOOD, "threshold": "low"}, "not a probability"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({"probability": 0.5}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}))")


def test_the_customers_it_makes_up_are_accepted(run: Run) -> None:
    made = run("import json\nfor _ in range(300): print(json.dumps(customer()))")

    for line in made.splitlines():
        Customer.model_validate_json(line)
