"""One training run in MLflow: where it is stored, and what is recorded with it."""

import os
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEFAULT_FOLDER = Path(".noren/mlflow")
SQLITE = "sqlite:///"


def prepare(experiment: str, *, folder: Path = DEFAULT_FOLDER) -> None:
    """Import MLflow and make sure that its store and `experiment` exist.

    MLFLOW_TRACKING_URI decides where runs go; unset, a SQLite file in `folder`. The artifacts of a new
    experiment in a SQLite store lie in a folder `artifacts` next to the file.
    """
    # MLflow speaks of Git, of its migrations and of progress; a person who trains needs none of it.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    import mlflow

    address = os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(folder)
    mlflow.set_tracking_uri(address)
    if address.startswith(SQLITE):
        _create_experiment(mlflow, experiment, Path(address.removeprefix(SQLITE)).parent)
    mlflow.set_experiment(experiment)


@contextmanager
def run() -> Iterator[str]:
    """An active MLflow run, by its id; it ends as FAILED when the block raises or is interrupted."""
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mlflow.start_run() as active:
            yield active.info.run_id


def sqlite_uri(folder: Path) -> str:
    """The tracking address of the SQLite file in `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"{SQLITE}{folder.resolve() / 'mlflow.db'}"


def record(parameters: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Log to the active run."""
    import mlflow

    mlflow.log_params(dict(parameters))
    mlflow.log_metrics(dict(metrics))
    mlflow.set_tags(dict(tags))


def git_revision(folder: Path) -> str:
    """The commit that `folder` is at, with "-dirty" when files differ; "unknown" outside of Git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def _create_experiment(mlflow: Any, name: str, folder: Path) -> None:
    # Left alone, MLflow would put the artifacts of a SQLite store into ./mlruns.
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=(folder.resolve() / "artifacts").as_uri())
