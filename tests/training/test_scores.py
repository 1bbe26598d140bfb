"""On real reviews the served scorer says what the fitted scikit-learn pair says."""

import numpy as np

from models.sentiment import Parameters, fit, fit_estimators
from training.datasets import amazon_reviews

WITHIN = 1e-9  # asked for is 1e-6


def test_real_reviews_get_the_scores_of_scikit_learn() -> None:
    reviews = amazon_reviews()
    texts, positive = reviews.train.texts[:2000], reviews.train.positive[:2000]
    parameters = Parameters()

    ours = fit(texts, positive, parameters).scores(reviews.test.texts)

    vectorizer, regression = fit_estimators(texts, positive, parameters)
    theirs = regression.predict_proba(vectorizer.transform(reviews.test.texts))[:, 1]
    assert len(ours) == 1000
    assert float(np.abs(np.asarray(ours) - theirs).max()) < WITHIN
