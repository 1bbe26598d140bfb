"""Trains what scorers.py loads, once: real reviews and a data set that scikit-learn carries. Nothing is downloaded."""

import json
import os
from collections.abc import Sequence
from typing import Any

from benchmarks.serve.scorers import CACHE, MODELS
from models.sentiment import Parameters, SentimentModel, fit_estimators

FEATURES = 40_000
TREES = 300
SAMPLES = 500
LONGEST = 280  # characters: the shorter half of the reviews, so that the server and not the text is what is measured


def train() -> None:
    """Train what is missing in the cache folder."""
    MODELS.mkdir(parents=True, exist_ok=True)
    if not (MODELS / "lean.json").exists():
        _sentiment()
    if not (MODELS / "forest.json").exists():
        _forest()


def store_of_the_shop() -> str:
    """A BENTOML_HOME with the shop's sentiment model in it."""
    home = CACHE / "bentoml"
    os.environ["BENTOML_HOME"] = str(home)  # before bentoml is imported: it reads it then
    import bentoml

    from models.sentiment import fit
    from training.datasets import amazon_reviews
    from training.store import save

    if not any(model.tag.name == "sentiment" for model in bentoml.models.list()):
        reviews = amazon_reviews().train
        model = fit(reviews.texts, reviews.positive, Parameters())
        save("sentiment", {"model.npz": model.to_bytes()}, labels={}, metadata={})
    return str(home)


def _sentiment() -> None:
    """The estimator and its lean twin. Raises RuntimeError when the two differ: their speeds would mean nothing."""
    import joblib

    from training.datasets import amazon_reviews

    reviews, parameters = amazon_reviews(), Parameters(max_features=FEATURES)
    vectorizer, regression = fit_estimators(reviews.train.texts, reviews.train.positive, parameters)
    joblib.dump((vectorizer, regression), MODELS / "tfidf.joblib")
    lean = _lean(vectorizer, regression, parameters)
    (MODELS / "lean.npz").write_bytes(lean.to_bytes())
    texts = [text for text in reviews.test.texts if len(text) <= LONGEST][:SAMPLES]
    wanted = regression.predict_proba(vectorizer.transform(texts))[:, 1].tolist()
    worst = max(abs(a - b) for a, b in zip(wanted, lean.scores(texts), strict=True))
    if worst > 1e-6:
        raise RuntimeError(f"the lean scorer differs from the estimator by {worst}")
    _keep("tfidf", texts, wanted)
    _keep("lean", texts, wanted)


def _lean(vectorizer: Any, regression: Any, parameters: Parameters) -> SentimentModel:
    names = vectorizer.get_feature_names_out().tolist()
    values = zip(vectorizer.idf_.tolist(), regression.coef_[0].tolist(), strict=True)
    terms = dict(zip(names, values, strict=True))
    return SentimentModel(terms=terms, intercept=float(regression.intercept_[0]), ngram_max=parameters.ngram_max)


def _forest() -> None:
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    rows, labels = load_breast_cancer(return_X_y=True)
    known, unknown, known_labels, _ = train_test_split(rows, labels, test_size=0.5, random_state=0)
    forest = RandomForestClassifier(n_estimators=TREES, random_state=0).fit(known, known_labels)
    joblib.dump(forest, MODELS / "forest.joblib")
    _keep("forest", unknown.tolist(), forest.predict_proba(unknown)[:, 1].tolist())


def _keep(name: str, items: Sequence[Any], scores: Sequence[float]) -> None:
    (MODELS / f"{name}.json").write_text(json.dumps({"items": items, "scores": scores}))
