"""The parts list that lies beside an image."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from noren.domain.errors import DriverError
from noren.images import sbom
from noren.images.bento import Bento, read
from noren.images.labels import labels
from tests.images.conftest import Make

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOCK = """--index-url https://pypi.org/simple

numpy==2.4.6 \\
    --hash=sha256:00
Jinja2==3.1.6 ; python_version > "3"
shop @ https://example.org/shop-1.0.tar.gz
"""


@pytest.fixture
def bento(make: Make) -> Bento:
    return read(make(lock=LOCK))


def written(bento: Bento, store: Path, folder: Path) -> dict[str, Any]:
    said = labels(bento, base="b", created=NOON, revision=None)
    document: dict[str, Any] = json.loads(sbom.write(folder / "new" / "shop.cdx.json", bento, said, store).read_text())
    return document


def test_it_is_valid_cyclonedx(bento: Bento, store: Path, tmp_path: Path) -> None:
    text = json.dumps(written(bento, store, tmp_path))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_lists_the_locked_packages_the_server_and_the_models(bento: Bento, store: Path, tmp_path: Path) -> None:
    found = {part["name"]: part for part in written(bento, store, tmp_path)["components"]}

    assert found["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert found["jinja2"]["version"] == "3.1.6"
    assert "version" not in found["shop"]  # from a URL: what it is, only its archive knows
    assert {"noren-serve", "bentoml", "uvicorn"} <= found.keys()  # what the Bento has not locked, the server brings
    (file,) = found["taste"]["components"]
    assert found["taste"]["type"] == "machine-learning-model"
    assert file["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"name: taste\n").hexdigest()}]


def test_it_names_the_image_that_it_is_about(bento: Bento, store: Path, tmp_path: Path) -> None:
    about = written(bento, store, tmp_path)["metadata"]
    assert about["timestamp"] == "2026-01-01T12:00:00+00:00"
    assert (about["component"]["type"], about["component"]["version"]) == ("container", "v1")
    assert {"name": "noren.models", "value": "taste:m1"} in about["component"]["properties"]


def test_the_same_image_has_the_same_list(bento: Bento, store: Path, tmp_path: Path) -> None:
    assert written(bento, store, tmp_path / "a") == written(bento, store, tmp_path / "b")


def test_a_mounted_model_that_is_not_here_is_listed_without_files(bento: Bento, tmp_path: Path) -> None:
    document = written(bento, tmp_path / "nowhere", tmp_path)
    (model,) = [part for part in document["components"] if part["type"] == "machine-learning-model"]
    assert "components" not in model


def test_without_the_library_the_fix_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "find_spec", lambda _: None)
    with pytest.raises(DriverError, match=r"noren\[images\]"):
        sbom.require()
