"""What an image is made with: labels, time, secrets, and the packages of the server."""

import os
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from noren.domain.errors import SpecError
from noren.images import image
from noren.images.bento import read
from noren.images.labels import labels, revision
from noren.images.locked import packages
from noren.images.server import pins
from tests.images.conftest import Make

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_labels_are_those_of_the_oci_specification(make: Make) -> None:
    assert labels(read(make()), base="localhost/base:1", created=NOON, revision="abc-dirty") == {
        "org.opencontainers.image.title": "shop",
        "org.opencontainers.image.version": "v1",
        "org.opencontainers.image.created": "2026-01-01T12:00:00Z",
        "org.opencontainers.image.base.name": "localhost/base:1",
        "org.opencontainers.image.revision": "abc-dirty",
        "noren.bento": "shop:v1",
        "noren.models": "taste:m1",
    }


def test_outside_of_a_repository_there_is_no_revision(make: Make, tmp_path: Path) -> None:
    assert revision(tmp_path) is None
    assert "org.opencontainers.image.revision" not in labels(read(make()), base="b", created=NOON, revision=None)


def test_the_revision_tells_that_something_was_changed(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.email=a@example.org", "-c", "user.name=a"]
    (tmp_path / "file").touch()
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)

    clean = revision(tmp_path)
    (tmp_path / "file").write_text("two")

    assert clean is not None
    assert len(clean) == 40
    assert revision(tmp_path) == f"{clean}-dirty"


def test_the_time_is_that_of_source_date_epoch() -> None:
    assert image._epoch({"SOURCE_DATE_EPOCH": "1767268800"}) == NOON
    assert image._epoch({}) is None


@pytest.mark.parametrize("text", ["", "noon", "1e400", "9" * 30])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="SOURCE_DATE_EPOCH"):
        image._epoch({"SOURCE_DATE_EPOCH": text})


def test_secrets_are_what_the_bento_names_and_what_uv_needs_for_a_private_index(make: Make) -> None:
    bento = read(make(envs=[{"name": "TOKEN", "stage": "build"}]))
    environment = {"TOKEN": "t", "UV_INDEX_URL": "https://me:p@pypi.example", "PASSWORD": "other"}
    assert image._secrets(bento, environment) == {"TOKEN": "t", "UV_INDEX_URL": "https://me:p@pypi.example"}


def test_a_secret_that_is_not_set_is_asked_for(make: Make) -> None:
    with pytest.raises(SpecError, match="TOKEN"):
        image._secrets(read(make(envs=[{"name": "TOKEN", "stage": "build"}])), {})


def test_files_with_secrets_are_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (path,) = image._secret_files({"TOKEN": "t"}, tmp_path).values()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "t"


def test_the_server_is_pinned_to_what_it_was_tested_with_but_for_what_the_bento_locked() -> None:
    everything = pins([])
    assert f"uvicorn=={version('uvicorn')}" in everything
    assert pins([line.partition("==")[0] for line in everything]) == []
    assert not [line for line in pins(["bentoml"]) if line.startswith("bentoml==")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("numpy==2.4.6", [("numpy", "2.4.6")]),
        ("Pyyaml==6.0 ; python_version > '3'  # why", [("pyyaml", "6.0")]),
        ("numpy==2.4.6 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11", [("numpy", "2.4.6")]),
        ("numpy>=2", [("numpy", None)]),
        ("shop @ git+https://example.org/shop.git", [("shop", None)]),
        ("--index-url https://pypi.org/simple", []),
        ("./wheels/bentoml-1.4.tar.gz", []),
        ("# nothing", []),
        ("", []),
    ],
)
def test_a_lock_is_read_line_by_line(line: str, found: list[tuple[str, str | None]]) -> None:
    assert [(package.name, package.version) for package in packages(line)] == found
