"""noren build: make a Bento, and an image of it."""

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from noren import settings
from noren.cli.console import AsJson, errors, out, print_json
from noren.cli.project import run
from noren.domain.errors import SpecError
from noren.images.engines import ENGINES, find
from noren.images.labels import revision as commit
from noren.images.order import PLATFORMS, Models, Order
from noren.manifests.built import BentoStore

_IMAGE: dict[str, Any] = {"rich_help_panel": "With --image"}
_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # as BentoML has it: a folder is named after it


def build(
    what: Annotated[
        str,
        typer.Argument(
            help="bentos/<name> of this project, a bentofile, or the folder of a BentoML project; "
            "with --image also a Bento that is built already (name:version)"
        ),
    ] = ".",
    version: Annotated[str | None, typer.Option(help="version of the Bento; BentoML makes one up otherwise")] = None,
    image: Annotated[
        bool, typer.Option("--image", help="make a container image too, and its parts list (SBOM)")
    ] = False,
    tag: Annotated[list[str] | None, typer.Option(help="name of the image; the Bento's by default", **_IMAGE)] = None,
    base: Annotated[str | None, typer.Option(help="base image; BentoML's choice by default", **_IMAGE)] = None,
    models: Annotated[Models, typer.Option(help="inside, or mounted at /app/bento/models", **_IMAGE)] = Models.INSIDE,
    platform: Annotated[str | None, typer.Option(help=f"one of {', '.join(PLATFORMS)}", **_IMAGE)] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join(ENGINES)}: which one builds", **_IMAGE)] = None,
    push: Annotated[bool, typer.Option("--push", help="push the tags to their registry", **_IMAGE)] = False,
    audit: Annotated[bool, typer.Option("--audit", help="look up known vulnerabilities", **_IMAGE)] = False,
    as_json: AsJson = False,
) -> None:
    """Build a versioned Bento into the BentoML store ($BENTOML_HOME), with `bentoml build`.

    With --image, also a container image of it, made by the first engine that answers. Beside it lie
    dist/images/<bento>-<version>.cdx.json (CycloneDX) and, with --audit, <bento>-<version>.audit.json.
    """
    order = Order(tags=tuple(tag or ()), base=base, platform=platform, models=models, push=push)
    if not image and (order != Order() or engine or audit):
        raise SpecError("that option is about an image, and no image was asked for", fix="add --image")
    chosen = find(engine) if image else ""  # before the Bento: it takes longer
    built, revision = _bento(what, version, image)
    said: dict[str, object] = {"bento": built}
    if not as_json:
        out.print(f"built {built}")
    if image:
        said |= _image(built, order, chosen, revision, audit)
    if as_json:
        print_json(said)


def _image(built: str, order: Order, engine: str, revision: str | None, with_audit: bool) -> dict[str, object]:
    from noren.images.audit import audit as look_up  # 70 ms, which other verbs need not wait for
    from noren.images.bento import read
    from noren.images.image import make

    errors.print(f"image of {built}, with {engine}")
    home, beside = settings.load().bentoml_home, Path("dist/images")
    folder = home / "bentos" / built.replace(":", "/")
    made = make(folder, order, engine=engine, bentoml_home=home, beside=beside, revision=revision)
    errors.print(f"image {', '.join(made.tags)}; parts list {made.sbom}", soft_wrap=True)
    said: dict[str, object] = {"image": list(made.tags), "engine": engine, "sbom": str(made.sbom)}
    for model in read(folder).models if order.models is Models.MOUNT else ():
        path = f"{model.name}/{model.version}"
        errors.print(f"run it with -v {home}/models/{path}:/app/bento/models/{path}:ro", soft_wrap=True)
    if with_audit:
        report = made.sbom.with_name(made.sbom.name.replace(".cdx.json", ".audit.json"))
        found = look_up(read(folder), report)
        errors.print(f"audit: {found}", soft_wrap=True)
        said["audit"] = {"looked_up": found.looked_up, "vulnerable": dict(found.vulnerable)}
    return said


def _bento(what: str, version: str | None, built_before: bool) -> tuple[str, str | None]:
    """The Bento's tag, built now unless it was before, and the commit that it was built from, when known."""
    if built_before and ":" in what and not Path(what).exists():
        return BentoStore(settings.load().bentoml_home).resolve(what), None
    if version and not _VERSION.fullmatch(version):
        raise SpecError(
            f"{version!r} is no version of a Bento", fix="use letters, digits, dots, dashes and underscores, at most 63"
        )
    context, bentofile = _source(what)
    argv = [sys.executable, "-m", "bentoml", "build", "--output", "tag", *bentofile]
    if version:
        argv += ["--version", version]
    code, said = run([*argv, "."], settings.load(), folder=context, quiet=True)
    tag = said.strip().rpartition("__tag__:")[2] if "__tag__:" in said else ""
    if code or not tag:
        raise SpecError(f"`bentoml build` of {what!r} failed (exit code {code})", fix="see its message above")
    return tag, commit(context)


def _source(what: str) -> tuple[Path, list[str]]:
    """The build context, and which bentofile. A Bento of the shop is built from the root, which is its context."""
    here = Path()
    if Path(what).is_file():
        return here, ["--bentofile", what]
    for place in (Path("bentos") / what, Path(what)):
        if place.parts[:1] == ("bentos",) and (place / "bentofile.yaml").is_file():
            return here, ["--bentofile", str(place / "bentofile.yaml")]
    if not Path(what).is_dir():
        raise SpecError(
            f"there is neither bentos/{what}/bentofile.yaml nor a folder {what!r} here",
            fix="run this in the project's root, or name the folder of a BentoML project",
        )
    return Path(what), []
