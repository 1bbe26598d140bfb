"""The Locust file stands alone and notices wrong answers."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "loadtests/forecast.py"
REQUEST: dict[str, Any] = {"values": [1, 2, 3], "horizon": 2, "levels": [0.5, 0.8]}
INNER = {"level": 0.5, "lower": [1.0, 1.0], "upper": [3.0, 4.0]}
OUTER = {"level": 0.8, "lower": [0.0, 0.5], "upper": [4.0, 5.0]}
GOOD: dict[str, Any] = {
    "points": [2.0, 2.5],
    "dates": None,
    "intervals": [INNER, OUTER],
    "model": "theta",
    "shares": {"theta": 1.0},
    "seasonal": False,
    "backtest": None,
    "warnings": [],
    "model_version": "a",
}


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
        (GOOD | {"points": [2.0]}, "expected 2 points"),
        (GOOD | {"points": [2.0, "x"]}, "a point is not a number"),
        (GOOD | {"points": [2.0, 9.0]}, "interval of 0.5 does not hold"),
        (GOOD | {"intervals": [INNER]}, "expected intervals"),
        (GOOD | {"intervals": [INNER, OUTER | {"lower": [0.0, 2.0]}]}, "interval of 0.8 does not hold"),
        (GOOD | {"intervals": [INNER, OUTER | {"upper": [9.0]}]}, "interval of 0.8 does not hold"),
        (GOOD | {"dates": ["2020-01-01", "2020-02-01"]}, "dates do not fit"),
        (GOOD | {"model_version": ""}, "model_version is empty"),
        ({"points": [1.0]}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: object, problem: str) -> None:
    # Read from its source: importing Locust would patch this process's sockets for every other test.
    tree = ast.parse(FILE.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_problem"]
    fields = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIELDS"]
    source = "\n".join(ast.unparse(node) for node in [*fields, *functions])
    arguments = f"json.loads({json.dumps(json.dumps([REQUEST, answer]))})"
    script = f"import json, math\nfrom typing import Any\n{source}\nprint(_problem(*{arguments}))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert problem in done.stdout


def test_locust_lists_its_user() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "ForecastUser" in done.stdout + done.stderr
