"""`make bench-shop`: rows and tables, and that it asks what the services take."""

import json
from array import array
from importlib import import_module
from typing import Any

import pytest

from benchmarks import shop
from benchmarks.serve.client import Answers
from benchmarks.shop import SHOP, Measured, Turn


def turn(ms: float, *, failed: int = 0) -> Turn:
    answers = Answers(seconds=1.0, latencies=array("d", [ms]), statuses={200: round(1000 / ms), 500: failed})
    return Turn(alone=answers, guests=answers, again=answers, batches=answers, cpu_ms=ms)


def measured(*turns: Turn) -> Measured:
    return Measured(first_answers_s=[1.0], memory_mb=[100.0], turns=list(turns))


BOTH = {
    "noren-serve": measured(turn(4), turn(1), turn(1)),  # on a slow second, first
    "bentoml serve": measured(turn(8), turn(2, failed=3), turn(2)),
}


def test_servers_are_compared_and_failures_are_told() -> None:
    found = {row.name: row for row in shop.rows("churn", BOTH)}

    assert found["churn: requests/s, noren-serve / bentoml serve"].value == 2
    assert found["churn: items/s, in batches / one by one"].value == 32
    assert found["churn, noren-serve: requests that failed"].holds
    assert not found["churn, bentoml serve: requests that failed"].holds


def test_the_table_of_a_page_has_both_servers() -> None:
    text = shop.table("churn", BOTH)

    assert "| requests/s, 16 guests | 1,000 | 500 |" in text
    assert "32 times as many" in text


def test_a_service_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.main(["nosuch"]) == 2
    assert "name some of blur, churn" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["churn", "recommend"])
def test_what_is_asked_is_what_the_service_takes(name: str) -> None:
    schema: Any = import_module(f"bentos.{name}.schema")
    (batch,) = shop.bodies(name, SHOP[name].many, size=3, count=1)
    request = getattr(schema, "PredictBatchRequest", None) or schema.RecommendBatchRequest

    (items,) = json.loads(batch).values()
    assert len(items) == 3
    request.model_validate_json(batch)
