"""The sentiment service in this process, and offline: the same answers, and a log that holds no text."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bentos.batch import Job, run
from bentos.sentiment.schema import Prediction, PredictRequest
from models.sentiment import Parameters, SentimentModel, fit

TEXTS = ["good great fun", "bad awful dull", "great film, great fun!", "dull bad film"] * 3


@pytest.fixture(scope="module")
def model() -> SentimentModel:
    return fit(TEXTS, [True, False, True, False] * 3, Parameters(min_df=1))


@pytest.fixture(scope="module")
def service(model: SentimentModel, worker: Callable[..., Any]) -> Any:
    from bentos.sentiment.service import Sentiment

    return worker(Sentiment, **{"model.npz": model.to_bytes()})


def ask(service: Any, text: str) -> Prediction:
    found: Prediction = asyncio.run(service.predict(text=text))
    return found


def records(service: Any, log: Path) -> list[dict[str, Any]]:
    """What is in the log by now."""
    service._log.flush()
    return [json.loads(line) for file in log.iterdir() for line in file.read_text().splitlines()]


# What it answers


def test_a_review_gets_what_the_model_says(service: Any, model: SentimentModel) -> None:
    for text in TEXTS[:4]:
        score = model.score(text)
        label = "positive" if score >= 0.5 else "negative"
        assert ask(service, text) == Prediction(label=label, score=score, model_version="v1")


def test_half_is_positive() -> None:
    assert [Prediction.of(score, model_version="v1").label for score in (0.5, 0.4999)] == ["positive", "negative"]


def test_a_batch_is_answered_in_order_and_as_single_reviews_are(service: Any) -> None:
    assert service.predict_batch(texts=TEXTS) == [ask(service, text) for text in TEXTS]


# What it writes down


def test_the_inference_log_holds_every_answer_and_no_text(service: Any, log: Path) -> None:
    found = [ask(service, "great secret"), *service.predict_batch(texts=["dull secret", "great secret"])]

    written = records(service, log)[-3:]
    assert [record["output"] for record in written] == [one.model_dump() for one in found]
    assert written[0]["input"] == written[2]["input"] != written[1]["input"]
    assert all(record["latency_ms"] > 0 for record in written)
    assert not any("secret" in file.read_text() for file in log.iterdir())


def test_lost_records_are_counted(service: Any) -> None:
    before = REGISTRY.get_sample_value("sentiment_inference_log_dropped_total") or 0

    service._metrics.dropped(2)

    assert REGISTRY.get_sample_value("sentiment_inference_log_dropped_total") == before + 2


# Offline


def test_a_file_is_judged_offline_and_bad_rows_are_put_aside(model: SentimentModel, tmp_path: Path) -> None:
    def answer(rows: Any) -> list[Prediction]:
        return [Prediction.of(model.score(row.text), model_version="v1") for row in rows]

    (tmp_path / "in.csv").write_text('text\n"great film, great fun!"\n" "\ndull\n')

    done = run(Job(row=PredictRequest, load=lambda: ("v1", answer)), tmp_path / "in.csv", tmp_path / "out.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rejected = json.loads((tmp_path / "out.jsonl.rejects.jsonl").read_text())
    assert (done.rows, done.rejected) == (3, 1)
    assert [(line["row"], line["label"]) for line in lines] == [(1, "positive"), (3, "negative")]
    assert lines[0]["score"] == model.score("great film, great fun!")
    assert (rejected["row"], rejected["reasons"][0]["field"]) == (2, "text")
