"""Train the sentiment model: data -> fit -> evaluate -> MLflow run -> BentoML model store.

python -m training.sentiment                              # built-in Amazon reviews
python -m training.sentiment --data path/to/imdb          # imdb_{train,test}.jsonl.gz
"""

from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Annotated, Any

import typer

from models import sentiment
from models.sentiment import Metrics, Parameters, SentimentModel
from training import datasets, trainer
from training.datasets import DataError, ReviewData, bundle
from training.trainer import Candidate, Data, DataOption, ForceOption, Goal, JsonOption, Options, OutOption

MODEL_FILE = "model.npz"
DEFAULTS = Parameters()

# What TF-IDF with logistic regression reached elsewhere on the same split; docs/services/sentiment.md has others.
GOALS = {
    "amazon": (Goal(metric="accuracy", value=0.806), Goal(metric="auc", value=0.879)),
    "imdb": (Goal(metric="accuracy", value=0.905), Goal(metric="auc", value=0.966)),
}


def main(
    data: DataOption = None,
    out: OutOption = None,
    max_features: Annotated[int, typer.Option(help="Keep at most this many terms.")] = DEFAULTS.max_features,
    ngram_max: Annotated[int, typer.Option(help="Longest run of words that is one term.")] = DEFAULTS.ngram_max,
    min_df: Annotated[int, typer.Option(help="Ignore terms in fewer training texts than this.")] = DEFAULTS.min_df,
    c: Annotated[float, typer.Option("--C", help="Inverse strength of the L2 penalty.")] = DEFAULTS.C,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the sentiment model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("sentiment", Options(out=out, force=force, as_json=as_json)) as run:
        parameters = _parameters(max_features=max_features, ngram_max=ngram_max, min_df=min_df, C=c)
        with run.step("read and check the data"):
            reviews = _read(data)
        with run.step(f"fit on {len(reviews.train):,} reviews"):
            model = _fit(reviews, parameters)
        with run.step(f"score {len(reviews.test):,} reviews"):
            metrics = sentiment.evaluate(model, reviews.test.texts, reviews.test.positive)
        run.finish(
            Candidate(
                data=_about(reviews),
                files={MODEL_FILE: model.to_bytes()},
                pyfunc=Path(__file__).with_name("sentiment_pyfunc.py"),
                parameters=asdict(parameters),
                metrics=asdict(metrics),
                baseline=asdict(_naive(reviews)),
                decides="auc",  # accuracy would refuse a useful model where nearly all reviews are of one class
                goals=GOALS[reviews.name],
            )
        )


def _read(folder: Path | None) -> ReviewData:
    """The built-in reviews, or those of a folder, which may be the one that holds `imdb` among others."""
    if folder is None:
        return datasets.amazon_reviews()
    return datasets.imdb_reviews(bundle(folder, "imdb"))


def _fit(reviews: ReviewData, parameters: Parameters) -> SentimentModel:
    try:
        return sentiment.fit(reviews.train.texts, reviews.train.positive, parameters)
    except ValueError as error:  # scikit-learn: "no terms remain" and the like
        raise DataError(
            f"the training texts cannot be fitted: {error}",
            fix="use more or longer texts, or a smaller --min-df",
        ) from error


def _naive(reviews: ReviewData) -> Metrics:
    """Without reading a text: each gets the share of positive ones in training as its score."""
    score = sum(reviews.train.positive) / len(reviews.train)
    positive = sum(reviews.test.positive) / len(reviews.test)
    return Metrics(
        accuracy=positive if score >= 0.5 else 1 - positive,
        auc=0.5,
        log_loss=-positive * log(score) - (1 - positive) * log(1 - score),
    )


def _about(reviews: ReviewData) -> Data:
    return Data(
        name=reviews.name,
        sha256=reviews.sha256,
        train=len(reviews.train),
        test=len(reviews.test),
        twins=reviews.duplicates,
    )


def _parameters(**values: Any) -> Parameters:
    try:
        return Parameters(**values)
    except ValueError as error:
        raise DataError(str(error), fix="see python -m training.sentiment --help") from error


if __name__ == "__main__":
    typer.run(main)
