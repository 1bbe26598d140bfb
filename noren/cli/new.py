"""noren new: begin a bundle with a small real example that trains, builds and deploys as it is.

The files below `template` are what is written: NAME in a path, and `name` in a text, become the bundle's. They need
nothing of Noren but its command line.
"""

import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from noren.cli.console import AsJson, out, print_json
from noren.domain.errors import Conflict, DriverError, SpecError

_TEMPLATE = Path(__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # so that it is a module, a Bento and, with dashes, a deployment
_LONGEST = 50  # as for deployments
_PACKAGES = ("bentoml", "locust", "numpy", "pydantic")  # what the example is written for, in the versions that are here


def new(
    name: Annotated[str, typer.Argument(help="of the bundle, a Python name: churn, vehicle_price", show_default=False)],
    folder: Annotated[Path, typer.Option("--in", metavar="DIR", help="the project's root; made if need be")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Begin a bundle: model, training, service, load test, deployment, tests and page of a small real example.

    It is ready to train, build and deploy, and there to be replaced piece by piece. Nothing is ever overwritten.
    """
    check(name)
    contents = missing(folder, render(name))
    write(folder, contents)
    following = _following(name, folder)
    if as_json:
        return print_json({"files": [str(folder / path) for path in contents], "next": following})
    for path in contents:
        out.print(f"made {folder / path}", markup=False, soft_wrap=True)
    out.print("next:")
    for command in following:
        out.print(f"  {command}", markup=False, soft_wrap=True)
    return None


def check(name: str) -> None:
    """Raise SpecError when nothing can have that name."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        words = re.findall(r"[a-z0-9]+", name.lower())
        better = re.sub(r"^[0-9_]+", "", "_".join(words))[:_LONGEST].strip("_")
        raise SpecError(
            f"{name!r} is no name for a bundle: lower-case letters and digits, a letter first, single underscores"
            f" between words, at most {_LONGEST} characters",
            fix=f"for example: noren new {better if better and not _taken(better) else 'my_model'}",
        )
    if _taken(name):
        raise SpecError(
            f"{name!r} is a word of Python, or a module that is installed and that a load test of that name would hide",
            fix=f"for example: noren new {name}_model",
        )


def render(name: str) -> dict[Path, str]:
    """The files of a bundle: path from the project's root -> text."""
    from jinja2 import Environment, StrictUndefined  # which other verbs need not wait for

    environment = Environment(  # noqa: S701  no HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    words = {
        "name": name,
        "title": "".join(word.capitalize() for word in name.split("_")),
        "deployment": name.replace("_", "-"),
        "versions": {package: version(package) for package in _PACKAGES},
    }
    return {
        Path(str(file.relative_to(_TEMPLATE)).replace("NAME", name).removesuffix(".j2")): environment.from_string(
            file.read_text(encoding="utf-8")
        ).render(words)
        for file in sorted(_TEMPLATE.rglob("*.j2"))
    }


def missing(folder: Path, contents: Mapping[Path, str]) -> dict[Path, str]:
    """What is to be written into the project: without what bundles share and it has. Raises Conflict."""
    for package in ("bentos", "models", "training"):
        if (module := folder / f"{package}.py").exists():
            raise Conflict(
                f"{module} is in the way: the folder {package} would hide it from your imports",
                fix="rename it, or begin in another folder with --in",
            )
    shared = {path for path in contents if path.name == "__init__.py" and len(path.parts) == 2}
    kept = {path for path in shared if (folder / path).exists()}
    if any((folder / file).exists() for file in ("requirements.txt", "pyproject.toml")):
        kept.add(Path("requirements.txt"))
    wanted = {path: text for path, text in contents.items() if path not in kept}
    if there := [str(folder / path) for path in wanted if (folder / path).exists()]:
        raise Conflict(
            f"{there[0]}{f' and {len(there) - 1} more files' if there[1:] else ''} would be overwritten",
            fix="choose another name, or move what is there",
        )
    return wanted


def write(folder: Path, contents: Mapping[Path, str]) -> None:
    """All files or none: what was made is taken back when something goes wrong. Raises Conflict and DriverError."""
    try:
        with ExitStack() as undo:
            for path, text in contents.items():
                _make_folders((folder / path).parent, undo)
                with (folder / path).open("x", encoding="utf-8") as file:  # "x" never overwrites
                    undo.callback((folder / path).unlink)
                    file.write(text)
            undo.pop_all()  # all is there: nothing is to be undone
    except FileExistsError as error:
        taken = f"{error.filename} has just been made by someone else"
        raise Conflict(taken, fix="look at it, and try again") from error
    except OSError as error:
        raise DriverError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            fix="name a folder that you may write to with --in",
        ) from error


def _make_folders(folder: Path, undo: ExitStack) -> None:
    for one in reversed([folder, *folder.parents]):
        if not one.exists():
            one.mkdir()
            undo.callback(one.rmdir)


def _taken(name: str) -> bool:
    """Whether Python knows the word. Locust imports load tests as top-level modules, under their own name."""
    return keyword.iskeyword(name) or name in sys.stdlib_module_names or find_spec(name) is not None


def _following(name: str, folder: Path) -> list[str]:
    go = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
    return [*go, f"noren train {name}", f"noren build {name}", "noren up", f"noren apply deploy/{name}.yaml --wait"]
