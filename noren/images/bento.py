"""What an image needs to know of a built Bento."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from noren.domain.errors import SpecError

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")  # of names and versions, which become paths
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# BentoML's first command installs compilers on every image. We install them only where the packages need them.
_TOOLS = re.compile(r"(apt-get update|apk add|yum update).*\b(build-essential|build-base|gcc)\b")
_PASSWORD = re.compile(r"://(?!git@)[^/@\s]+@")  # or a token, which needs no colon


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One version of a model, from BentoML's store or, with `registry` "huggingface", from the hub."""

    name: str
    version: str
    registry: str = "bentoml"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """As BentoML writes it."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bento:
    """A built Bento, as far as its image is concerned."""

    folder: Path
    name: str
    version: str
    python: str  # "3.11"
    base: str  # the base image that BentoML chose
    tools: str | None = None  # the command that installs compilers
    commands: Sequence[str] = ()  # the user's, before the packages are installed
    post_commands: Sequence[str] = ()  # ... and after
    build_include: Sequence[str] = ()  # what of the source the installation of packages needs
    variables: Mapping[str, str] = field(default_factory=dict)  # seen by commands and by the service
    run_variables: Mapping[str, str] = field(default_factory=dict)  # seen by the service
    secrets: Sequence[str] = ()  # names of variables that commands and the installation see, and no layer keeps
    models: Sequence[Model] = ()

    @property
    def tag(self) -> str:
        """As BentoML writes it."""
        return f"{self.name}:{self.version}"

    @property
    def requirements(self) -> Path:
        """The locked packages."""
        return self.folder / "env" / "python" / "requirements.txt"


def read(folder: Path) -> Bento:
    """Read the built Bento in `folder`. Raises SpecError when no image can be made of it."""
    try:
        return _read(folder)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise SpecError(
            f"the Bento in {folder} is not as BentoML writes it ({type(error).__name__})", fix="build the Bento again"
        ) from error


def _read(folder: Path) -> Bento:
    manifest = yaml.safe_load((folder / "bento.yaml").read_text())
    name, version = str(manifest["name"]), str(manifest["version"])
    image = manifest.get("image")
    if not image or not (folder / "env/python/requirements.txt").is_file():
        raise SpecError(
            f"Bento {name}:{version} does not say what its image holds",
            fix="build it with BentoML 1.4 or newer and without conda or dockerfile_template; "
            "or use `bentoml containerize`",
        )
    _refuse_passwords(folder)
    commands = _texts(image.get("commands"))
    tools = None
    while commands and _TOOLS.match(commands[0]):  # BentoML 1.4.39 has it twice for an image that is made in Python
        tools = commands.pop(0)
    declared = [_variable(entry) for entry in manifest.get("envs") or []]
    return Bento(
        folder=folder,
        name=_plain(name),
        version=_plain(version),
        python=_plain(str(image["python_version"])),
        base=str(image["base_image"]),
        tools=tools,
        commands=tuple(commands),
        post_commands=tuple(_texts(image.get("post_commands"))),
        build_include=tuple(_texts(image.get("build_include"))),
        # Without a value, a variable is given when the image is run.
        variables={name: value for name, value, stage in declared if stage == "all" and value},
        run_variables={name: value for name, value, stage in declared if stage == "runtime" and value},
        secrets=tuple(name for name, _, stage in declared if stage == "build"),
        models=_models(manifest),
    )


def _texts(entries: Any) -> list[str]:
    """A list of texts, and of nothing else: a text alone would be taken for a list of its letters."""
    found = [] if entries is None else entries
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise TypeError("no list of texts")
    return list(found)


def _models(manifest: Mapping[str, Any]) -> tuple[Model, ...]:
    entries = [*(manifest.get("models") or [])]
    for service in manifest.get("services") or []:
        entries += service.get("models") or []
    found = {}
    for entry in entries:
        name, _, version = str(entry["tag"]).partition(":")
        registry = entry.get("registry") or "bentoml"
        if version == "latest" and registry == "bentoml":  # the name of a file beside the versions
            raise SpecError(f"the Bento names the model {name}:latest, which is no exact one", fix="build it again")
        model = Model(
            name=_plain(name), version=_plain(version), registry=registry, metadata=entry.get("metadata") or {}
        )
        found[model.tag] = model
    return tuple(found.values())


def _variable(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    name, value, stage = str(entry["name"]), str(entry.get("value") or ""), str(entry.get("stage") or "all")
    if not _VARIABLE.fullmatch(name):
        raise SpecError(
            f"{name!r} is no name of an environment variable", fix="correct `envs` and build the Bento again"
        )
    if stage == "build" and value:
        raise SpecError(
            f"the Bento holds the value of {name}, which is for the build only: whoever has the image could read it",
            fix="leave the value out of `envs`, build the Bento again, and set the variable when you build the image",
        )
    return name, value, stage


def _refuse_passwords(folder: Path) -> None:
    for name in ("bento.yaml", "env/python/requirements.txt"):
        if _PASSWORD.search((folder / name).read_text()):
            raise SpecError(
                f"{name} of the Bento has a URL with a password: whoever has the image could read it",
                fix="leave the password out of the bentofile, build the Bento again, and set UV_INDEX_URL when you "
                "build the image: it is handed over as a build secret",
            )


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text) or ".." in text:
        raise SpecError(f"{text!r} is neither a name nor a version", fix="build the Bento again")
    return text
