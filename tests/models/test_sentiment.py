"""The sentiment model: the plain scorer is the fitted scikit-learn pair, only faster."""

import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentos.sentiment import schema
from models.sentiment import (
    MAX_CHARACTERS,
    Parameters,
    SentimentModel,
    evaluate,
    features,
    fit,
    fit_estimators,
    predict,
)

TEXTS = ["good great fun", "bad awful dull", "great film, great fun!", "dull bad film", "good film", "awful film"] * 3
POSITIVE = [True, False, True, False, True, False] * 3
SMALL = Parameters(min_df=1)


@pytest.fixture(scope="module")
def model() -> SentimentModel:
    return fit(TEXTS, POSITIVE, SMALL)


def sklearn_scores(texts: Sequence[str], parameters: Parameters) -> list[float]:
    vectorizer, regression = fit_estimators(TEXTS, POSITIVE, parameters)
    probabilities = np.asarray(regression.predict_proba(vectorizer.transform(texts)), dtype=float)
    return [float(positive) for _, positive in probabilities]


@pytest.mark.parametrize("ngram_max", [1, 2, 3])
def test_scores_equal_those_of_scikit_learn(ngram_max: int) -> None:
    texts = [*TEXTS, "", "unknown words", "good " * 50 + "bad", "GREAT!! film", "güt great"]
    parameters = replace(SMALL, ngram_max=ngram_max)

    ours = fit(TEXTS, POSITIVE, parameters).scores(texts)

    assert ours == pytest.approx(sklearn_scores(texts, parameters), abs=1e-9)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_every_text_gets_a_probability(model: SentimentModel, text: str) -> None:
    assert 0.0 <= model.score(text) <= 1.0


def test_a_stored_model_gives_the_same_scores(model: SentimentModel) -> None:
    assert SentimentModel.from_bytes(model.to_bytes()).scores(TEXTS) == model.scores(TEXTS)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04broken"])
def test_something_else_than_a_model_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored sentiment model"):
        SentimentModel.from_bytes(damage)


def test_half_a_file_is_refused(model: SentimentModel) -> None:
    data = model.to_bytes()

    with pytest.raises(ValueError, match="not a stored sentiment model"):
        SentimentModel.from_bytes(data[: len(data) // 2])


def test_fitting_twice_gives_the_same_bytes() -> None:
    assert fit(TEXTS, POSITIVE, SMALL).to_bytes() == fit(TEXTS, POSITIVE, SMALL).to_bytes()


def test_max_features_limits_the_terms() -> None:
    assert fit(TEXTS, POSITIVE, replace(SMALL, max_features=3)).n_terms == 3


def test_terms_ignore_case_and_accents_and_keep_what_carries_sentiment() -> None:
    assert features("Crème, BRÛLÉE!", ngram_max=2) == ["creme", "brulee", "!", "creme brulee", "brulee !"]


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=600) | st.text("eé\u0301\u0316ﷺ각İΣς ½!", max_size=600))
def test_accents_are_left_out_as_of_the_whole_text_at_once(text: str) -> None:
    decomposed = unicodedata.normalize("NFKD", text.lower())

    words = re.findall(r"\w+|[!?]", "".join(c for c in decomposed if not unicodedata.combining(c)))
    assert features(text, ngram_max=1) == words


@pytest.mark.parametrize("unit", ["ﷺ", "ﷺ ", "\u0316\u0301", "e\u0316\u0301", "½", "각"])
def test_no_character_costs_much_more_than_another(unit: str) -> None:
    ordinary, hostile = ("é bad " * MAX_CHARACTERS)[:MAX_CHARACTERS], (unit * MAX_CHARACTERS)[:MAX_CHARACTERS]

    def seconds(text: str) -> float:
        began = time.process_time()
        features(text, ngram_max=2)
        return time.process_time() - began

    assert sum(map(len, features(hostile, ngram_max=1))) <= MAX_CHARACTERS
    assert min(seconds(hostile) for _ in range(3)) < 5 * min(seconds(ordinary) for _ in range(3))


def test_the_longest_text_is_that_of_the_service() -> None:
    assert schema.MAX_CHARACTERS == MAX_CHARACTERS


def test_a_text_that_is_longer_by_itself_is_not_cut() -> None:
    long = "é bad " * MAX_CHARACTERS

    assert len(features(long, ngram_max=1)) == 2 * MAX_CHARACTERS


def test_a_short_text_has_no_long_terms() -> None:
    assert features("one", ngram_max=3) == ["one"]
    assert features("", ngram_max=3) == []


def test_half_is_positive() -> None:
    assert (predict(0.5), predict(0.4999)) == ("positive", "negative")


def test_a_model_that_learned_its_texts_scores_perfectly(model: SentimentModel) -> None:
    metrics = evaluate(model, TEXTS, POSITIVE)

    assert (metrics.accuracy, metrics.auc) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value"), [("max_features", 0), ("ngram_max", 0), ("ngram_max", 6), ("min_df", 0), ("C", 0.0), ("C", -1)]
)
def test_parameters_that_cannot_work_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Parameters(**{name: value})  # type: ignore[arg-type]


def test_serving_does_not_import_scikit_learn() -> None:
    import subprocess

    check = "import sys, models.sentiment; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
