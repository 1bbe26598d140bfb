"""The Locust file notices wrong answers, and asks for nothing that the service refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from bentos.vehicle_price.schema import Listing

Run = Callable[[str], str]
GOOD = {
    "price": 9000.0,
    "lower": 5000.0,
    "upper": 13000.0,
    "level": 0.9,
    "unseen": [],
    "base": 12000.0,
    "contributions": {"odometer": -3000.0},
    "as_of": "2019-04-19",
    "model_version": "a",
}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GOOD, "None"),
        ({**GOOD, "price": 4000.0}, "lies outside"),
        ({**GOOD, "price": "much"}, "not a number"),
        ({**GOOD, "contributions": {}}, "do not add up"),
        ({**GOOD, "contributions": {"odometer": -2999.0}}, "do not add up"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({"price": 9000.0}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}, explained=True))")


def test_contributions_that_nobody_asked_for_are_noticed(run: Run) -> None:
    assert "none were asked for" in run(f"print(_problem({GOOD!r}, explained=False))")


def test_the_cars_it_makes_up_are_accepted(run: Run) -> None:
    made = run("import json\nfor _ in range(300): print(json.dumps(listing(explain=True)))")

    for line in made.splitlines():
        Listing.model_validate_json(line)
