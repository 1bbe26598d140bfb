"""The Locust file of the recommender notices wrong answers."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[[str], str]
ITEMS = [{"id": "1", "title": "One", "score": 0.9}, {"id": "2", "title": "Two", "score": 0.5}]
SOUND = {"items": ITEMS, "cold_start": False, "model_version": "a"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (SOUND, "None"),
        ({**SOUND, "items": ITEMS[::-1]}, "the best item is not the first"),
        ({**SOUND, "items": ITEMS[:1]}, "expected 2 items"),
        ({**SOUND, "items": [ITEMS[0], ITEMS[0]]}, "an item comes twice"),
        ({**SOUND, "items": [ITEMS[0], {**ITEMS[1], "id": "7"}]}, "items that were seen: ['7']"),
        ({**SOUND, "items": [ITEMS[0], {"id": "2"}]}, "an item without id, title and score"),
        ({**SOUND, "cold_start": None}, "cold_start is None"),
        ({**SOUND, "model_version": ""}, "model_version is empty"),
        ({"items": ITEMS}, "not an answer"),
        ([], "not an answer"),
        (None, "not an answer"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}, 2, ['7']))")
