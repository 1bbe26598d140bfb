"""What the tests of the Locust files share."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "loadtests"


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Runs a script behind what the Locust file of the test's own name defines, its users left out; what it prints."""

    def printed(script: str) -> str:
        # From its source: importing Locust would patch this process's sockets for every other test.
        tree = ast.parse((FOLDER / f"{request.path.stem.removeprefix('test_')}.py").read_text())
        tree.body = [
            node for node in tree.body if not isinstance(node, ast.ClassDef) and "locust" not in ast.unparse(node)
        ]
        program = f"{ast.unparse(tree)}\n{script}"
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    return printed
