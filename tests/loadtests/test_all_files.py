"""Every Locust file stands alone, so that it can be sent anywhere, and Locust finds its user."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).resolve().parents[2] / "loadtests").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_imports_only_locust_and_the_standard_library(file: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])

    assert imported - {"locust"} <= sys.stdlib_module_names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_locust_lists_its_user(file: Path) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(file), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert file.stem.title().replace("_", "") + "User" in done.stdout + done.stderr
