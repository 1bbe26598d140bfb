"""The telecom_plan service: what it refuses, what it answers, what is inside its Bento, and the same over HTTP."""

import asyncio
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from bentos.batch import Job, run
from bentos.telecom_plan.schema import EXAMPLE, MAX_CUSTOMERS, PredictBatchRequest, Prediction, Usage
from models import telecom_plan
from models.classifier import Parameters
from models.telecom_plan import TelecomPlanModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> TelecomPlanModel:
    random = np.random.default_rng(42)
    calls = random.poisson(63, 600)
    table = pd.DataFrame(
        {
            "calls": calls,
            "minutes": calls * random.normal(7, 0.5, 600),
            "messages": random.poisson(38, 600),
            "mb_used": random.normal(17_000, 7_000, 600).clip(0),
        }
    )
    ultra = random.random(600) < 1 / (1 + np.exp((20_000 - table["mb_used"].to_numpy()) / 3_000))
    return TelecomPlanModel(telecom_plan.fit(table, ultra, settings=[Parameters(trees=30, depth=3)]).classifier)


# What it refuses


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("calls", -1),
        ("calls", 10_001),
        ("calls", 1.5),
        ("calls", "many"),
        ("minutes", -0.1),
        ("minutes", 44_641),
        ("minutes", float("nan")),
        ("messages", None),
        ("messages", 100_001),
        ("mb_used", float("inf")),
        ("mb_used", 1e8),
        ("is_ultra", 1),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not_told(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Usage.model_validate({**EXAMPLE, field: value})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]
    assert "input_value" not in str(refused.value)


@pytest.mark.parametrize("field", EXAMPLE)
def test_every_field_is_required(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Usage.model_validate({name: value for name, value in EXAMPLE.items() if name != field})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize("count", [0, MAX_CUSTOMERS + 1])
def test_a_batch_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValidationError, match="customers"):
        PredictBatchRequest.model_validate({"customers": [EXAMPLE] * count})


# What it says of itself


def test_every_field_has_a_description_and_an_example_that_works() -> None:
    for kind in (Usage, PredictBatchRequest, Prediction):
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert field.examples, name
        kind.model_validate({name: (field.examples or [None])[0] for name, field in kind.model_fields.items()})


def test_the_example_of_its_page_is_accepted() -> None:
    page = (ROOT / "docs/services/telecom_plan.md").read_text()
    (body,) = re.findall(r"-d '(\{.*?\})'", page, re.DOTALL)

    assert Usage.model_validate_json(body)


# What it answers


@pytest.fixture(scope="module")
def service(model: TelecomPlanModel, worker: Callable[..., Any]) -> Any:
    from bentos.telecom_plan.service import TelecomPlan

    return worker(TelecomPlan, **{"model.npz": model.to_bytes()})


def ask(service: Any, **changed: Any) -> Prediction:
    fields = dict(Usage.model_validate({**EXAMPLE, **changed}))
    found: Prediction = asyncio.run(service.predict(**fields))
    return found


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_customer_gets_the_likelier_plan_and_how_surely_it_fits(service: Any, model: TelecomPlanModel) -> None:
    little, much = ask(service, mb_used=3_000), ask(service, mb_used=40_000)

    assert (little.plan, much.plan) == ("smart", "ultra")
    assert little.expected_fit == 1 - little.probability > 0.5
    assert much.expected_fit == much.probability > 0.5
    assert much.model_version == "v1"
    assert ask(service) == Prediction.of(model.advise([EXAMPLE])[0], model_version="v1")


def test_a_batch_is_answered_in_order_and_as_single_customers_are(service: Any) -> None:
    amounts = [500.0 * step for step in range(100)]
    batch = [Usage.model_validate({**EXAMPLE, "mb_used": mb_used}) for mb_used in amounts]

    together = service.predict_batch(customers=batch)

    alone = [ask(service, mb_used=mb_used).probability for mb_used in amounts]
    assert [one.probability for one in together] == pytest.approx(alone)


def test_a_repeated_question_is_answered_from_the_cache(service: Any) -> None:
    before = count("telecom_plan_cache_total", outcome="hit")

    assert ask(service, minutes=123.5) == ask(service, minutes=123.5)

    assert count("telecom_plan_cache_total", outcome="hit") == before + 1


def test_customers_and_answers_are_counted(service: Any) -> None:
    names = ("telecom_plan_probability_count", "telecom_plan_minutes_count", "telecom_plan_mb_used_count")
    before = [count(name) for name in names], count("telecom_plan_plans_total", plan="ultra")

    ask(service, mb_used=40_000)

    assert [count(name) for name in names] == [number + 1 for number in before[0]]
    assert count("telecom_plan_plans_total", plan="ultra") == before[1] + 1
    assert count("telecom_plan_model_info", version="v1") == 1


# Offline


def test_a_file_is_answered_offline_and_bad_rows_are_put_aside(model: TelecomPlanModel, tmp_path: Path) -> None:
    def answer(rows: Any) -> list[Prediction]:
        return [Prediction.of(one, model_version="v1") for one in model.advise([dict(row) for row in rows])]

    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(EXAMPLE))
        writer.writeheader()
        # The course's own file has calls like 40.0.
        writer.writerows([{**EXAMPLE, "calls": "60.0"}, {**EXAMPLE, "minutes": -1}, EXAMPLE])

    done = run(Job(row=Usage, load=lambda: ("v1", answer)), tmp_path / "in.csv", tmp_path / "out.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rejected = json.loads((tmp_path / "out.jsonl.rejects.jsonl").read_text())
    assert (done.rows, done.rejected) == (3, 1)
    assert [line["row"] for line in lines] == [1, 3]
    assert lines[0]["probability"] == pytest.approx(lines[1]["probability"])
    assert (rejected["row"], rejected["reasons"][0]["field"]) == (2, "minutes")


# Over HTTP


@pytest.fixture(scope="module")
def client(shop: Any, model: TelecomPlanModel) -> Iterator[httpx.Client]:
    with shop.client(
        "bentos.telecom_plan.service:TelecomPlan", "telecom_plan", **{"model.npz": model.to_bytes()}
    ) as opened:
        yield opened


@pytest.mark.e2e
def test_the_examples_of_the_openapi_document_work(client: httpx.Client, model: TelecomPlanModel) -> None:
    paths = client.get("/docs.json").json()["paths"]
    answers = {}
    for path in ("/predict", "/predict_batch"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = {name: field["examples"][0] for name, field in content["schema"]["properties"].items()}
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        answers[path] = answer.json()

    assert answers["/predict"]["probability"] == pytest.approx(model.advise([EXAMPLE])[0].probability)
    assert answers["/predict_batch"][0]["probability"] == pytest.approx(answers["/predict"]["probability"])
    assert answers["/predict_batch"][0].keys() == answers["/predict"].keys() == Prediction.model_fields.keys()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/predict", json.dumps({**EXAMPLE, "calls": -1}), ["calls"]),
        ("/predict", json.dumps({**EXAMPLE, "minutes": float("nan")}), ["minutes"]),
        ("/predict", "{}", ["calls"]),
        ("/predict_batch", json.dumps({"customers": [EXAMPLE, {"calls": 1}]}), ["customers", 1, "minutes"]),
        ("/predict_batch", json.dumps({"customers": [EXAMPLE] * 1025}), ["customers"]),
    ],
    ids=["range", "nan", "missing", "inside", "too many"],
)
def test_what_is_bad_is_refused_with_its_place(
    client: httpx.Client, path: str, body: str, place: list[str | int]
) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == place


@pytest.mark.e2e
def test_the_newest_model_of_the_store_advises_the_customers_of_a_file(client: httpx.Client, shop: Any) -> None:
    (shop.root / "usages.jsonl").write_text(json.dumps(EXAMPLE) + "\n")

    said = shop.run(sys.executable, "-m", "bentos.telecom_plan", "batch", "usages.jsonl", "plans.jsonl")

    assert "1 rows answered" in said
    advised = json.loads((shop.root / "plans.jsonl").read_text())
    assert advised == {"row": 1, **client.post("/predict", json=EXAMPLE).json()}
