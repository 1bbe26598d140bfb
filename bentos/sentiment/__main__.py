"""Judge the reviews of a file with the newest model: `python -m bentos.sentiment batch IN OUT`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bentos.batch import Job, main, newest
from bentos.sentiment.schema import Prediction, PredictRequest


def load() -> tuple[str, Callable[[Sequence[PredictRequest]], Sequence[Prediction]]]:
    """The version of the newest model in the BentoML store, and what answers reviews. Raises BatchError."""
    from models.sentiment import SentimentModel

    stored = newest("sentiment")
    version = str(stored.tag.version)
    model = SentimentModel.from_bytes(Path(stored.path_of("model.npz")).read_bytes())

    def answer(reviews: Sequence[PredictRequest]) -> list[Prediction]:
        scores = model.scores([review.text for review in reviews])
        return [Prediction.of(score, model_version=version) for score in scores]

    return version, answer


if __name__ == "__main__":
    sys.exit(main(Job(row=PredictRequest, load=load)))
