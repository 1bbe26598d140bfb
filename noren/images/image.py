"""Makes the image of a built Bento: lay out the context, run the engine, push, write down what is inside."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from noren.domain.errors import DriverError, SpecError
from noren.images import bento as bentos
from noren.images import engines, locked, sbom
from noren.images.bento import Bento
from noren.images.containerfile import containerfile
from noren.images.context import lay_out
from noren.images.labels import labels
from noren.images.order import Order, qualified, require_reference
from noren.images.server import pins

# uv's variables of a private index; their values have passwords in them.
_INDEX_VARIABLES = ("UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX")

_BUILD_FIX = "see its message above; --base names another base image"
_PUSH_FIX = "see its message above; `{} login` tells the registry who you are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An image that is there, and what lies beside it."""

    bento: str
    tags: tuple[str, ...]
    engine: str
    sbom: Path


def make(
    folder: Path, order: Order, *, engine: str, bentoml_home: Path, beside: Path, revision: str | None = None
) -> Made:
    """Make the image of the built Bento in `folder`, and its parts list in the folder `beside`.

    revision  the commit that the Bento was built from, when known
    Raises DriverError when the engine fails; what it says goes to standard error as it comes.
    """
    sbom.require()
    bento, epoch = bentos.read(folder), _epoch(os.environ)
    base, tags = order.base or qualified(bento.base), order.tags or (bento.tag,)
    for reference in (base, *tags):
        require_reference(reference)
    said = labels(bento, base=base, created=epoch or datetime.now(UTC), revision=revision)
    # BentoML's own folder for this: models are linked from beside it.
    scratch = bentoml_home / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="noren-image-", dir=scratch) as one, tempfile.TemporaryDirectory() as two:
        context, secrets = Path(one), _secret_files(_secrets(bento, os.environ), Path(two))
        lay_out(context, bento, order, model_store=bentoml_home / "models")
        (context / "Containerfile").write_text(_text(bento, context, base, said, tuple(secrets)))
        argv = engines.build_argv(
            engine,
            context=context,
            tags=tags,
            platform=order.platform,
            secrets=secrets,
            epoch=int(epoch.timestamp()) if epoch else None,
        )
        _run(argv, f"{engine} could not build the image of {bento.tag}", _BUILD_FIX)
    for tag in tags if order.push else ():
        _run(engines.push_argv(engine, tag), f"{engine} could not push {tag}", _PUSH_FIX.format(engine))
    written = sbom.write(beside / f"{bento.name}-{bento.version}.cdx.json", bento, said, bentoml_home / "models")
    return Made(bento=bento.tag, tags=tuple(tags), engine=engine, sbom=written)


def _text(bento: Bento, context: Path, base: str, labels: Mapping[str, str], secrets: Sequence[str]) -> str:
    names = {package.name for package in locked.packages(bento.requirements.read_text())}
    return containerfile(
        bento,
        base=base,
        labels=labels,
        added=pins(names),
        secrets=secrets,
        scripts=(context / "scripts").is_dir(),
        configuration=(context / "src" / "configuration.yaml").is_file(),
    )


def _epoch(environment: Mapping[str, str]) -> datetime | None:
    """The time that SOURCE_DATE_EPOCH sets. Source: reproducible-builds.org/specs/source-date-epoch."""
    text = environment.get("SOURCE_DATE_EPOCH")
    if text is None:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SpecError(f"SOURCE_DATE_EPOCH={text!r} is not a time", fix="set it to seconds since 1970") from error


def _secrets(bento: Bento, environment: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in bento.secrets if name not in environment]
    if missing:
        raise SpecError(
            f"building the image of {bento.tag} needs {', '.join(missing)} in the environment",
            fix=f"export {missing[0]}=...; it is handed over as a build secret, and no layer keeps it",
        )
    return {name: environment[name] for name in (*bento.secrets, *_INDEX_VARIABLES) if name in environment}


def _secret_files(values: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Files of their own, outside of the context and readable for us alone, as every engine takes them."""
    paths = {}
    for name, value in values.items():
        paths[name] = folder / name
        paths[name].touch(mode=0o600)
        paths[name].write_text(value)
    return paths


def _run(argv: Sequence[str], problem: str, fix: str) -> None:
    environment = {"DOCKER_BUILDKIT": "1", **os.environ}
    try:
        done = subprocess.run(argv, stdout=2, env=environment, check=False)  # results alone go to standard output
    except OSError as error:
        raise DriverError(f"{problem}: {error.strerror}", fix=f"install {argv[0]}") from error
    if done.returncode:
        raise DriverError(f"{problem} (exit code {done.returncode})", fix=fix)
