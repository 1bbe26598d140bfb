"""noren build: make a Bento."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from noren import settings
from noren.cli.console import AsJson, out, print_json
from noren.cli.project import run
from noren.domain.errors import SpecError


def build(
    what: Annotated[
        str, typer.Argument(help="bentos/<name> of this project, a bentofile, or the folder of a BentoML project")
    ] = ".",
    version: Annotated[str | None, typer.Option(help="version of the Bento; BentoML makes one up otherwise")] = None,
    as_json: AsJson = False,
) -> None:
    """Build a versioned Bento into the BentoML store of this home, with `bentoml build`."""
    context, bentofile = _source(what)
    argv = [sys.executable, "-m", "bentoml", "build", "--output", "tag", *bentofile]
    if version:
        argv += ["--version", version]
    code, said = run([*argv, "."], settings.load(), folder=context, quiet=True)
    tag = said.strip().rpartition("__tag__:")[2] if "__tag__:" in said else ""
    if code or not tag:
        raise SpecError(f"`bentoml build` of {what!r} failed (exit code {code})", fix="see its message above")
    if as_json:
        return print_json({"bento": tag})
    out.print(f"built {tag}")
    return None


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
