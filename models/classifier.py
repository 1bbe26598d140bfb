"""Whether something is true of a row of a table: boosted trees whose score is a calibrated log-odds.

scikit-learn fits one pipeline (categories numbered, then HistGradientBoosting); trees.py scores and explains, so that
serving needs no scikit-learn. Margins of rows that the trees have not seen, by cross-validation, give the line of the
calibration (probability.py). It is folded into the leaves: SHAP values then add up to the calibrated log-odds.
"""

import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np

from models.probability import Floats, Line, Truths, logistic, platt
from models.trees import Trees, from_boosting

FOLDS = 5
SEED = 42

_FORMAT = 1  # of to_bytes(); raise it when what is stored changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Of the boosting.

    trees, depth   how many, and how many questions one asks at most; explaining takes time ~ trees * 2^depth * depth
    learning_rate  share of each tree's own answer that is used
    min_leaf       rows that a leaf stands for at least
    l2             penalty on large leaves
    columns        share of the columns that a split chooses among, drawn anew for each
    """

    trees: int
    depth: int
    learning_rate: float = 0.03
    min_leaf: int = 10
    l2: float = 1.0
    columns: float = 0.3


def grid(*, trees: int | None = None, depth: int | None = None) -> list[Parameters]:
    """What cross-validation chooses among; what is given is fixed."""
    return [
        Parameters(trees=count, depth=questions)
        for questions in ([depth] if depth else (2, 3, 4, 5))
        for count in ([trees] if trees else (160, 320, 480))
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier:
    """A fitted model. Immutable; safe to share between threads.

    kind        what it tells; a model is not read as one of another kind
    columns     what the trees read, in their order
    categories  column -> its values; the trees see the place of a value in here
    trees       their score is the calibrated log-odds
    threshold   probability from which on the answer is yes
    """

    kind: str
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    trees: Trees
    threshold: float

    def rows(self, fields: Sequence[Mapping[str, Any]]) -> Floats:
        """n rows as the trees read them. Other fields are ignored; what is absent or unknown counts as missing."""
        rows = [[self._number(column, row.get(column)) for column in self.columns] for row in fields]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.columns))

    def _number(self, column: str, value: Any) -> float:
        values = self.categories.get(column)
        if values is not None:
            return float(values.index(value)) if value in values else np.nan
        return np.nan if value is None else float(value)

    def probabilities(self, rows: Floats) -> Floats:
        """Calibrated probabilities [n] of n rows, as `rows` gives them."""
        return logistic(self.trees.scores(rows))

    def to_bytes(self) -> bytes:
        """The model as a compressed NumPy archive. Loading it runs no code, unlike a pickle."""
        about = {
            "kind": self.kind,
            "columns": self.columns,
            "categories": dict(self.categories),
            "threshold": self.threshold,
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            format=_FORMAT,
            about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            trees=np.frombuffer(self.trees.to_bytes(), dtype=np.uint8),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, *, kind: str) -> "Classifier":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError(f"this is not a stored {kind} model: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                return cls._from_arrays(stored, kind)
        except (OSError, EOFError, KeyError, ValueError, NotImplementedError, BadZipFile, zlib.error) as error:
            raise ValueError(f"this is not a stored {kind} model: {error}") from error

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, Any], kind: str) -> "Classifier":
        if int(stored["format"]) != _FORMAT:
            raise ValueError(f"it has format {stored['format']}, and this code reads {_FORMAT}: train again")
        about = json.loads(stored["about"].tobytes())
        if about["kind"] != kind:
            raise ValueError(f"it tells {about['kind']}")
        return cls(
            kind=kind,
            columns=tuple(about["columns"]),
            categories={column: tuple(values) for column, values in about["categories"].items()},
            trees=Trees.from_bytes(stored["trees"].tobytes()),
            threshold=float(about["threshold"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A classifier, and how it came about.

    log_loss   in nats, of training rows whose trees have not seen them; why these parameters were chosen
    """

    classifier: Classifier
    parameters: Parameters
    line: Line
    log_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    parameters: Parameters
    line: Line
    probabilities: Floats  # of each training row, by trees that have not seen it
    log_loss: float


def fit(
    table: Any,
    positive: Truths,
    *,
    kind: str,
    categorical: Sequence[str],
    settings: Sequence[Parameters],
    threshold: Callable[[Floats], float],
) -> Fitted:
    """Fit on a pandas table of n rows and their truth. Deterministic.

    categorical   the columns of text; all others hold numbers, NaN where one is missing
    settings      what cross-validation chooses among, by log loss
    threshold     chooses the threshold by the n probabilities that cross-validation gives

    Each class needs FOLDS rows or more.
    """
    table = table[[*categorical, *(column for column in table.columns if column not in categorical)]]
    attempts = [_attempt(pipeline(categorical, parameters), table, positive, parameters) for parameters in settings]
    best = min(attempts, key=lambda attempt: attempt.log_loss)
    fitted = pipeline(categorical, best.parameters).fit(table, positive)
    values = fitted[0].named_transformers_["categories"].categories_ if categorical else []
    trees, line = from_boosting(fitted[-1]), best.line
    classifier = Classifier(
        kind=kind,
        columns=tuple(table.columns),
        categories=dict(zip(categorical, (tuple(map(str, found)) for found in values), strict=True)),
        trees=replace(trees, value=line.slope * trees.value, start=line.slope * trees.start + line.offset),
        threshold=threshold(best.probabilities),
    )
    return Fitted(classifier=classifier, parameters=best.parameters, line=line, log_loss=best.log_loss)


def pipeline(categorical: Sequence[str], parameters: Parameters) -> Any:
    """The unfitted scikit-learn pipeline: a table with the categorical columns first -> margins in log-odds.

    No class is weighted up: that would bend the probabilities. That one class is rare is what the threshold is for.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder

    numbers = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    boosting = HistGradientBoostingClassifier(
        max_iter=parameters.trees,
        max_depth=parameters.depth,
        max_leaf_nodes=None,  # the depth is the limit
        learning_rate=parameters.learning_rate,
        min_samples_leaf=parameters.min_leaf,
        l2_regularization=parameters.l2,
        max_features=parameters.columns,
        categorical_features=list(range(len(categorical))) or None,
        early_stopping=False,
        random_state=SEED,
    )
    encode = ColumnTransformer([("categories", numbers, list(categorical))], remainder="passthrough")
    return Pipeline([("encode", encode), ("boosting", boosting)])


def _attempt(estimator: Any, table: Any, positive: Truths, parameters: Parameters) -> _Attempt:
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    margins = cross_val_predict(estimator, table, positive, cv=folds, method="decision_function")
    line = platt(margins, positive)
    probabilities = logistic(line(margins))
    loss = float(log_loss(positive.astype(int), probabilities))
    return _Attempt(parameters=parameters, line=line, probabilities=probabilities, log_loss=loss)
