"""A bundle of `noren new`, in an empty folder: it trains, builds and is served, and its own tests find it sound."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from uv import find_uv_bin

from noren.machine import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
NOREN = str(Path(sys.executable).with_name("noren"))
FLOWER = {"sepal_length_cm": 5.9, "sepal_width_cm": 3.0, "petal_length_cm": 4.2, "petal_width_cm": 1.5}


def environment(project: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENTOML_", "NOREN_", "PROMETHEUS_", "PYTEST_"))}
    homes = {"NOREN_HOME": str(project.parent / "home"), "BENTOML_HOME": str(project.parent / "bentoml")}
    return {**kept, **homes, "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": "", "COLUMNS": "200"}


def run(project: Path, *argv: str, expect: int = 0) -> str:
    done = subprocess.run(
        argv, cwd=project, env=environment(project), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made, trained and built by the commands that `noren new` names."""
    folder = tmp_path_factory.mktemp("new") / "project"
    folder.mkdir()
    assert "made models/tasting.py" in run(folder, NOREN, "new", "tasting")
    assert "\ntasting:" in run(folder, NOREN, "train", "tasting")
    assert "built tasting:" in run(folder, NOREN, "build", "tasting")
    return folder


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    """Of a running noren-serve with the built Bento."""
    port, log = free_port(), project.parent / "serve.log"
    argv = [sys.executable, "-m", "noren_serve", "tasting:latest", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        server = subprocess.Popen(argv, cwd=project.parent, env=environment(project), stdout=out, stderr=out)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while not _ready(url):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_the_built_bento_answers(project: Path, address: str) -> None:
    answer = httpx.post(f"{address}/predict", json=FLOWER, timeout=60, trust_env=False)

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["label"] == "versicolor"
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["model_version"] == (project.parent / "bentoml/models/tasting/latest").read_text()


BAD: list[dict[str, object]] = [{"petal_width_cm": -1}, {"petal_width_cm": None}, {"petal_width_cm": "a"}, {"x": 1}]


@pytest.mark.parametrize("change", BAD)
def test_a_bad_field_is_named(address: str, change: dict[str, object]) -> None:
    answer = httpx.post(f"{address}/predict", json={**FLOWER, **change}, timeout=60, trust_env=False)

    assert answer.status_code == 400
    assert answer.json()["detail"][0]["loc"][0] == next(iter(change))


@pytest.mark.parametrize("kind", ["multipart/form-data", "text/plain", "application/x-www-form-urlencoded"])
def test_what_is_no_json_is_refused(address: str, kind: str) -> None:
    headers = {"content-type": kind}
    answer = httpx.post(f"{address}/predict", content=b"{}", headers=headers, timeout=60, trust_env=False)

    assert answer.status_code == 415
    assert answer.json()["detail"][0]["loc"] == ["content-type"]


def test_its_locust_file_finds_no_fault(project: Path, address: str) -> None:
    run(
        project, sys.executable, "-m", "locust", "-f", "loadtests/tasting.py", "--host", address, "--headless",
        "--users", "2", "--spawn-rate", "2", "--run-time", "3s", "--only-summary",
    )  # fmt: skip


def test_its_own_tests_pass(project: Path) -> None:
    said = run(project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "tests")

    assert "passed" in said
    assert "skipped" not in said


def test_its_code_has_no_fault_that_a_linter_finds(project: Path) -> None:
    run(project, sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,I,UP,B")


def test_training_without_its_data_is_two_lines_and_exit_code_2(project: Path) -> None:
    said = run(project, NOREN, "train", "tasting", "--data", "nowhere", expect=2)

    assert "tasting.csv cannot be read" in said
    assert "\n  fix: " in said
    assert "Traceback" not in said


def tell_nothing(folder: Path) -> None:
    """Write data whose features are all alike."""
    rows = [f"1,1,1,1,{'ab'[number // 2 % 2]}" for number in range(40)]
    header = "sepal_length_cm,sepal_width_cm,petal_length_cm,petal_width_cm,species"
    (folder / "tasting.csv").write_text("\n".join([header, *rows]))


def metadata(project: Path, tag: str) -> dict[str, Any]:
    """What is stored with a model."""
    stored = yaml.safe_load((project.parent / "bentoml/models" / tag.replace(":", "/") / "model.yaml").read_text())
    found: dict[str, Any] = stored["metadata"]
    return found


def test_features_that_tell_nothing_are_refused(project: Path, tmp_path: Path) -> None:
    tell_nothing(tmp_path)

    said = run(project, NOREN, "train", "tasting", "--data", str(tmp_path), expect=2)
    assert "no better than none" in said


def test_a_model_that_was_forced_says_so(project: Path, tmp_path: Path) -> None:
    tell_nothing(tmp_path)

    forced = json.loads(run(project, NOREN, "train", "tasting", "--data", str(tmp_path), "--force", "--json"))
    good = json.loads(run(project, NOREN, "train", "tasting", "--force", "--json"))

    assert (forced["forced"], good["forced"]) == (True, False)
    assert (metadata(project, forced["tag"]).get("forced"), metadata(project, good["tag"]).get("forced")) == (
        "true",
        None,
    )


def test_the_wheel_carries_the_template(tmp_path: Path) -> None:
    argv = [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    subprocess.run(argv, check=True, timeout=180)
    (wheel,) = tmp_path.glob("noren-*.whl")
    template = ROOT / "noren/cli/template"
    wanted = {path.relative_to(ROOT).as_posix() for path in template.rglob("*") if path.is_file()}

    with zipfile.ZipFile(wheel) as opened:
        assert wanted <= set(opened.namelist())
