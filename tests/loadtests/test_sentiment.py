"""The Locust file stands alone and notices wrong answers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "loadtests/sentiment.py"


def test_it_imports_only_locust_and_the_standard_library() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])

    assert imported - {"locust"} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"label": "positive", "score": 0.9, "model_version": "a"}, "None"),
        ({"label": "negative", "score": 0.9, "model_version": "a"}, "does not fit"),
        ({"label": "positive", "score": 1.5, "model_version": "a"}, "not a probability"),
        ({"label": "positive", "score": "high", "model_version": "a"}, "not a probability"),
        ({"label": "positive", "score": 0.9, "model_version": ""}, "model_version is empty"),
        ({"label": "positive", "score": 0.9}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: object, problem: str, tmp_path: Path) -> None:
    # Read from its source: importing Locust would patch this process's sockets for every other test.
    tree = ast.parse(FILE.read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_problem")
    script = f"from typing import Any\n{ast.unparse(function)}\nprint(_problem({answer!r}))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert problem in done.stdout


def test_locust_lists_its_user() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "SentimentUser" in done.stdout + done.stderr
