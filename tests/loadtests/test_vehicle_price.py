"""The Locust file notices wrong answers, and asks for nothing that the service refuses."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bentos.vehicle_price.schema import Listing

FILE = Path(__file__).resolve().parents[2] / "loadtests/vehicle_price.py"
GOOD = {
    "price": 9000.0,
    "lower": 5000.0,
    "upper": 13000.0,
    "level": 0.9,
    "unseen": [],
    "base": 12000.0,
    "contributions": {"odometer": -3000.0},
    "as_of": "2019-04-19",
    "model_version": "a",
}


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
        ({**GOOD, "price": 4000.0}, "lies outside"),
        ({**GOOD, "price": "much"}, "not a number"),
        ({**GOOD, "contributions": {}}, "do not add up"),
        ({**GOOD, "contributions": {"odometer": -2999.0}}, "do not add up"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({"price": 9000.0}, "not a prediction"),
        ([], "not a prediction"),
        (None, "not a prediction"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}, explained=True))")


def test_contributions_that_nobody_asked_for_are_noticed() -> None:
    assert "none were asked for" in run(f"print(_problem({GOOD!r}, explained=False))")


def test_the_cars_it_makes_up_are_accepted() -> None:
    made = run("import json\nfor _ in range(300): print(json.dumps(listing(explain=True)))")

    for line in made.splitlines():
        Listing.model_validate_json(line)


def test_locust_lists_its_user() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "VehiclePriceUser" in done.stdout + done.stderr
