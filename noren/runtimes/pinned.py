"""A BentoML store with one Bento in it, and of each of its models only the version it was built with.

A service that asks for `BentoModel("sentiment:latest")` means the latest one when it was built, and `bento.yaml`
says which that was. But BentoML 1.4.39 asks the store again at each start: a replica of blue that is started
again after a training, or a rollback, would serve green's model. In this store "latest" is what it was.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from noren.domain.errors import DriverError

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # of names and versions, which become paths


def pinned_store(bento: Path, bentoml_home: Path, stores: Path) -> Path:
    """Make the store of this Bento below `stores`, unless it is there; return what BENTOML_HOME has to be.

    bento         the folder of the built Bento, .../bentos/<name>/<version>
    bentoml_home  where its models are; they are linked, not copied
    Raises DriverError when a model is gone, or the Bento names one by what is no name.
    """
    name, version = bento.parent.name, bento.name
    # A version can be deleted and built again, with other models.
    built = hashlib.sha256((bento / "bento.yaml").read_bytes()).hexdigest()[:8]
    store = stores / f"{name}-{version}-{built}"
    if store.exists():
        return store
    stores.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{store.name}.", dir=stores))
    try:
        _link(fresh / "bentos", name, version, bento)
        for model, version in _models(bento):
            there = bentoml_home / "models" / model / version
            if not there.is_dir():
                raise DriverError(
                    f"model {model}:{version} of {name} is not in the BentoML store {bentoml_home}",
                    fix="bring it back (`bentoml models pull` or `import`), or build the Bento again",
                )
            _link(fresh / "models", model, version, there)
        fresh.rename(store)  # whole or not at all; a second replica may be as quick
    except OSError:
        if not store.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return store


def _models(bento: Path) -> Sequence[tuple[str, str]]:
    """Name and version of each model that the Bento was built with, those of a hub left out."""
    try:
        manifest = yaml.safe_load((bento / "bento.yaml").read_text())
        listed = list(manifest.get("models") or [])
        for service in manifest.get("services") or []:
            listed += service.get("models") or []
        tags = [str(model["tag"]) for model in listed if model.get("registry") != "huggingface"]
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise DriverError(
            f"the Bento in {bento} is not as BentoML writes it ({type(error).__name__})", fix="build the Bento again"
        ) from error
    return [_parts(tag, bento) for tag in tags]


def _parts(tag: str, bento: Path) -> tuple[str, str]:
    """Name and version. Folders are named after them, and "latest" is a file in there: a Bento may say anything."""
    name, _, version = tag.partition(":")
    if not (_PLAIN.fullmatch(name) and _PLAIN.fullmatch(version)) or version == "latest":
        raise DriverError(
            f"{bento / 'bento.yaml'} names a model {tag!r}, which is no name with an exact version",
            fix="build the Bento again, where its models are",
        )
    return name, version


def _link(kind: Path, name: str, version: str, there: Path) -> None:
    """As BentoML lays out its stores: <kind>/<name>/<version>, and a file that says which is the latest."""
    folder = kind / name
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / version
    if not link.is_symlink():
        os.symlink(there.resolve(), link)  # noqa: PTH211
    (folder / "latest").write_text(version)
