"""Train the sentiment model: data -> fit -> evaluate -> MLflow run -> BentoML model store.

python -m training.sentiment                              # built-in Amazon reviews
python -m training.sentiment --data path/to/imdb          # imdb_{train,test}.jsonl.gz
"""

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from models import sentiment
from models.sentiment import Metrics, Parameters, SentimentModel
from training import datasets, store, tracking
from training.datasets import DataError, ReviewData
from training.steps import Steps

ROOT = Path(__file__).resolve().parent.parent
MODEL_FILE = "model.npz"
DEFAULTS = Parameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Scores that others reached on the same split. None: not published."""

    name: str
    accuracy: float
    auc: float | None = None


REFERENCES = {
    "amazon": [Reference(name="TF-IDF + logistic regression", accuracy=0.806, auc=0.879)],
    "imdb": [
        Reference(name="TF-IDF + logistic regression", accuracy=0.905, auc=0.966),
        Reference(name="NBSVM (Wang & Manning 2012)", accuracy=0.912),
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves behind."""

    tag: str
    metrics: Metrics
    facts: dict[str, str]


def main(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with imdb_train.jsonl.gz and imdb_test.jsonl.gz. [default: Amazon reviews]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write model.npz and report.json into this folder.")] = None,
    max_features: Annotated[int, typer.Option(help="Keep at most this many terms.")] = DEFAULTS.max_features,
    ngram_max: Annotated[int, typer.Option(help="Longest run of words that is one term.")] = DEFAULTS.ngram_max,
    min_df: Annotated[int, typer.Option(help="Ignore terms in fewer training texts than this.")] = DEFAULTS.min_df,
    c: Annotated[float, typer.Option("--C", help="Inverse strength of the L2 penalty.")] = DEFAULTS.C,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead; progress goes to stderr.")
    ] = False,
) -> None:
    """Train the sentiment model, log the run to MLflow and save the model into the BentoML store."""
    console = Console(stderr=as_json, highlight=False)
    with _exits():
        parameters = _parameters(max_features=max_features, ngram_max=ngram_max, min_df=min_df, C=c)
        steps = Steps(console)
        with steps.step("read and check the data"):
            reviews = datasets.imdb_reviews(data) if data else datasets.amazon_reviews()
        _show_data(console, reviews)
        trained, model = _train(reviews, parameters, steps)
        report = _report(trained, reviews, steps)
        if out:
            _write(out, model, report)
        if as_json:
            print(json.dumps(report))
        else:
            console.print(_scores_table(reviews, trained.metrics))
            console.print(trained.tag)


def _train(reviews: ReviewData, parameters: Parameters, steps: Steps) -> tuple[Trained, SentimentModel]:
    with steps.step(f"fit on {len(reviews.train):,} reviews"):
        model = _fit(reviews, parameters)
    with steps.step(f"score {len(reviews.test):,} reviews"):
        metrics = sentiment.evaluate(model, reviews.test.texts, reviews.test.positive)
    facts = {"data": reviews.name, "data_sha256": reviews.sha256, "git_revision": tracking.git_revision(ROOT)}
    with steps.step("open MLflow"):
        tracking.prepare("sentiment")
    with tracking.run() as run_id:
        with steps.step("log the run and the model"):
            tracking.record(asdict(parameters), asdict(metrics), facts)
            _log_model(model)
        with steps.step("save into the BentoML store"):
            tag = store.save(
                "sentiment",
                {MODEL_FILE: model.to_bytes()},
                labels={"data": reviews.name, "mlflow_run_id": run_id},
                metadata={**facts, "mlflow_run_id": run_id, **asdict(parameters), **asdict(metrics)},
            )
            tracking.record({}, {}, {"bento_model": tag})
    return Trained(tag=tag, metrics=metrics, facts={**facts, "mlflow_run_id": run_id}), model


def _fit(reviews: ReviewData, parameters: Parameters) -> SentimentModel:
    try:
        return sentiment.fit(reviews.train.texts, reviews.train.positive, parameters)
    except ValueError as error:  # scikit-learn: "no terms remain" and the like
        raise DataError(
            f"the training texts cannot be fitted: {error}",
            fix="use more or longer texts, or a smaller --min-df",
        ) from error


def _log_model(model: SentimentModel) -> None:
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL_FILE
        file.write_bytes(model.to_bytes())
        mlflow.pyfunc.log_model(
            name="sentiment",
            python_model=str(Path(__file__).with_name("sentiment_pyfunc.py")),
            artifacts={"model": str(file)},
            code_paths=[str(ROOT / "models")],
            # Given, because MLflow would otherwise load the model in a new process to find them.
            pip_requirements=["mlflow", "numpy"],
        )


def _parameters(**values: Any) -> Parameters:
    try:
        return Parameters(**values)
    except ValueError as error:
        raise DataError(str(error), fix="see python -m training.sentiment --help") from error


def _report(trained: Trained, reviews: ReviewData, steps: Steps) -> dict[str, Any]:
    return {
        "tag": trained.tag,
        "metrics": asdict(trained.metrics),
        "reference": [asdict(reference) for reference in REFERENCES[reviews.name]],
        "data": {
            "name": reviews.name,
            "sha256": reviews.sha256,
            "train": len(reviews.train),
            "test": len(reviews.test),
            "duplicates": reviews.duplicates,
        },
        "mlflow_run_id": trained.facts["mlflow_run_id"],
        "git_revision": trained.facts["git_revision"],
        "steps": steps.seconds,
        "seconds": round(sum(steps.seconds.values()), 2),
    }


def _write(folder: Path, model: SentimentModel, report: dict[str, Any]) -> None:
    """Write both files under temporary names and rename them, so that a reader never sees half a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (
            (MODEL_FILE, model.to_bytes()),
            ("report.json", json.dumps(report, indent=2).encode()),
        ):
            partial = folder / f".{name}.partial"
            try:
                partial.write_bytes(content)
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error.strerror}",
            fix="name a folder that you may write to with --out",
        ) from error


def _show_data(console: Console, reviews: ReviewData) -> None:
    console.print(
        f"  {reviews.name}: {len(reviews.train):,} training and {len(reviews.test):,} test reviews, "
        f"{reviews.duplicates:,} of the test texts also in training; sha256 {reviews.sha256[:12]}"
    )


def _scores_table(reviews: ReviewData, metrics: Metrics) -> Table:
    table = Table(title=f"Scores on the {len(reviews.test):,} test reviews ({reviews.name})", title_justify="left")
    table.add_column("model")
    for column in ("accuracy", "AUC", "log loss"):
        table.add_column(column, justify="right")
    table.add_row("this run", f"{metrics.accuracy:.3f}", f"{metrics.auc:.3f}", f"{metrics.log_loss:.3f}", style="bold")
    for other in REFERENCES[reviews.name]:
        table.add_row(other.name, f"{other.accuracy:.3f}", f"{other.auc:.3f}" if other.auc else "-", "-")
    return table


@contextmanager
def _exits() -> Iterator[None]:
    """Turn what a person can mend into two lines and exit code 2, and an interrupt into 130."""
    # `kill` must clean up just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("interrupted: no model was saved", file=sys.stderr)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    typer.run(main)
