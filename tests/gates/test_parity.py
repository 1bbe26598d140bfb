"""What is said of answers that differ."""

import json
from pathlib import Path
from typing import Any

import pytest

from noren.domain.deployment import ParityGate
from noren.domain.verdict import Check, Outcome
from noren.gates import parity
from noren.gates.duet import ANSWERS


def judged(folder: Path, *pairs: tuple[Any, Any], **asked: Any) -> Check:
    lines = []
    for arrival, (green, blue) in enumerate(pairs):
        for arm, answer in (("green", green), ("blue", blue)):
            body = answer if isinstance(answer, str) else json.dumps(answer)
            lines.append(json.dumps({"arm": arm, "arrival": arrival, "number": 1, "body": body}) + "\n")
    (folder / ANSWERS).write_text("".join(lines))
    found = parity.check(folder, ParityGate(**asked))
    assert found is not None
    return found


GOOD, BAD = {"label": "good", "score": 0.8}, {"label": "bad", "score": 0.4}


def test_equal_answers_pass_also_when_they_must_be_equal(tmp_path: Path) -> None:
    found = judged(tmp_path, (GOOD, GOOD), (BAD, BAD), same_model=True)
    assert found.outcome is Outcome.PASS
    assert found.detail.startswith("0 of 2 answers differ (0.0%-")


def test_a_new_model_may_answer_differently_and_it_is_told_how(tmp_path: Path) -> None:
    found = judged(tmp_path, (GOOD, BAD), (GOOD, GOOD), (BAD, GOOD))
    assert found.outcome is Outcome.PASS
    assert "2 of 3 answers differ" in found.detail
    assert "$.label in 2; $.score in 2, on average by 0.267" in found.detail
    assert found.figures["mean_gap $.score"] == pytest.approx(0.8 / 3)


def test_the_same_model_may_not(tmp_path: Path) -> None:
    found = judged(tmp_path, (GOOD, BAD), (GOOD, GOOD), same_model=True)
    assert found.outcome is Outcome.FAIL
    assert "`same_model` says that they should not" in found.detail
    assert judged(tmp_path, (GOOD, BAD), (GOOD, GOOD), same_model=True, max_share=0.1).outcome is Outcome.PASS
    assert judged(tmp_path, *[(GOOD, BAD)] * 30, same_model=True, max_share=0.1).outcome is Outcome.FAIL


def test_what_always_differs_can_be_left_out(tmp_path: Path) -> None:
    pair = {**GOOD, "version": "v2"}, {**GOOD, "version": "v1"}
    assert judged(tmp_path, pair, same_model=True).outcome is Outcome.FAIL
    assert judged(tmp_path, pair, same_model=True, ignore=("$.version",)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("green", "blue", "place"),
    [
        ([GOOD, GOOD], [GOOD, BAD], "$[].label in 1"),
        ([1, 2], [1, 2, 3], "$ in 1"),
        ({"a": 1}, {}, "$.a in 1"),
        ({}, {"a": None}, "$.a in 1"),
        ("plain", "text", "$ in 1"),
        ("plain", {"a": 1}, "$ in 1"),
        (True, 1, "$ in 1"),
        ({"a": {"b": [1.0]}}, {"a": {"b": [1.1]}}, "$.a.b[] in 1, on average by 0.1"),
    ],
)
def test_the_place_that_differs_is_named(tmp_path: Path, green: Any, blue: Any, place: str) -> None:
    assert place in judged(tmp_path, (green, blue)).detail


@pytest.mark.parametrize(("green", "blue"), [(1.0, 1), (0.1 + 0.2, 0.3), ([1e9], [1e9 + 1]), ("NaN", "NaN")])
def test_numbers_may_differ_by_how_they_were_summed(tmp_path: Path, green: Any, blue: Any) -> None:
    assert judged(tmp_path, (green, blue)).figures["differ"] == 0


def test_without_pairs_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert parity.check(tmp_path, ParityGate()) is None
    (tmp_path / ANSWERS).write_text('{"arm": "green", "arrival": 1, "number": 1, "body": "{}"}\n')
    assert parity.check(tmp_path, ParityGate()) is None
