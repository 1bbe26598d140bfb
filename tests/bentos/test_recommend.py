"""What the recommender takes and gives: the schema, the service in this process, and a real `bentoml serve` of it."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from bentos import batch
from bentos.recommend import __main__ as offline
from bentos.recommend.answers import Answers
from bentos.recommend.schema import (
    MAX_K,
    MAX_LIKED,
    MAX_REQUESTS,
    Item,
    Recommendations,
    RecommendBatchRequest,
    RecommendRequest,
)
from models.recommend import NEIGHBOURS, Parameters, Ratings, RecommendModel, fit


def ratings() -> Ratings:
    chance = np.random.default_rng(42)
    user, item = np.nonzero(chance.random((30, 20)) < np.linspace(0.6, 0.2, 20))
    return Ratings(users=tuple(f"u{n}" for n in range(30)), items=tuple(map(str, range(20))), user=user, item=item)


@pytest.fixture(scope="module")
def model() -> RecommendModel:
    return fit(ratings(), Parameters(penalty=2.0), {"0": "Zero", "1": "One"})


# The schema

BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({}, "liked_items"),
    ({"user_id": "u1", "liked_items": ["1"]}, "liked_items"),
    ({"user_id": "u1", "liked_items": []}, "liked_items"),
    ({"user_id": None, "liked_items": None}, "liked_items"),
    ({"user_id": ""}, "user_id"),
    ({"user_id": "x" * 65}, "user_id"),
    ({"user_id": ["u1"]}, "user_id"),
    ({"user_id": True}, "user_id"),
    ({"user_id": 196.5}, "user_id"),
    ({"user_id": 2.0**53 + 2}, "user_id"),
    ({"user_id": 1e300}, "user_id"),
    ({"liked_items": [0.5]}, "liked_items"),
    ({"liked_items": "1"}, "liked_items"),
    ({"liked_items": [""]}, "liked_items"),
    ({"liked_items": [None]}, "liked_items"),
    ({"liked_items": ["x" * 65]}, "liked_items"),
    ({"liked_items": ["1"] * (MAX_LIKED + 1)}, "liked_items"),
    ({"liked_items": ["1"] * 1_000_000}, "liked_items"),
    ({"user_id": "u1", "k": 0}, "k"),
    ({"user_id": "u1", "k": MAX_K + 1}, "k"),
    ({"user_id": "u1", "k": 2.5}, "k"),
    ({"user_id": "u1", "k": "many"}, "k"),
    ({"user_id": "u1", "k": None}, "k"),
    ({"user_id": "u1", "exclude_seen": "perhaps"}, "exclude_seen"),
    ({"user_id": "u1", "colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("body", "field"), BAD_REQUESTS)
def test_a_bad_field_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RecommendRequest.model_validate_json(json.dumps(body))

    assert refused.value.errors()[0]["loc"][0] == field


# No JSON, but what many programs write and Python's parsers read.
NO_NUMBERS = [
    (body % value, field)
    for value in ("NaN", "Infinity", "-Infinity", "1e999")
    for body, field in (('{"user_id": %s}', "user_id"), ('{"liked_items": [%s]}', "liked_items"))
]


@pytest.mark.parametrize(("body", "field"), NO_NUMBERS)
def test_what_is_no_number_is_no_id(body: str, field: str) -> None:
    for parsed in (
        RecommendRequest.model_validate_json,
        lambda text: RecommendRequest.model_validate(json.loads(text)),
    ):
        with pytest.raises(ValidationError) as refused:
            parsed(body)
        assert refused.value.errors()[0]["loc"][0] == field


def test_an_error_of_many_items_is_one_error() -> None:
    with pytest.raises(ValidationError) as refused:
        RecommendRequest.model_validate({"liked_items": ["1"] * 1_000_000})

    assert refused.value.error_count() == 1


def test_ids_that_are_numbers_are_taken_as_text() -> None:
    assert RecommendRequest.model_validate({"liked_items": [50, "172"]}).liked_items == ["50", "172"]
    for number in (196, 196.0, Decimal("196.00")):
        assert RecommendRequest.model_validate({"user_id": number}).user_id == "196"
        assert RecommendRequest.model_validate({"liked_items": [number]}).liked_items == ["196"]
    assert RecommendRequest.model_validate_json('{"user_id": 196.0}').user_id == "196"
    assert RecommendRequest.model_validate({"user_id": "196.0"}).user_id == "196.0"


def test_a_batch_has_at_most_256_requests() -> None:
    one = {"user_id": "u1"}
    assert len(RecommendBatchRequest.model_validate({"requests": [one] * MAX_REQUESTS}).requests) == 256
    for wrong in ([], [one] * (MAX_REQUESTS + 1)):
        with pytest.raises(ValidationError, match="requests"):
            RecommendBatchRequest.model_validate({"requests": wrong})


def test_the_first_examples_of_the_fields_make_a_request_together() -> None:
    for kind in (RecommendRequest, RecommendBatchRequest):
        properties = kind.model_json_schema()["properties"]
        assert all(field["description"] for field in properties.values())
        kind.model_validate({name: field["examples"][0] for name, field in properties.items()})


def test_as_many_similar_items_are_kept_as_can_be_asked_for() -> None:
    assert NEIGHBOURS >= MAX_K


# The service in this process


@pytest.fixture(scope="module")
def service(model: RecommendModel, worker: Callable[..., Any]) -> Any:
    from bentos.recommend.service import Recommend

    return worker(Recommend, **{"model.npz": model.to_bytes()})


def predict(service: Any, **fields: Any) -> Recommendations:
    request = RecommendRequest.model_validate(fields)
    arguments = {name: getattr(request, name) for name in RecommendRequest.model_fields}
    found: Recommendations = asyncio.run(service.predict(**arguments))
    return found


def test_a_known_user_gets_unseen_items_with_titles_and_the_version(service: Any, model: RecommendModel) -> None:
    found = predict(service, user_id="u1", k=3)

    assert [item.id for item in found.items] == [item.id for item in model.for_user("u1", k=3).items]
    assert (len(found.items), found.cold_start, found.model_version) == (3, False, "v1")


@pytest.mark.parametrize("fields", [{"user_id": "nobody"}, {"liked_items": []}])
def test_a_stranger_gets_what_is_popular(service: Any, fields: dict[str, Any]) -> None:
    found = predict(service, **fields, k=2)

    assert found.cold_start
    assert len(found.items) == 2
    assert 0 < found.items[1].score <= found.items[0].score <= 1


def test_unknown_items_are_refused_by_field_and_the_first_are_named(service: Any) -> None:
    with pytest.raises(ValidationError, match=r"no such items: a, b, c, d, e and 2 more") as refused:
        predict(service, liked_items=["1", *"abcdefg"])

    assert [error["loc"] for error in refused.value.errors()] == [("liked_items",)]


def test_unknown_items_in_a_batch_are_refused_with_the_place_of_the_request(service: Any) -> None:
    requests = [RecommendRequest(user_id="u1"), RecommendRequest(liked_items=["x"])]

    with pytest.raises(ValidationError) as refused:
        service.predict_batch(requests=requests)

    assert refused.value.errors()[0]["loc"] == ("requests", 1, "liked_items")


def test_a_batch_is_answered_in_order_and_as_single_requests_are(service: Any) -> None:
    bodies: list[dict[str, Any]] = [{"user_id": "u2"}, {"liked_items": ["0", "3"], "k": 4}, {"user_id": "nobody"}]

    found = service.predict_batch(requests=[RecommendRequest.model_validate(body) for body in bodies])

    assert found == [predict(service, **body) for body in bodies]


def test_answers_are_logged_without_who_asked(service: Any, log: Path) -> None:
    predict(service, user_id="somebody-private")
    service._log.flush()

    (file,) = log.iterdir()
    record = json.loads(file.read_text().splitlines()[-1])
    assert record["output"]["cold_start"] is True
    assert record["version"] == "v1"
    assert "somebody-private" not in file.read_text()


def test_the_log_says_what_was_recommended_however_long_its_id_is(service: Any, log: Path) -> None:
    item = Item(id="112852", title="Guardians of the Galaxy (2014)", score=0.5)
    output = Recommendations(items=[item], cold_start=False, model_version="v1")
    service._log.note(digest="", output=output, latency_ms=1.0)
    service._log.flush()

    (file,) = log.iterdir()
    record = json.loads(file.read_text().splitlines()[-1])
    assert record["output"] == output.model_dump()


def similar(service: Any, path: str) -> httpx.Response:
    from bentos.recommend.service import items

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=items), base_url="http://shop") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_similar_items_are_a_link(service: Any, model: RecommendModel) -> None:
    answer = similar(service, "/0/similar?k=3")

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["title"], answer.json()["model_version"]) == ("0", "Zero", "v1")
    assert [item["id"] for item in answer.json()["items"]] == [item.id for item in model.similar("0", k=3)]
    assert len(similar(service, "/0/similar").json()["items"]) == 10


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/none/similar", 404, "id"),
        (f"/{'x' * 65}/similar", 400, "id"),
        ("/0/similar?k=0", 400, "k"),
        ("/0/similar?k=101", 400, "k"),
        ("/0/similar?k=many", 400, "k"),
        ("/0/similar?colour=red", 400, "colour"),
        ("/%F0%9F%8E%AC%00/similar", 404, "id"),
    ],
)
def test_a_bad_question_for_similar_items_names_what_is_wrong(service: Any, path: str, status: int, field: str) -> None:
    answer = similar(service, path)

    assert answer.status_code == status
    assert answer.json()["detail"][0]["loc"] == [field]


# Offline


@pytest.fixture
def job(model: RecommendModel, monkeypatch: pytest.MonkeyPatch) -> batch.Job[offline.Row]:
    answers = Answers(model, version="v1")
    monkeypatch.setattr(offline.Row, "users", frozenset(model.users))
    monkeypatch.setattr(offline.Row, "items", frozenset(model.items))
    return batch.Job(
        row=offline.Row,
        load=lambda: ("v1", lambda rows: [answers.recommend(row) for row in rows]),
        read=offline.read,
    )


def test_a_file_is_answered_row_by_row_and_bad_rows_are_put_aside(job: batch.Job[offline.Row], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("user_id,liked_items,k\nu1,,3\n,0 3,2\n,0 nothing,2\nu1,0,2\n,,\n")

    done = batch.run(job, tmp_path / "in.csv", tmp_path / "out.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rejects = [json.loads(line) for line in (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()]
    assert (done.rows, done.rejected) == (5, 3)
    assert [(line["row"], len(line["items"])) for line in lines] == [(1, 3), (2, 2)]
    assert [(reject["row"], reject["reasons"][0]["field"]) for reject in rejects] == [
        (row, "liked_items") for row in (3, 4, 5)
    ]
    assert "no such items: nothing" in rejects[0]["reasons"][0]["message"]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_ids_that_a_table_made_floats_of_are_those_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    columns = {"user_id": [196.0, None, None, float("nan")], "liked_items": [None, [3.0, 4.0], [4.0], None]}
    pyarrow.write_table(pytest.importorskip("pyarrow").table(columns), tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text('user_id,liked_items\n196.0,\n,3.0 4.0\n,"[4.0]"\n,5.0\n')
    monkeypatch.setattr(offline.Row, "items", {"3", "4.0" if kind == ".csv" else "4", "4"})
    asked: list[offline.Row] = []

    def answer(rows: Sequence[offline.Row]) -> list[Recommendations]:
        asked.extend(rows)
        return [Recommendations(items=[], cold_start=True, model_version="v1") for _ in rows]

    job = batch.Job(row=offline.Row, load=lambda: ("v1", answer), read=offline.read)
    assert batch.run(job, tmp_path / f"in{kind}", tmp_path / "out.jsonl").rejected == 1

    text = "4.0" if kind == ".csv" else "4"  # the model knows such an id, so that it is meant
    assert [(row.user_id, row.liked_items) for row in asked] == [("196", None), (None, ["3", text]), (None, ["4"])]
    (rejected,) = map(json.loads, (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines())
    assert rejected["reasons"][0]["field"] == ("liked_items" if kind == ".csv" else "user_id")


# A real server


@pytest.fixture(scope="module")
def client(shop: Any) -> Iterator[httpx.Client]:
    """Of a model that knows the ids of the examples."""
    user, item = np.nonzero(np.random.default_rng(42).random((30, 200)) < 0.3)
    rated = Ratings(users=tuple(map(str, range(30))), items=tuple(map(str, range(200))), user=user, item=item)
    model = fit(rated, Parameters(), {"50": "Star Wars (1977)"})
    with shop.client("bentos.recommend.service:Recommend", "recommend", **{"model.npz": model.to_bytes()}) as opened:
        yield opened


@pytest.mark.e2e
def test_the_examples_of_the_openapi_document_work(client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    for path in ("/predict", "/predict_batch"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        body = {name: field["examples"][0] for name, field in content["schema"]["properties"].items()}
        assert client.post(path, json=body).status_code == 200


@pytest.mark.e2e
def test_similar_items_are_served_beside_the_routes_of_bentoml(client: httpx.Client) -> None:
    assert client.get("/items/50/similar?k=3").json()["title"] == "Star Wars (1977)"
    assert client.get("/items/nothing/similar").status_code == 404
    assert client.post("/items/50/similar", json={}).status_code == 405


@pytest.mark.e2e
@pytest.mark.parametrize(("body", "field"), [*BAD_REQUESTS, ({"liked_items": ["nothing"]}, "liked_items")])
def test_a_bad_field_gets_400_over_http(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/predict", json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"][0] == field
    assert answer.json()["detail"][0]["msg"]


@pytest.mark.e2e
def test_what_is_no_number_gets_400_over_http(client: httpx.Client) -> None:
    answer = client.post("/predict", content=b'{"user_id": NaN}', headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (400, ["user_id"])


@pytest.mark.e2e
def test_what_is_counted_is_shown(client: httpx.Client) -> None:
    client.post("/predict", json={"user_id": "3"})
    client.post("/predict", json={"user_id": "3"})
    text = client.get("/metrics").text

    assert 'recommend_answers_total{source="user"}' in text
    assert 'recommend_cache_total{outcome="hit"}' in text
    assert "recommend_top_score_count" in text
    assert "recommend_model_info{version=" in text
