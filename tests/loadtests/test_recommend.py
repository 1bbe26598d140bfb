"""The Locust file of the recommender stands alone and notices wrong answers."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "loadtests/recommend.py"
ITEMS = [{"id": "1", "title": "One", "score": 0.9}, {"id": "2", "title": "Two", "score": 0.5}]
SOUND = {"items": ITEMS, "cold_start": False, "model_version": "a"}


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
        (SOUND, "None"),
        ({**SOUND, "items": ITEMS[::-1]}, "the best item is not the first"),
        ({**SOUND, "items": ITEMS[:1]}, "expected 2 items"),
        ({**SOUND, "items": [ITEMS[0], ITEMS[0]]}, "an item comes twice"),
        ({**SOUND, "items": [ITEMS[0], {**ITEMS[1], "id": "7"}]}, "items that were seen: ['7']"),
        ({**SOUND, "items": [ITEMS[0], {"id": "2"}]}, "an item without id, title and score"),
        ({**SOUND, "cold_start": None}, "cold_start is None"),
        ({**SOUND, "model_version": ""}, "model_version is empty"),
        ({"items": ITEMS}, "not an answer"),
        ([], "not an answer"),
        (None, "not an answer"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: Any, problem: str) -> None:
    # Read from its source: importing Locust would patch this process's sockets for every other test.
    wanted = {"_problem", "_bad_items"}
    tree = ast.parse(FILE.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]
    source = "\n".join(map(ast.unparse, functions))
    head = "from collections.abc import Sequence\nfrom typing import Any\n"
    script = f"{head}{source}\nprint(_problem({answer!r}, 2, ['7']))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert problem in done.stdout


def test_locust_lists_its_user() -> None:
    command = [sys.executable, "-m", "locust", "-f", str(FILE), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert "RecommendUser" in done.stdout + done.stderr
