"""Whether a model of another kind would judge the same measures better: all by the same cross-validation.

What is chosen for a family (neighbours, widths, sizes) is chosen by cross-validation inside of each training part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.probability import Floats, Truths

Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

_SEED = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a family reached on rows that its models had not seen.

    accuracy   of the likelier verdict
    hindsight  accuracy with the one cut that is best on these very rows: more than can be had
    """

    auc: float
    accuracy: float
    hindsight: float


def compared(logarithms: Floats, blurred: Truths, folds: Sequence[Fold]) -> Iterator[tuple[str, Reached]]:
    """Each family by name and what it reaches, on n rows of logarithms of measures [n, F]."""
    from sklearn.model_selection import cross_val_predict

    for name, family in families().items():
        margins = hasattr(family, "decision_function")
        method = "decision_function" if margins else "predict_proba"
        found: Floats = cross_val_predict(family, logarithms, blurred, cv=folds, method=method)
        yield name, _reached(found if margins else found[:, 1] - 0.5, blurred)


def families() -> dict[str, Any]:
    """Unfitted classifiers."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler
    from sklearn.svm import SVC

    def chosen(estimator: Any, **among: Any) -> Any:
        return GridSearchCV(estimator, among, scoring="roc_auc")

    line = LogisticRegression(C=10, max_iter=1_000)
    boosting = HistGradientBoostingClassifier(learning_rate=0.05, early_stopping=False, random_state=_SEED)
    return {
        "logistic regression": make_pipeline(StandardScaler(), line),
        "cubic": make_pipeline(StandardScaler(), PolynomialFeatures(3, include_bias=False), StandardScaler(), line),
        "splines": make_pipeline(SplineTransformer(n_knots=6), line),
        "neighbours": make_pipeline(
            StandardScaler(), chosen(KNeighborsClassifier(), n_neighbors=[15, 31, 51, 75, 101])
        ),
        "support vectors": make_pipeline(StandardScaler(), chosen(SVC(), C=[0.3, 1, 3], gamma=[0.1, 0.3, 1, 3])),
        "boosted trees": chosen(boosting, max_iter=[40, 80, 160], max_depth=[2, 3]),
        "random forest": RandomForestClassifier(200, min_samples_leaf=10, random_state=_SEED),
    }


def _reached(margins: Floats, blurred: Truths) -> Reached:
    from sklearn.metrics import roc_auc_score

    return Reached(
        auc=float(roc_auc_score(blurred, margins)),
        accuracy=float(np.mean((margins > 0) == blurred)),
        hindsight=float(max(np.mean((margins > cut) == blurred) for cut in margins)),
    )
