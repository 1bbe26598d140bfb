"""The parts list of an image, as CycloneDX JSON: the locked packages, the server, and the models."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from noren.domain.errors import DriverError
from noren.images import locked
from noren.images.bento import Bento, Model
from noren.images.server import pins

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component


def require() -> None:
    """Raises DriverError when the libraries of this file are not installed."""
    if find_spec("cyclonedx") is None:
        raise DriverError(
            "the parts list of an image needs cyclonedx-python-lib, which is not installed",
            fix="pip install 'noren[images]'",
        )


def write(path: Path, bento: Bento, labels: Mapping[str, str], model_store: Path) -> Path:
    """Write the parts list of the Bento's image; the same image gives the same text."""
    from cyclonedx.output.json import JsonV1Dot6

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JsonV1Dot6(bom(bento, labels, model_store)).output_as_string(indent=2) + "\n")
    return path


def bom(bento: Bento, labels: Mapping[str, str], model_store: Path) -> "Bom":
    """What is in the image that has these labels."""
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType

    image = Component(
        type=ComponentType.CONTAINER,
        name=bento.name,
        version=bento.version,
        bom_ref=f"image/{bento.tag}",
        properties=[Property(name=name, value=value) for name, value in labels.items()],
    )
    made = Bom(components=[*_packages(bento), *(_model(model, model_store) for model in bento.models)])
    created = datetime.fromisoformat(labels["org.opencontainers.image.created"]).astimezone(UTC)
    made.metadata = BomMetaData(component=image, timestamp=created)
    made.serial_number = uuid5(NAMESPACE_URL, "\n".join(f"{name}={value}" for name, value in sorted(labels.items())))
    made.register_dependency(image, made.components)
    return made


def _packages(bento: Bento) -> "Iterator[Component]":
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    text = bento.requirements.read_text()
    names = {package.name for package in locked.packages(text)}
    ours = "\n".join([*pins(names), f"noren-serve=={version('noren-serve')}"])
    for package in (*locked.packages(text), *locked.packages(ours)):
        url = PackageURL("pypi", None, package.name, package.version)
        yield Component(name=package.name, version=package.version, purl=url, bom_ref=str(url))


def _model(model: Model, store: Path) -> "Component":
    """A model with the hash of each of its files; one from a hub is named by its commit, which is a hash already."""
    from cyclonedx.model.component import Component, ComponentType

    folder = store / model.name / model.version
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model.name,
        version=str(model.metadata.get("revision") or model.version),
        bom_ref=f"model/{model.tag}",
        components=[_file(path, folder, model) for path in sorted(folder.rglob("*")) if path.is_file()],
    )


def _file(path: Path, folder: Path, model: Model) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    name = str(path.relative_to(folder))
    return Component(
        type=ComponentType.FILE,
        name=name,
        bom_ref=f"model/{model.tag}/{name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
