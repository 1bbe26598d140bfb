"""The Locust file notices wrong answers."""

from collections.abc import Callable

import pytest

Run = Callable[[str], str]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"label": "positive", "score": 0.9, "model_version": "a"}, "None"),
        ({"label": "negative", "score": 0.9, "model_version": "a"}, "does not fit"),
        ({"label": "positive", "score": 1.5, "model_version": "a"}, "not a probability"),
        ({"label": "positive", "score": "high", "model_version": "a"}, "not a probability"),
        ({"label": "positive", "score": 0.9, "model_version": ""}, "model_version is empty"),
        ({"label": "positive", "score": 0.9}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: object, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}))")
