"""The churn service: what it refuses, what it answers, what is inside its Bento, and the same over HTTP."""

import asyncio
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator
from math import log
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from bentos.batch import Job, run
from bentos.churn.schema import EXAMPLE, MAX_CUSTOMERS, Customer, PredictBatchRequest, Prediction
from models import churn
from models.churn import HIGH_FROM, MEDIUM_FROM, ChurnModel
from models.classifier import Parameters

ROOT = Path(__file__).resolve().parents[2]


def customers(rows: int = 600) -> pd.DataFrame:
    random = np.random.default_rng(42)
    return pd.DataFrame(
        {
            "credit_score": random.integers(350, 851, rows),
            "geography": random.choice(["France", "Germany", "Spain"], rows),
            "gender": random.choice(["Female", "Male"], rows),
            "age": random.integers(18, 93, rows),
            "tenure": random.integers(0, 11, rows),
            "balance": random.uniform(0, 200_000, rows),
            "num_of_products": random.integers(1, 5, rows),
            "has_cr_card": random.integers(0, 2, rows),
            "is_active_member": random.integers(0, 2, rows),
            "estimated_salary": random.uniform(0, 200_000, rows),
        }
    )


@pytest.fixture(scope="module")
def model() -> ChurnModel:
    table = customers()
    left = np.random.default_rng(1).random(len(table)) < 1 / (1 + np.exp((65 - table["age"].to_numpy()) / 10))
    return ChurnModel(churn.fit(table, left, missed=2.0, settings=[Parameters(trees=30, depth=3)]).classifier)


# What it refuses


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("credit_score", 299),
        ("credit_score", 851),
        ("credit_score", 600.5),
        ("geography", "Atlantis"),
        ("geography", "france"),
        ("gender", ""),
        ("age", 17),
        ("age", 111),
        ("age", "old"),
        ("age", None),
        ("tenure", -0.1),
        ("balance", -1),
        ("balance", float("nan")),
        ("balance", float("inf")),
        ("balance", 1e300),
        ("num_of_products", 0),
        ("num_of_products", 5),
        ("has_cr_card", "maybe"),
        ("is_active_member", 2),
        ("estimated_salary", [1]),
        ("surname", "Hill"),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not_told(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Customer.model_validate({**EXAMPLE, field: value})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]
    assert "input_value" not in str(refused.value)


@pytest.mark.parametrize("field", EXAMPLE)
def test_every_field_is_required(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Customer.model_validate({name: value for name, value in EXAMPLE.items() if name != field})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


def test_a_bad_field_in_a_batch_is_named_with_its_place() -> None:
    with pytest.raises(ValidationError) as refused:
        PredictBatchRequest.model_validate({"customers": [EXAMPLE, {**EXAMPLE, "age": 7}]})

    assert refused.value.errors()[0]["loc"] == ("customers", 1, "age")


@pytest.mark.parametrize("count", [0, MAX_CUSTOMERS + 1])
def test_a_batch_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValidationError, match="customers"):
        PredictBatchRequest.model_validate({"customers": [EXAMPLE] * count})


# What it says of itself


def test_every_field_has_a_description_and_an_example_that_works() -> None:
    for kind in (Customer, PredictBatchRequest, Prediction):
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert field.examples, name
        kind.model_validate({name: (field.examples or [None])[0] for name, field in kind.model_fields.items()})


def test_the_bands_it_tells_are_those_of_the_model() -> None:
    told = Prediction.model_fields["risk"].description

    assert told == f"low: probability below {MEDIUM_FROM}; high: from {HIGH_FROM} on"


def test_the_example_of_its_page_is_accepted() -> None:
    page = (ROOT / "docs/services/churn.md").read_text()
    (body,) = re.findall(r"-d '(\{.*?\})'", page, re.DOTALL)

    assert Customer.model_validate_json(body)


# What it answers


@pytest.fixture(scope="module")
def service(model: ChurnModel, worker: Callable[..., Any]) -> Any:
    from bentos.churn.service import Churn

    return worker(Churn, **{"model.npz": model.to_bytes()})


def ask(service: Any, **changed: Any) -> Prediction:
    fields = dict(Customer.model_validate({**EXAMPLE, **changed}))
    found: Prediction = asyncio.run(service.predict(**fields))
    return found


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_customer_gets_what_the_model_says(service: Any, model: ChurnModel) -> None:
    (judged,) = model.judge([EXAMPLE])

    found = ask(service)

    assert found == Prediction.of(judged, threshold=model.threshold, model_version="v1")
    assert found.decision == ("offer" if found.probability >= found.threshold else "no_offer")


def test_the_contributions_in_an_answer_add_up_to_its_probability(service: Any) -> None:
    for age in range(18, 93, 5):
        found = ask(service, age=age)
        total = found.base_log_odds + sum(one.log_odds for one in found.contributions) + found.rest_log_odds
        assert total == pytest.approx(log(found.probability / (1 - found.probability)), abs=1e-9)


def test_a_batch_is_answered_in_order_and_as_single_customers_are(service: Any) -> None:
    ages = list(range(18, 93))
    batch = [Customer.model_validate({**EXAMPLE, "age": age}) for age in ages]

    together = service.predict_batch(customers=batch)

    assert [one.probability for one in together] == pytest.approx([ask(service, age=age).probability for age in ages])
    assert len({one.risk for one in together}) > 1


def test_a_repeated_question_is_answered_from_the_cache(service: Any) -> None:
    before = count("churn_cache_total", outcome="hit")

    assert ask(service, balance=1234.5) == ask(service, balance=1234.5)

    assert count("churn_cache_total", outcome="hit") == before + 1


def test_customers_and_answers_are_counted(service: Any) -> None:
    found = ask(service, age=33)
    names = ("churn_probability_count", "churn_age_years_count", "churn_balance_euros_count")
    labels = {"decision": found.decision, "risk": found.risk}
    before = [count(name) for name in names], count("churn_decisions_total", **labels)

    ask(service, age=33)

    assert [count(name) for name in names] == [number + 1 for number in before[0]]
    assert count("churn_decisions_total", **labels) == before[1] + 1
    assert count("churn_model_info", version="v1") == 1


def test_the_inference_log_holds_answers_and_no_customer(service: Any, log: Path) -> None:
    found = ask(service, estimated_salary=54321.25)
    service._log.flush()

    (file,) = log.iterdir()
    line = json.loads(file.read_text().splitlines()[-1])
    assert line["output"]["probability"] == found.probability
    assert line["version"] == "v1"
    assert "54321.25" not in file.read_text()


# Offline


def test_a_file_is_judged_offline_and_bad_rows_are_put_aside(model: ChurnModel, tmp_path: Path) -> None:
    def answer(rows: Any) -> list[Prediction]:
        judged = model.judge([dict(row) for row in rows])
        return [Prediction.of(one, threshold=model.threshold, model_version="v1") for one in judged]

    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(EXAMPLE))
        writer.writeheader()
        writer.writerows([EXAMPLE, {**EXAMPLE, "age": 7}, {**EXAMPLE, "has_cr_card": 0}])

    done = run(Job(row=Customer, load=lambda: ("v1", answer)), tmp_path / "in.csv", tmp_path / "out.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rejected = json.loads((tmp_path / "out.jsonl.rejects.jsonl").read_text())
    assert (done.rows, done.rejected) == (3, 1)
    assert [line["row"] for line in lines] == [1, 3]
    assert lines[0]["probability"] == pytest.approx(model.judge([EXAMPLE])[0].probability)
    assert (rejected["row"], rejected["reasons"][0]["field"]) == (2, "age")


# Over HTTP


@pytest.fixture(scope="module")
def client(shop: Any, model: ChurnModel) -> Iterator[httpx.Client]:
    with shop.client("bentos.churn.service:Churn", "churn", **{"model.npz": model.to_bytes()}) as opened:
        yield opened


@pytest.mark.e2e
def test_the_examples_of_the_openapi_document_work(client: httpx.Client, model: ChurnModel) -> None:
    paths = client.get("/docs.json").json()["paths"]
    answers = {}
    for path in ("/predict", "/predict_batch"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = {name: field["examples"][0] for name, field in content["schema"]["properties"].items()}
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        answers[path] = answer.json()

    assert answers["/predict"]["probability"] == pytest.approx(model.judge([EXAMPLE])[0].probability)
    assert answers["/predict_batch"][0]["probability"] == pytest.approx(answers["/predict"]["probability"])
    assert answers["/predict_batch"][0].keys() == answers["/predict"].keys() == Prediction.model_fields.keys()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/predict", json.dumps({**EXAMPLE, "age": "sixtyfour"}), ["age"]),
        ("/predict", json.dumps({**EXAMPLE, "balance": float("nan")}), ["balance"]),
        ("/predict", json.dumps(EXAMPLE).replace("75000.0", "1e999"), ["balance"]),
        ("/predict", json.dumps({**EXAMPLE, "shoes": 46}), ["shoes"]),
        ("/predict", "{}", ["credit_score"]),
        ("/predict_batch", json.dumps({"customers": [EXAMPLE, {**EXAMPLE, "age": 7}]}), ["customers", 1, "age"]),
        ("/predict_batch", json.dumps({"customers": [EXAMPLE] * 257}), ["customers"]),
        ("/predict_batch", json.dumps({"customers": {}}), ["customers"]),
    ],
    ids=["text", "nan", "infinity", "unknown", "missing", "inside", "too many", "no list"],
)
def test_what_is_bad_is_refused_with_its_place_and_is_not_logged(
    client: httpx.Client, shop: Any, path: str, body: str, place: list[str | int]
) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"] == place
    assert "sixtyfour" not in "".join(log.read_text() for log in shop.root.glob("serve-*.log"))


@pytest.mark.e2e
def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    from bentos.churn.service import MAX_BYTES

    body = json.dumps({"customers": [EXAMPLE] * 10_000}).encode()
    in_chunks = (chunk for chunk in [b" " * MAX_BYTES, json.dumps({"customers": [EXAMPLE]}).encode()])

    for content in (body, in_chunks):
        answer = client.post("/predict_batch", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413


@pytest.mark.e2e
def test_it_is_ready_and_shows_its_metrics(client: httpx.Client) -> None:
    client.post("/predict", json=EXAMPLE)

    shown = client.get("/metrics").text
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    assert "churn_probability_count" in shown
    assert 'churn_cache_total{outcome="miss"}' in shown


@pytest.mark.e2e
def test_the_newest_model_of_the_store_judges_a_file(client: httpx.Client, shop: Any) -> None:
    (shop.root / "customers.jsonl").write_text(json.dumps(EXAMPLE) + "\n")

    said = shop.run(sys.executable, "-m", "bentos.churn", "batch", "customers.jsonl", "judged.jsonl")

    assert "1 rows answered" in said
    judged = json.loads((shop.root / "judged.jsonl").read_text())
    assert judged == {"row": 1, **client.post("/predict", json=EXAMPLE).json()}
