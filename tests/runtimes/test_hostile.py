"""A Bento from elsewhere may say anything of its models: no folder is made by that, and no file written."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from noren.domain.errors import DriverError
from noren.runtimes.pinned import pinned_store

TAGS = (
    *("../../../out:v1", "/out:v1", "m:../../out", "m:..", "m:.", "..:..", "m:/out", "m", "m:", ":v1", "m:latest"),
    *("m:v1:v2", "m/n:v1", "m\n:v1", "m:v1\0", "m:v1 ", "-m:v1", "~:v1", ""),
)


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    """A Bento in a store that is four folders deep, with whatever a tag may lead to beside it."""
    home = tmp_path / "a/b/c"
    (home / "models/m/v1").mkdir(parents=True)
    for place in (home, home / "models", tmp_path / "a/b"):
        (place / "out/v1").mkdir(parents=True)
    bento = home / "bentos/b/1"
    bento.mkdir(parents=True)
    return bento


def refused(bento: Path, manifest: bytes) -> str:
    """What is said of the manifest, by which no file has come or changed."""
    (bento / "bento.yaml").write_bytes(manifest)
    home = bento.parents[2]
    (home / "stores").mkdir()
    before = {path: path.is_dir() or path.read_bytes() for path in sorted(home.parents[2].rglob("*"))}
    with pytest.raises(DriverError) as raised:
        pinned_store(bento, home, home / "stores")
    assert {path: path.is_dir() or path.read_bytes() for path in sorted(home.parents[2].rglob("*"))} == before
    assert raised.value.fix
    return raised.value.problem


@pytest.mark.parametrize("tag", TAGS, ids=ascii)
def test_a_model_that_is_a_path_is_refused(bento: Path, tag: str) -> None:
    manifest: dict[str, Any] = {"models": [{"tag": "m:v1"}], "services": [{"name": "b", "models": [{"tag": tag}]}]}
    assert "which is no name with an exact version" in refused(bento, yaml.safe_dump(manifest).encode())


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"", b"- a", b"models: [", b"models: 7", b"models: abc", b"models: [{}]", b"services: [1]", b"a: \xff"),
        *(b"models: [{tag: !!int ''}]", b"[" * 5000),
    ],
    ids=lambda manifest: ascii(manifest)[:30],
)
def test_a_manifest_of_another_kind_is_refused(bento: Path, manifest: bytes) -> None:
    assert "is not as BentoML writes it" in refused(bento, manifest)
