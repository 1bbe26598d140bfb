"""A built Bento as BentoML leaves it on disk, without BentoML."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFEST: dict[str, Any] = {
    "name": "shop",
    "version": "v1",
    "services": [{"name": "shop", "models": [{"tag": "taste:m1"}]}],
    "envs": [],
    "image": {
        "base_image": "python:3.11-slim",
        "python_version": "3.11",
        "commands": ["apt-get update && apt-get install -q -y ca-certificates build-essential git"],
        "post_commands": [],
        "build_include": [],
    },
}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write the Bento `shop:v1` into the store at `bentoml`; keywords replace what its manifest says."""

    def make(*, image: dict[str, Any] | None = None, lock: str = "numpy==2.4.6\n", **manifest: Any) -> Path:
        folder = tmp_path / "bentoml/bentos/shop/v1"
        for name in ("src", "env/python", "env/docker", "apis"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        document = MANIFEST | {"image": MANIFEST["image"] | (image or {})} | manifest
        (folder / "bento.yaml").write_text(yaml.safe_dump(document))
        (folder / "src/service.py").write_text("")
        (folder / "env/python/requirements.txt").write_text(lock)
        model = tmp_path / "bentoml/models/taste/m1"
        model.mkdir(parents=True, exist_ok=True)
        (model / "model.yaml").write_text("name: taste\n")
        return folder

    return make


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "bentoml/models"
