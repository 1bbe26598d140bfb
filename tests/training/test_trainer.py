"""What every training does at its end: refuse, or record, save and report; and how it ends before its time."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml

from training import trainer
from training.trainer import Candidate, Data, Goal, Options

ROOT = Path(__file__).resolve().parents[2]

GOOD = Candidate(
    data=Data(name="toy", sha256="0" * 64, train=80, test=20, twins=3),
    files={"model.npz": b"PK", "notes.txt": b"fine"},
    parameters={"depth": 3},
    metrics={"auc": 0.9, "log_loss": 0.3},
    baseline={"auc": 0.5, "log_loss": 0.7},
    decides="auc",
)


@dataclass
class Kept:
    """What a training left in MLflow and in the BentoML store."""

    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)

    def record(self, _: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        self.metrics |= metrics
        self.tags |= tags

    def save(self, name: str, files: Mapping[str, bytes], **more: Any) -> str:
        self.models.append({"files": dict(files), **more})
        return f"{name}:v{len(self.models)}"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    @contextmanager
    def run() -> Iterator[str]:
        yield "run-1"

    memory = Kept()
    monkeypatch.setattr("training.tracking.prepare", lambda name: None)
    monkeypatch.setattr("training.tracking.run", run)
    monkeypatch.setattr("training.tracking.record", memory.record)
    monkeypatch.setattr("training.tracking.git_revision", lambda folder: "abc")
    monkeypatch.setattr("training.store.save", memory.save)
    monkeypatch.setattr(trainer, "_log_model", lambda name, candidate: None)
    return memory


def train(candidate: Candidate, **options: Any) -> None:
    with trainer.session("toy", Options(**options)) as run:
        with run.step("fit"):
            pass
        run.finish(candidate)


def ends_with(code: int, candidate: Candidate, **options: Any) -> None:
    with pytest.raises(typer.Exit) as end:
        train(candidate, **options)
    assert end.value.exit_code == code


# Saving


def test_a_model_is_saved_with_its_scores_and_where_it_came_from(kept: Kept) -> None:
    train(GOOD)

    (model,) = kept.models
    assert model["files"] == GOOD.files
    assert model["labels"] == {"data": "toy", "mlflow_run_id": "run-1"}
    assert model["metadata"] == {
        "data": "toy",
        "data_sha256": "0" * 64,
        "git_revision": "abc",
        "mlflow_run_id": "run-1",
        "depth": 3,
        "auc": 0.9,
        "log_loss": 0.3,
    }
    assert kept.metrics == {"auc": 0.9, "log_loss": 0.3, "baseline_auc": 0.5, "baseline_log_loss": 0.7}
    assert kept.tags["bento_model"] == "toy:v1"


def test_numbers_of_numpy_are_stored_as_those_of_python(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    scores: dict[str, Any] = {"metrics": {"auc": np.float32(0.75)}, "baseline": {"auc": np.float64(0.5)}}

    train(replace(GOOD, **scores), as_json=True)

    assert type(kept.models[0]["metadata"]["auc"]) is float
    assert json.loads(capsys.readouterr().out)["metrics"] == {"auc": 0.75}


def test_parameters_are_stored_as_bentoml_can_read_them_again(kept: Kept) -> None:
    train(replace(GOOD, parameters={"depth": None, "edges": (1, 2), "name": "x"}))

    stored = kept.models[0]["metadata"]
    assert "depth" not in stored
    assert (stored["edges"], stored["name"]) == ([1, 2], "x")


def test_out_gets_the_files_and_the_report(kept: Kept, tmp_path: Path) -> None:
    train(GOOD, out=tmp_path / "new/out")

    written = {path.name: path.read_bytes() for path in (tmp_path / "new/out").iterdir()}
    report = json.loads(written.pop("report.json"))
    assert written == GOOD.files
    assert report["tag"] == "toy:v1"
    assert report["data"] == {"name": "toy", "sha256": "0" * 64, "train": 80, "test": 20, "twins": 3}


# Refusing


@pytest.mark.parametrize(
    "candidate",
    [
        replace(GOOD, metrics={"auc": 0.4}),
        replace(GOOD, metrics={"auc": 0.5}),
        replace(GOOD, decides="log_loss"),  # 0.3 would be worse than 0.7 if more were better
        replace(GOOD, decides="log_loss", metrics={"log_loss": 0.7}, lower_is_better=True),
    ],
)
def test_a_model_that_is_no_better_than_none_is_refused(
    kept: Kept, candidate: Candidate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends_with(2, candidate, out=tmp_path / "out")

    errors = capsys.readouterr().err
    assert "error: the model is no better than none" in errors
    assert "\n  fix: " in errors
    assert kept.models == []
    assert list((tmp_path / "out").iterdir()) == []


def test_less_is_better_where_it_is_said(kept: Kept) -> None:
    train(replace(GOOD, decides="log_loss", lower_is_better=True))

    assert len(kept.models) == 1


def test_force_saves_it_all_the_same_and_that_is_recorded(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(GOOD, metrics={"auc": 0.4}), force=True, as_json=True)

    assert kept.models[0]["metadata"]["forced"] == "true"
    assert kept.tags["forced"] == "true"
    assert json.loads(capsys.readouterr().out)["forced"] is True


def test_force_is_not_recorded_of_a_model_that_did_not_need_it(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    train(GOOD, force=True, as_json=True)

    assert "forced" not in kept.models[0]["metadata"]
    assert json.loads(capsys.readouterr().out)["forced"] is False


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), np.float64("nan")])
@pytest.mark.parametrize("where", ["metrics", "baseline"])
def test_a_score_that_is_no_number_is_refused_even_with_force(
    kept: Kept, where: str, number: float, capsys: pytest.CaptureFixture[str]
) -> None:
    scores: dict[str, Any] = {where: {"auc": 0.9, "log_loss": number}}

    ends_with(2, replace(GOOD, **scores), force=True)

    assert "log_loss is " in capsys.readouterr().err
    assert kept.models == []


@pytest.mark.parametrize(
    "changes", [{"decides": "rmse"}, {"goals": (Goal(metric="rmse", value=1),)}, {"metrics": {}}, {"baseline": {}}]
)
def test_a_candidate_has_all_scores_that_are_asked_for(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a candidate without (auc|rmse)"):
        replace(GOOD, **changes)


def test_an_out_that_cannot_be_written_is_told_before_the_training(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    trained = False

    with pytest.raises(typer.Exit) as end, trainer.session("toy", Options(out=tmp_path / "file/out")):
        trained = True

    assert end.value.exit_code == 2
    assert not trained
    assert f"cannot write to {tmp_path}/file/out: Not a directory\n  fix: " in capsys.readouterr().err


# Ending early


def test_an_interrupt_ends_with_130_and_saves_nothing(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as end, trainer.session("toy", Options()):
        raise KeyboardInterrupt

    assert end.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted: no model was saved\n"


def test_kill_is_an_interrupt_too_but_only_during_the_training(kept: Kept) -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(typer.Exit) as end, trainer.session("toy", Options()):
        os.kill(os.getpid(), signal.SIGTERM)

    assert end.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupt_while_saving_does_not_claim_that_nothing_was_saved(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.store.save", interrupted)

    ends_with(130, GOOD)

    errors = capsys.readouterr().err
    assert "bentoml models list toy" in errors
    assert "no model was saved" not in errors


def test_a_mistake_in_the_code_is_not_hidden(kept: Kept) -> None:
    with pytest.raises(ZeroDivisionError), trainer.session("toy", Options()):
        raise ZeroDivisionError


# Telling


def test_json_prints_exactly_one_object_and_progress_elsewhere(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    train(GOOD, as_json=True)

    said = capsys.readouterr()
    assert json.loads(said.out)["steps"].keys() == {"fit", "open MLflow", "log the run and the model",
                                                    "save into the BentoML store"}  # fmt: skip
    assert "fit" in said.err
    assert "3 of the test rows also in training" in said.err


def test_the_table_shows_which_goals_were_reached(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    goals = (Goal(metric="auc", value=0.95), Goal(metric="log_loss", value=0.4, at_least=False))

    train(replace(GOOD, goals=goals))

    lines = capsys.readouterr().out.splitlines()
    (auc,) = [line for line in lines if "auc" in line]
    (log_loss,) = [line for line in lines if "log_loss" in line]
    assert ">= 0.95" in auc
    assert "missed" in auc
    assert "<= 0.4" in log_loss
    assert "reached" in log_loss


def test_what_is_told_is_shown_as_it_is(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    with trainer.session("toy", Options()) as run:
        run.tell("columns [bold] and [year]")

    assert "columns [bold] and [year]" in capsys.readouterr().out


# With MLflow and BentoML themselves

SCRIPT = """
from pathlib import Path
from training import trainer
from training.trainer import Candidate, Data, Goal, Options

with trainer.session("toy", Options(out=Path("out"), as_json=True)) as run:
    run.finish(
        Candidate(
            data=Data(name="toy", sha256="0" * 64, train=8, test=2),
            files={"model.json": b"{}"},
            parameters={"depth": None, "edges": (1, 2)},
            metrics={"auc": 0.9},
            baseline={"auc": 0.5},
            decides="auc",
            goals=(Goal(metric="auc", value=0.95),),
        )
    )
"""


@pytest.mark.e2e
def test_the_run_is_in_mlflow_and_the_model_in_the_bentoml_store(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment = {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path, env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    version = report["tag"].removeprefix("toy:")
    stored = yaml.safe_load((tmp_path / "bentoml/models/toy" / version / "model.yaml").read_text())
    assert stored["metadata"]["auc"] == 0.9
    assert stored["metadata"]["edges"] == [1, 2]
    with sqlite3.connect(tmp_path / ".noren/mlflow/mlflow.db") as database:
        assert database.execute("select run_uuid, status from runs").fetchall() == [
            (report["mlflow_run_id"], "FINISHED")
        ]
        assert ("baseline_auc", 0.5) in database.execute("select key, value from metrics").fetchall()
    assert len(list((tmp_path / ".noren/mlflow/artifacts").rglob("model.json"))) == 1
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
