"""The Locust file notices wrong answers, and asks for nothing that the service refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from bentos.telecom_plan.schema import Usage

Run = Callable[[str], str]
GOOD: dict[str, Any] = {"plan": "smart", "probability": 0.25, "expected_fit": 0.75, "model_version": "a"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GOOD, "None"),
        ({**GOOD, "plan": "ultra"}, "does not fit 0.25"),
        ({**GOOD, "expected_fit": 0.25}, "expected_fit 0.25 does not fit 0.25"),
        ({**GOOD, "probability": -0.5}, "not a probability"),
        ({**GOOD, "expected_fit": "well"}, "not a probability"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({"plan": "smart"}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}))")


def test_the_customers_it_makes_up_are_accepted(run: Run) -> None:
    made = run("import json\nfor _ in range(300): print(json.dumps(usage()))")

    for line in made.splitlines():
        Usage.model_validate_json(line)
