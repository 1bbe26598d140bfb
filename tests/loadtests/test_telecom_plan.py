"""The Locust file stands alone, notices wrong answers, and asks for nothing that the service refuses."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bentos.telecom_plan.schema import Usage

FILE = Path(__file__).resolve().parents[2] / "loadtests/telecom_plan.py"
GOOD: dict[str, Any] = {"plan": "smart", "probability": 0.25, "expected_fit": 0.75, "model_version": "a"}


def run(script: str) -> str:
    # From its source: importing Locust would patch this process's sockets for every other test.
    tree = ast.parse(FILE.read_text())
    tree.body = [node for node in tree.body if not isinstance(node, ast.ClassDef) and "locust" not in ast.unparse(node)]
    program = f"{ast.unparse(tree)}\n{script}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


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
        (GOOD, "None"),
        ({**GOOD, "plan": "ultra"}, "does not fit 0.25"),
        ({**GOOD, "expected_fit": 0.25}, "expected_fit 0.25 does not fit 0.25"),
        ({**GOOD, "probability": -0.5}, "not a probability"),
        ({**GOOD, "expected_fit": "well"}, "not a probability"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({"plan": "smart"}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}))")


def test_the_customers_it_makes_up_are_accepted() -> None:
    made = run("import json\nfor _ in range(300): print(json.dumps(usage()))")

    for line in made.splitlines():
        Usage.model_validate_json(line)


def test_locust_lists_its_user() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "TelecomPlanUser" in done.stdout + done.stderr
