"""The models that are served: the same functions behind every server, trained once into the cache folder.

Servers import this in environments of their own, so nothing heavy is imported before it is needed.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Scorer = Callable[[Sequence[Any]], list[float]]

CACHE = Path(os.environ.get("NOREN_BENCH_CACHE", "~/.cache/noren/bench")).expanduser()
MODELS = CACHE / "models"
NUMBERS = {"echo": range(100), "picture": range(1, 101)}  # what is sent, and is the answer, where there is no model
WARM_UP = 3  # calls before a server says that it is ready


def load(name: str) -> Scorer:
    """The scorer called `name`: tfidf, lean or forest. Warm."""
    scorer, items = _LOADERS[name](), samples(name)[0][:1]
    for _ in range(WARM_UP):
        scorer(items)
    return scorer


def samples(name: str) -> tuple[list[Any], list[float]]:
    """Inputs that no model was trained on, and the score that each must get."""
    stored = json.loads((MODELS / f"{name}.json").read_text())
    return stored["items"], stored["scores"]


def _tfidf() -> Scorer:
    """TF-IDF of 40,000 features and logistic regression, as scikit-learn gives them."""
    import joblib

    vectorizer, regression = joblib.load(MODELS / "tfidf.joblib")

    def score(texts: Sequence[str]) -> list[float]:
        scores: list[float] = regression.predict_proba(vectorizer.transform(texts))[:, 1].tolist()
        return scores

    return score


def _lean() -> Scorer:
    """The same arithmetic without scikit-learn."""
    from models.sentiment import SentimentModel

    return SentimentModel.from_bytes((MODELS / "lean.npz").read_bytes()).scores


def _forest() -> Scorer:
    """300 trees on rows of 30 numbers."""
    import joblib
    import numpy as np

    forest = joblib.load(MODELS / "forest.joblib")

    def score(rows: Sequence[Sequence[float]]) -> list[float]:
        scores: list[float] = forest.predict_proba(np.asarray(rows))[:, 1].tolist()
        return scores

    return score


_LOADERS: dict[str, Callable[[], Scorer]] = {"tfidf": _tfidf, "lean": _lean, "forest": _forest}
