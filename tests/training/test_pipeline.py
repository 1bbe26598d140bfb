"""dvc.yaml: a stage for each bundle, which depends on the modules that decide what is learnt, and on no others."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.__main__ import bundles

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
RECORDING = {"steps", "store", "tracking", "trainer"}  # they show, compare and store; no model differs by them


def imports(path: Path) -> set[Path]:
    """The modules of ours that a file imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.startswith(("bentos.", "models.", "training."))]
    files = {ROOT / f"{name.replace('.', '/')}.py" for name in ours}
    return {file for file in files if file.is_file()}


def needed(script: Path) -> set[Path]:
    seen: set[Path] = set()
    todo = {script}
    while todo:
        seen.add(path := todo.pop())
        todo |= {file for file in imports(path) if file.stem not in RECORDING} - seen
    return seen


def stage(name: str) -> dict[str, Any]:
    """What the stage of a bundle must be."""
    return {
        "cmd": f"python -m training.{name} ${{options}} --out trained/{name}",
        "deps": sorted(path.relative_to(ROOT).as_posix() for path in needed(ROOT / f"training/{name}.py")),
        "metrics": [f"trained/{name}/report.json"],
    }


def test_no_stage_is_of_a_bundle_that_is_gone() -> None:
    assert set(STAGES) <= set(bundles())


@pytest.mark.parametrize("name", bundles())
def test_each_bundle_has_a_stage_that_begins_anew_when_what_it_imports_changes(name: str) -> None:
    wanted = stage(name)

    assert STAGES.get(name) == wanted, f"write into dvc.yaml:\n{yaml.safe_dump({name: wanted}, sort_keys=False)}"


def test_the_options_of_all_stages_are_in_params_yaml() -> None:
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) == {"options": ""}
