"""Each bentofile lists what its service imports, and nothing else, in the versions of the project."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.parent.name for path in ROOT.glob("bentos/*/bentofile.yaml"))


def bentofile(name: str) -> Any:
    return yaml.safe_load((ROOT / f"bentos/{name}/bentofile.yaml").read_text())


def imported(path: Path) -> set[str]:
    """Our own files that a file imports, wherever in it, relative to the root."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = {f"{name.replace('.', '/')}.py" for name in names if name.startswith(("bentos.", "models."))}
    return {file for file in files if (ROOT / file).is_file()}


def test_every_service_is_looked_at() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("bentos/*/service.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_bento_includes_what_the_service_imports_and_nothing_else(name: str) -> None:
    needed: set[str] = set()
    todo = {f"bentos/{name}/service.py"}
    while todo:
        needed.add(file := todo.pop())
        todo |= imported(ROOT / file) - needed

    packages = {"bentos/__init__.py", f"bentos/{name}/__init__.py", "models/__init__.py"}
    included = {str(path.relative_to(ROOT)) for pattern in bentofile(name)["include"] for path in ROOT.glob(pattern)}
    assert included == needed | packages
    assert all(list(ROOT.glob(pattern)) for pattern in bentofile(name)["include"])


@pytest.mark.parametrize("name", NAMES)
def test_the_versions_are_those_of_the_project(name: str) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    project: dict[str, set[str]] = {}  # a library may be locked in one version per Python
    for package in lock["package"]:
        project.setdefault(package["name"], set()).add(package.get("version", ""))

    for requirement in bentofile(name)["python"]["packages"]:
        library, version = requirement.split("==")
        assert version in project.get(library, {version}), f"{library}: uv.lock has {project[library]}"
