"""`python -m training.sentiment` as a person runs it, in a folder of its own."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return {
        **kept,
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(ROOT),
    }


def train(folder: Path, *options: str, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "training.sentiment", *options],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def stored_models(folder: Path) -> list[Path]:
    return list((folder / "bentoml/models/sentiment").glob("*/model.npz"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    done = train(folder, "--json", "--out", "exported")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)  # exactly one JSON object
    return folder, report


def test_the_built_in_reviews_reach_the_reference(trained: tuple[Path, dict[str, Any]]) -> None:
    _, report = trained

    assert report["metrics"]["accuracy"] >= 0.806
    assert report["metrics"]["auc"] >= 0.879
    assert report["data"]["train"] == 4000
    assert [goal["met"] for goal in report["goals"]] == [True, True]
    assert report["metrics"]["log_loss"] < report["baseline"]["log_loss"]
    assert report["baseline"]["accuracy"] == pytest.approx(0.65, abs=0.05)  # nearly two in three are positive


def test_the_model_is_stored_with_where_it_came_from(trained: tuple[Path, dict[str, Any]]) -> None:
    import yaml

    folder, report = trained
    (model,) = stored_models(folder)
    stored = yaml.safe_load((model.parent / "model.yaml").read_text())

    assert report["tag"] == f"sentiment:{model.parent.name}"
    assert stored["metadata"]["accuracy"] == report["metrics"]["accuracy"]
    assert stored["metadata"]["data_sha256"] == report["data"]["sha256"]
    assert stored["metadata"]["mlflow_run_id"] == report["mlflow_run_id"]
    assert stored["metadata"]["git_revision"]


READ_BACK = """
import json, sys, mlflow
run_id = sys.argv[1]
mlflow.set_tracking_uri("sqlite:///.noren/mlflow/mlflow.db")
run = mlflow.get_run(run_id)
model = mlflow.pyfunc.load_model(f"runs:/{run_id}/sentiment")
scores = model.predict(["Awful, stale, a waste of money.", "Wonderful, delicious, I love it!"])
data = run.data
print(json.dumps([run.info.status, data.metrics, data.params, data.tags, scores]))
"""


def test_the_run_and_a_model_that_works_are_in_mlflow(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained
    assert not (folder / "mlruns").exists()

    # A process of its own: MLflow keeps its address in globals and leaves files where it runs.
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, report["mlflow_run_id"]],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, metrics, params, tags, (bad, good) = json.loads(done.stdout.splitlines()[-1])

    assert status == "FINISHED"
    assert metrics["auc"] == report["metrics"]["auc"]
    assert params["max_features"] == "200000"
    assert tags["bento_model"] == report["tag"]
    assert bad < 0.5 < good


def test_out_gets_the_model_and_the_report(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained

    assert sorted(path.name for path in (folder / "exported").iterdir()) == ["model.npz", "report.json"]
    assert json.loads((folder / "exported/report.json").read_text()) == report


def test_a_named_sqlite_store_keeps_its_artifacts_beside_it(tmp_path: Path) -> None:
    script = (
        "import mlflow\n"
        "from training import tracking\n"
        "tracking.prepare('x')\n"
        "with tracking.run():\n"
        "    print(mlflow.get_artifact_uri())\n"
    )
    address = f"sqlite:///{tmp_path}/store/mlflow.db"
    (tmp_path / "store").mkdir()

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**environment(tmp_path), "MLFLOW_TRACKING_URI": address},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.splitlines()[-1].startswith((tmp_path / "store/artifacts").as_uri())
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--ngram-max", "0"], "ngram_max must be at least 1"),
        (["--C", "-1"], "C must be a positive number"),
    ],
)
def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path, options: list[str], problem: str) -> None:
    done = train(tmp_path, *options)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bentoml").exists()


def test_an_interrupt_leaves_no_model(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "training.sentiment"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout
        assert "read and check the data" in running.stdout.readline()  # so now it fits
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=120)
    finally:
        running.kill()

    assert running.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert stored_models(tmp_path) == []


def test_an_interrupt_while_saving_is_held_back_until_the_model_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, signal, shutil\n"
        "copy = shutil.copytree\n"
        "def slow(*a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return copy(*a, **k)\n"
        "shutil.copytree = slow\n"
        "from training import store\n"
        "store.save('sentiment', {'model.npz': b'x'}, labels={}, metadata={})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(tmp_path), capture_output=True, check=False
    )

    assert b"KeyboardInterrupt" in done.stderr
    assert len(stored_models(tmp_path)) == 1
    assert (tmp_path / "bentoml/models/sentiment/latest").read_text() == stored_models(tmp_path)[0].parent.name


def write_reviews(folder: Path, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    for half in ("train", "test"):
        with gzip.open(folder / f"imdb_{half}.jsonl.gz", "wt") as file:
            file.writelines(line + "\n" for line in lines)


def test_texts_without_any_frequent_term_are_refused(tmp_path: Path) -> None:
    write_reviews(tmp_path, '{"text": "alpha", "label": 1}', '{"text": "beta", "label": 0}')

    done = train(tmp_path, "--data", str(tmp_path))

    assert done.returncode == 2
    assert "cannot be fitted" in done.stderr


def test_a_model_no_better_than_none_is_saved_only_by_force_and_that_is_recorded(tmp_path: Path) -> None:
    # The same text for both classes: nothing can be learnt. The folder is the one above, as for all bundles together.
    write_reviews(tmp_path / "imdb", *['{"text": "tea", "label": 1}', '{"text": "tea", "label": 0}'] * 3)

    refused = train(tmp_path, "--data", str(tmp_path))
    assert refused.returncode == 2
    assert "the model is no better than none: auc 0.5, the naive baseline 0.5" in refused.stderr
    assert stored_models(tmp_path) == []

    forced = train(tmp_path, "--data", str(tmp_path), "--force", "--json")
    assert forced.returncode == 0, forced.stderr
    assert json.loads(forced.stdout)["forced"] is True
    assert len(stored_models(tmp_path)) == 1
