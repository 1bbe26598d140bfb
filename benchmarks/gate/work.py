"""How much a request asks of a service: as many trees of a random forest as take the usual time on this machine now.

At half its speed a machine would be nearly full with the work of the other half, and what is then measured are queues.
"""

import time
from functools import cache

import joblib
import numpy as np
from sklearn.ensemble import RandomForestClassifier

from benchmarks.serve.scorers import MODELS

MOST_TREES = 60
_FEWEST_TREES = 10
_USUAL_MS = 2.7  # for most trees and one row: the services then use not quite half of the core that they share
_CALLS = 200


def forest(trees: int) -> RandomForestClassifier:
    """The benchmark's forest, with its first trees only."""
    found: RandomForestClassifier = joblib.load(MODELS / "forest.joblib")
    found.estimators_ = found.estimators_[:trees]
    return found


@cache
def trees() -> int:
    """How many take the usual time here: the same number for all services of one command."""
    model, row, took_s = forest(MOST_TREES), np.zeros((1, 30)), []
    for _ in range(_CALLS):
        began_s = time.perf_counter()
        model.predict_proba(row)
        took_s.append(time.perf_counter() - began_s)
    return fitting(1000 * float(np.median(took_s)))


def fitting(took_ms: float) -> int:
    """How many trees take the usual time where most of them take `took_ms`."""
    return max(_FEWEST_TREES, min(MOST_TREES, round(MOST_TREES * _USUAL_MS / took_ms)))
