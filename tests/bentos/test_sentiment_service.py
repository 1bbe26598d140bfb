"""The HTTP interface, against a real `bentoml serve` of the built Bento."""

import http.client
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    with httpx.Client(base_url=address, timeout=60) as opened:
        yield opened


def predict(client: httpx.Client, text: str) -> dict[str, Any]:
    answer = client.post("/predict", json={"text": text})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def metric(client: httpx.Client, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_review_gets_label_score_and_version(client: httpx.Client, shop: Any) -> None:
    version = (shop.root / ".noren/bentoml/models/sentiment/latest").read_text()

    good, bad = predict(client, "great fun"), predict(client, "awful, dull")

    assert good == {"label": "positive", "score": pytest.approx(good["score"]), "model_version": version}
    assert good["score"] > 0.5 > bad["score"]
    assert bad["label"] == "negative"


@pytest.mark.parametrize("size", [1, 2, 256])
def test_a_batch_is_answered_in_order_and_as_single_reviews_are(client: httpx.Client, size: int) -> None:
    texts = (["great fun", "awful film", "word"] * 100)[:size]

    answer = client.post("/predict_batch", json={"texts": texts})

    assert answer.status_code == 200, answer.text
    assert [one["score"] for one in answer.json()] == [
        {text: predict(client, text)["score"] for text in set(texts)}[text] for text in texts
    ]


def test_many_batches_at_once_each_get_their_own_answers(client: httpx.Client) -> None:
    def ask(number: int) -> bool:
        texts = ["great fun" if (number + i) % 2 else "awful film" for i in range(100 + number)]
        labels = [one["label"] for one in client.post("/predict_batch", json={"texts": texts}).json()]
        return labels == ["positive" if "great" in text else "negative" for text in texts]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_the_longest_text_is_accepted(client: httpx.Client) -> None:
    assert predict(client, "great " * 3333 + "ok")["label"] == "positive"


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("/predict", {"text": ""}, "text"),
    ("/predict", {"text": " \n\t"}, "text"),
    ("/predict", {"text": "x" * 20_001}, "text"),
    ("/predict", {"text": 5}, "text"),
    ("/predict", {"text": None}, "text"),
    ("/predict", {"text": ["a"]}, "text"),
    ("/predict", {}, "text"),
    ("/predict", {"text": "a", "colour": "red"}, "colour"),
    ("/predict_batch", {}, "texts"),
    ("/predict_batch", {"texts": []}, "texts"),
    ("/predict_batch", {"texts": "one"}, "texts"),
    ("/predict_batch", {"texts": ["a"] * 257}, "texts"),
    ("/predict_batch", {"texts": ["a", ""]}, "texts"),
    ("/predict_batch", {"texts": ["a", 5]}, "texts"),
    ("/predict_batch", {"texts": ["a", "x" * 20_001]}, "texts"),
    ("/predict_batch", {"texts": ["a"], "more": 1}, "more"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD_BODIES)
def test_a_bad_field_is_named(client: httpx.Client, path: str, body: Any, field: str) -> None:
    answer = client.post(path, json=body)

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"][0] == field
    assert answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b'{"text": "a"', b"[1]", b'"text"', b"null", b'{"text": "\\ud800"}', b"\xff\xfe", b"[" * 9999],
)
@pytest.mark.parametrize("path", ["/predict", "/predict_batch"])
def test_what_is_no_json_object_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["msg"]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "multipart/form-data; boundary=x", "multipart/form-data", "application/json2",
     "application/x-www-form-urlencoded", "application/vnd.bentoml+pickle", "\N{LATIN SMALL LETTER E WITH ACUTE}"],
)  # fmt: skip
def test_other_content_types_are_refused(client: httpx.Client, content_type: str) -> None:
    headers = {b"content-type": content_type.encode("latin-1")}
    answer = client.post("/predict", content=b'{"text": "a"}', headers=headers)

    assert answer.status_code == 415
    assert "content-type" in answer.json()["error"]


def test_a_body_that_claims_to_be_huge_is_refused_unread(address: str) -> None:
    # By hand: no client library would announce a body and then not send it.
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/predict")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(10**12))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_the_rejected_text_is_not_logged(client: httpx.Client, shop: Any) -> None:
    client.post("/predict", json={"text": ["my private thoughts"]})

    logs = "".join(path.read_text() for path in shop.root.glob("serve-*.log"))
    assert "private thoughts" not in logs


def test_predictions_are_counted(client: httpx.Client, shop: Any) -> None:
    names = ['sentiment_predictions_total{label="positive"}', "sentiment_score_count", "sentiment_batch_size_count"]
    before = [metric(client, name) for name in names]
    client.post("/predict_batch", json={"texts": ["great fun", "great film", "awful"]})
    after = [metric(client, name) for name in names]
    version = (shop.root / ".noren/bentoml/models/sentiment/latest").read_text()

    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 3, 1]
    assert metric(client, f'sentiment_model_info{{version="{version}"}}') == 1


def test_the_newest_model_of_the_store_judges_a_file(client: httpx.Client, shop: Any) -> None:
    (shop.root / "reviews.jsonl").write_text('{"text": "great fun"}\n')

    said = shop.run(sys.executable, "-m", "bentos.sentiment", "batch", "reviews.jsonl", "judged.jsonl")

    assert "1 rows answered" in said
    judged = json.loads((shop.root / "judged.jsonl").read_text())
    assert judged == {"row": 1, **predict(client, "great fun")}


def test_the_examples_of_the_openapi_document_work(client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    for path in ("/predict", "/predict_batch"):
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        body = {name: field["examples"][0] for name, field in content["schema"]["properties"].items()}
        assert client.post(path, json=body).status_code == 200


def test_its_locust_file_finds_no_fault(address: str, shop: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(shop.root / "loadtests/sentiment.py"), "--host", address,
         "--headless", "--users", "8", "--spawn-rate", "8", "--run-time", "8s", "--only-summary", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert {"/predict short", "/predict medium", "/predict_batch"} <= set(re.findall(r'"name": "(.+?)"', done.stdout))


def test_plain_bentoml_serve_works_in_the_root(shop: Any) -> None:
    with shop.serving() as address:
        answer = httpx.post(f"{address}/predict", json={"text": "great"}, timeout=60)
        assert answer.json()["label"] == "positive"
