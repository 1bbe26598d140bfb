"""What a process of the gate imports before it does anything: a rollout waits for it."""

import subprocess
import sys

import pytest

HEAVY = {"httpx", "jinja2", "jsonschema", "locust", "matplotlib", "numpy", "scipy", "scipy.stats"}
NEEDED: dict[str, set[str]] = {
    "noren.gates.check": set(),
    "noren.gates.locust_driver": {"locust", "numpy", "jinja2"},  # jinja2 by Locust
    "noren.gates.standalone": {"jinja2", "numpy", "scipy"},
}


@pytest.mark.parametrize("module", NEEDED)
def test_it_imports_no_heavy_library_that_it_may_not_need(module: str) -> None:
    asked = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout.split()
    assert HEAVY & {*loaded} <= NEEDED[module]
