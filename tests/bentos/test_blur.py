"""The blur service as it is served, but in this process and with a small model; and its offline batch."""

import asyncio
import csv
import gc
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from bentos.batch import Job
from bentos.batch import main as run_batch
from bentos.blur import __main__ as offline
from bentos.blur.judging import Judge
from bentos.blur.schema import MAX_IMAGES, PredictBatchRequest, PredictRequest
from bentos.blur.uploads import MAX_BODY_BYTES, MAX_BYTES
from bentos.tables import read_rows
from models.blur import BlurModel

ROOT = Path(__file__).resolve().parents[2]
MODEL = BlurModel(measures=("tenengrad",), weights=(1.0,), intercept=3.0, threshold=-0.5)

Post = Callable[..., httpx.Response]


class Tag(BaseModel):
    version: str = "v1"


class Stored:
    """What the service asks of a model in the BentoML store."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.tag = folder, Tag()

    def path_of(self, name: str) -> str:
        return str(self._folder / name)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.json").write_bytes(MODEL.to_bytes())
    return Stored(folder)


@pytest.fixture(scope="module")
def post(stored: Stored) -> Iterator[Post]:
    """Sends a request to the service as it is served, without a network."""
    from bentos.blur.service import Blur

    made: Any = Blur  # the decorator made it a Service; `inner` is the class
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        patch.setattr(made.inner, "stored", stored)
        # BentoML's own metrics want a process that has not imported prometheus-client yet.
        patch.setitem(made.config, "metrics", {"enabled": False})
        app: Any = made.to_asgi()
        lifespan = app.router.lifespan_context(app)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://blur", timeout=60)

        async def send(path: str, options: dict[str, Any]) -> httpx.Response:
            return await client.post(path, **options)

        runner.run(_entered(lifespan))
        yield lambda path, **options: runner.run(send(path, options))
        runner.run(client.aclose())
        runner.run(_left(lifespan))
    gc.unfreeze()


async def _entered(manager: Any) -> None:
    await manager.__aenter__()


async def _left(manager: Any) -> None:
    await manager.__aexit__(None, None, None)


def photo(
    seed: int = 1, *, blur: int = 0, size: tuple[int, int] = (320, 240), kind: str = "PNG", **options: Any
) -> bytes:
    """Squares of all tones, one above the other."""
    chance = np.random.default_rng(seed)
    width, height = size
    grey = np.full((height, width), 128, dtype=np.uint8)
    for _ in range(100):
        left, top = int(chance.integers(width)), int(chance.integers(height))
        cv2.rectangle(grey, (left, top), (left + 40, top + 30), int(chance.integers(256)), -1)
    if blur:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def image(data: bytes, name: str = "photo", kind: str = "application/octet-stream") -> dict[str, Any]:
    return {"files": {"image": (name, data, kind)}}


def images(*several: bytes) -> dict[str, Any]:
    return {"files": [("images", (f"{number}.png", data, "image/png")) for number, data in enumerate(several)]}


def body(data: bytes, kind: str) -> dict[str, Any]:
    return {"content": data, "headers": {"content-type": kind}}


def metric(name: str, **labels: str) -> float:
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels) or 0.0


# Good photos


def test_a_photo_gets_its_verdict_with_size_and_version(post: Post) -> None:
    sharp, blurred = (post("/predict", **image(photo(blur=radius))) for radius in (0, 6))

    assert sharp.status_code == 200, sharp.text
    found = sharp.json()
    assert found.keys() == {"blurred", "sharpness", "confidence", "threshold", "width", "height", "model_version"}
    assert (found["width"], found["height"], found["model_version"]) == (320, 240, "v1")
    assert found["threshold"] == -0.5
    assert (found["blurred"], blurred.json()["blurred"]) == (False, True)
    assert found["sharpness"] > blurred.json()["sharpness"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_may_be_the_whole_body(post: Post, kind: str) -> None:
    data = photo(kind=kind)

    by_type = post("/predict", **body(data, f"image/{kind.lower()}"))
    as_bytes = post("/predict", **body(data, "application/octet-stream"))

    assert by_type.status_code == 200, by_type.text
    assert by_type.json() == as_bytes.json() == post("/predict", **image(data)).json()


def test_what_the_client_calls_the_file_does_not_matter(post: Post) -> None:
    named = post("/predict", **image(photo(), name="../../etc/passwd", kind="text/html"))

    assert named.json() == post("/predict", **image(photo())).json()


def test_exif_turns_the_size(post: Post) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    found = post("/predict", **image(photo(kind="JPEG", exif=exif))).json()

    assert (found["width"], found["height"]) == (240, 320)


@pytest.mark.parametrize("count", [1, 2, MAX_IMAGES])
def test_a_batch_is_answered_in_order_and_as_single_photos_are(post: Post, count: int) -> None:
    several = [photo(number, blur=number % 3) for number in range(count)]

    answer = post("/predict_batch", **images(*several))

    assert answer.status_code == 200, answer.text
    assert answer.json() == [post("/predict", **image(one)).json() for one in several]


def test_a_photo_of_20_megabytes_is_accepted(post: Post) -> None:
    data = photo(kind="JPEG")
    padded = data + bytes(MAX_BYTES - len(data))  # what comes after the end of a JPEG is no part of it

    assert post("/predict", **image(padded)).status_code == 200
    assert post("/predict", **body(padded, "image/jpeg")).status_code == 200


def test_a_known_photo_comes_from_the_cache_and_is_counted_all_the_same(post: Post) -> None:
    data = photo(77)
    first = post("/predict", **image(data)).json()
    hits, count = metric("blur_cache_total", outcome="hit"), metric("blur_sharpness_count")

    assert post("/predict", **body(data, "image/png")).json() == first
    assert metric("blur_cache_total", outcome="hit") == hits + 1
    assert metric("blur_sharpness_count") == count + 1
    assert metric("blur_model_info", version="v1") == 1


def test_verdicts_and_refusals_are_counted(post: Post) -> None:
    before = [metric("blur_predictions_total", verdict="sharp"), metric("blur_refused_total", kind="image_type")]
    post("/predict", **image(photo()))
    post("/predict", **image(b"hello"))
    after = [metric("blur_predictions_total", verdict="sharp"), metric("blur_refused_total", kind="image_type")]

    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


# What is refused


def refusal(answer: httpx.Response, status: int = 400) -> tuple[list[Any], str]:
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"][0]
    assert detail["msg"]
    return detail["loc"], detail["type"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "image_empty"),
        (b"hello", "image_type"),
        (b"GIF89a" + bytes(100), "image_type"),
        (photo()[: len(photo()) // 2], "image_damaged"),
        (photo(size=(31, 100)), "image_size"),
        (photo() + bytes(MAX_BYTES), "image_bytes"),
    ],
    ids=["empty", "text", "gif", "cut", "small", "long"],
)
def test_a_bad_file_is_refused_by_the_name_of_its_field(post: Post, data: bytes, kind: str) -> None:
    assert refusal(post("/predict", **image(data))) == (["image"], kind)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", "image_empty"), (b"hello", "image_type"), (bytes(MAX_BYTES + 1), "image_form")],
    ids=["empty", "text", "long"],
)
def test_a_bad_body_is_refused_by_the_name_of_the_field_that_it_stands_for(post: Post, data: bytes, kind: str) -> None:
    assert refusal(post("/predict", **body(data, "image/jpeg"))) == (["image"], kind)


def test_the_bad_one_of_a_batch_is_named(post: Post) -> None:
    assert refusal(post("/predict_batch", **images(photo(1), photo(2), b"hello"))) == (["images", 2], "image_type")
    assert refusal(post("/predict_batch", **images(photo(1), b""))) == (["images", 1], "image_empty")


FORMS: list[tuple[str, dict[str, Any], str, str]] = [
    ("/predict", {"files": {"picture": b"x"}}, "image", "missing"),
    ("/predict", {"files": {"other": (None, b"x")}}, "image", "missing"),
    ("/predict", {"files": [("image", photo()), ("image", photo())]}, "image", "image_form"),
    ("/predict", {"files": [("image", photo()), ("image", (None, b"x"))]}, "image", "image_file"),
    ("/predict", {"files": {"image": (None, b"http://127.0.0.1:9/cat.jpg")}}, "image", "image_file"),
    ("/predict", {"files": [("image", photo()), ("colour", (None, b"red"))]}, "colour", "extra_forbidden"),
    ("/predict", {"files": [("image", photo()), *[(f"f{i}", (None, b"")) for i in range(9)]]}, "image", "image_form"),
    ("/predict_batch", {"files": {"image": photo()}}, "images", "missing"),
    ("/predict_batch", {"files": [("images", b"x")] * (MAX_IMAGES + 1)}, "images", "image_form"),
    ("/predict_batch", {"files": {"images": (None, b"http://127.0.0.1:9/cat.jpg")}}, "images", "image_file"),
]


@pytest.mark.parametrize(("path", "form", "field", "kind"), FORMS)
def test_a_bad_form_is_refused_by_the_name_of_the_field(
    post: Post, path: str, form: dict[str, Any], field: str, kind: str
) -> None:
    place, found = refusal(post(path, **form))

    assert (place[0], found) == (field, kind)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no form at all",
        b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nnever ends',
    ],
)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "multipart/form-data"])
def test_a_broken_form_is_refused(post: Post, content: bytes, kind: str) -> None:
    place, _ = refusal(post("/predict", **body(content, kind)))

    assert place == ["image"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/plain",
        "image/gif",
        "application/x-www-form-urlencoded",
        "application/vnd.bentoml+pickle",
    ],
)
def test_other_content_types_are_refused(post: Post, kind: str) -> None:
    assert refusal(post("/predict", **body(photo(), kind)), status=415)[0] == ["content-type"]


def test_a_body_without_a_content_type_is_refused(post: Post) -> None:
    assert refusal(post("/predict", content=photo()), status=415)[0] == ["content-type"]


def test_a_body_that_claims_to_be_huge_is_refused_unread(post: Post) -> None:
    claim = {"content-type": "image/png", "content-length": str(MAX_BODY_BYTES + 1)}

    assert refusal(post("/predict", content=b"x", headers=claim), status=413)[0] == ["content-length"]


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=b"])
def test_a_body_of_unknown_length_ends_at_the_limit(post: Post, kind: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while True:
            sent += 1_000_000
            yield bytes(1_000_000)

    assert refusal(post("/predict", content=endless(), headers={"content-type": kind})) == (["image"], "image_form")
    assert sent < 2 * MAX_BYTES


# Description


@pytest.mark.parametrize(("request_model", "field"), [(PredictRequest, "image"), (PredictBatchRequest, "images")])
def test_the_field_is_described_as_a_file(request_model: Any, field: str) -> None:
    schema = request_model.model_json_schema()["properties"][field]
    openapi = request_model.model_json_schema(mode="serialization")["properties"][field]

    assert request_model.mime_type() == "multipart/form-data"
    assert schema["description"]
    assert (schema.get("items") or schema)["type"] == "file"
    assert (openapi.get("items") or openapi)["format"] == "binary"


# Offline


@pytest.fixture
def job(stored: Stored) -> Job[offline.Row]:
    judge = Judge(stored)

    def answer(rows: Any) -> list[offline.Found]:
        return [offline.answer(judge, row.path) for row in rows]

    return Job(row=offline.Row, load=lambda: (judge.version, answer), folder=offline.images, shown=("path",))


def test_a_folder_of_images_is_judged_and_bad_files_are_rejected_with_the_reason(
    job: Job[offline.Row], tmp_path: Path, post: Post
) -> None:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    (folder / "b.png").write_bytes(photo(2))
    (folder / "a.JPG").write_bytes(photo(1, kind="JPEG"))
    (folder / "inner/c.webp").write_bytes(photo(3, kind="WEBP", lossless=True))
    (folder / "bad.jpeg").write_bytes(b"hello")
    (folder / "notes.txt").write_text("no image")
    (folder / "folder.png").mkdir()

    assert run_batch(job, ["batch", str(folder), str(tmp_path / "out.jsonl")]) == 0

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    names = ["a.JPG", "b.png", "inner/c.webp"]
    assert [Path(line["path"]).relative_to(folder).as_posix() for line in lines] == names
    for line in lines:
        alone = post("/predict", **image(Path(line["path"]).read_bytes())).json()
        assert {key: line[key] for key in alone} == alone
    (rejected,) = map(json.loads, (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines())
    assert rejected["path"] == str(folder / "bad.jpeg")
    assert rejected["reasons"][0]["field"] == "path"
    assert "no JPEG, PNG or WebP" in rejected["reasons"][0]["message"]


def test_a_table_of_paths_is_judged(job: Job[offline.Row], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo(1))
    (tmp_path / "table.csv").write_text(f"path,taken\n{tmp_path / 'a.png'},1999\n{tmp_path / 'gone.png'},2000\n,2001\n")

    assert run_batch(job, ["batch", str(tmp_path / "table.csv"), str(tmp_path / "out.csv")]) == 0

    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["row"], row["blurred"], row["width"]) == ("1", "False", "320")
    rejected = (tmp_path / "out.csv.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejected] == [2, 3]
    assert [json.loads(line)["path"] for line in rejected] == [str(tmp_path / "gone.png"), None]


def test_what_is_named_like_an_image_is_judged_or_rejected_and_never_waited_for(
    job: Job[offline.Row], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "photo.jfif").write_bytes(photo(1, kind="JPEG"))
    (folder / "good.png").symlink_to(folder / "photo.jfif")
    (folder / "broken.png").symlink_to(folder / "gone.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder.png").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")

    assert run_batch(job, ["batch", str(folder), str(tmp_path / "out.jsonl")]) == 0

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["good.png", "photo.jfif"]
    rejected = [json.loads(line) for line in (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()]
    assert {Path(line["path"]).name: line["reasons"][0]["message"] for line in rejected} == {
        "broken.png": "cannot be read: No such file or directory",
        "device.png": "is no regular file",
        "folder.png": "cannot be read: Is a directory",
        "loop.png": "cannot be read: Too many levels of symbolic links",
        "pipe.png": "is no regular file",
    }


def test_a_pipe_that_a_table_names_is_rejected(job: Job[offline.Row], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.png").write_bytes(photo(1))
    paths = [str(tmp_path / "pipe"), "/dev/zero", str(tmp_path), str(tmp_path / "a.png")]
    (tmp_path / "table.csv").write_text("\n".join(["path", *paths]) + "\n")

    assert run_batch(job, ["batch", str(tmp_path / "table.csv"), str(tmp_path / "out.jsonl")]) == 0
    rejected = (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in rejected] == [1, 2, 3]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_file_name_that_is_no_utf_8_is_told_in_every_format(job: Job[offline.Row], tmp_path: Path, kind: str) -> None:
    if kind == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"a\xff.png", b"b\xff.png"):
        (folder / os.fsdecode(name)).write_bytes(photo(1) if name.startswith(b"a") else b"hello")

    assert run_batch(job, ["batch", str(folder), str(tmp_path / f"out{kind}")]) == 0

    (row,) = read_rows(tmp_path / f"out{kind}")
    assert row["path"].endswith("a\\udcff.png")
    assert "b\\udcff.png" in (tmp_path / f"out{kind}.rejects.jsonl").read_text()


def test_the_length_of_a_file_is_limited_offline_too(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES + 1)

    with pytest.raises(ValueError, match="more than"):
        offline.measured(tmp_path / "long.png")
