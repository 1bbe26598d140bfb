"""What the trainings of the classifiers of tables share: rows as the service wants them, the split, the comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from models.classifier import FOLDS, SEED, Classifier, Fitted
from models.probability import Floats, Metrics, Truths, evaluate
from training import tables
from training.datasets import DataError
from training.trainer import Candidate, Data, Goal, Session

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

MODEL_FILE = "model.npz"
HELD_OUT = 0.2
_LEAST = 5 * FOLDS  # rows of each class


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """n rows that passed every check.

    fields     the columns are fields of the service, all of them or some
    positive   what is true of each row
    source     the rows as they came, without what only names them: two equal ones are twins
    """

    name: str
    fields: "pd.DataFrame"
    positive: Truths
    source: "pd.DataFrame"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A fitted classifier and the held-out rows that judged it.

    naive    of the share of positive training rows as everybody's probability
    linear   of a logistic regression on the same rows: what the trees are good for
    """

    fitted: Fitted
    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]
    probabilities: Floats
    metrics: Metrics
    naive: Metrics
    linear: Metrics

    @property
    def classifier(self) -> Classifier:
        """What is stored."""
        return self.fitted.classifier


def accepted(row: type[BaseModel], columns: Mapping[str, str]) -> "dict[str, pa.Column]":
    """What a service accepts, as columns of a table: what it could not be asked about is not trained on.

    columns   field of the service -> column of the table
    """
    fields = row.model_json_schema()["properties"]
    return {column: _column(fields[field]) for field, column in columns.items()}


def _column(field: Mapping[str, Any]) -> "pa.Column":
    import pandera.pandas as pa

    if "enum" in field:
        return pa.Column(checks=pa.Check.isin(field["enum"]))
    if field["type"] == "boolean":
        return pa.Column(float, checks=pa.Check.isin([0, 1]), coerce=True)
    checks = [pa.Check.in_range(field["minimum"], field["maximum"])]
    if field["type"] == "integer":
        # Not by the type of the column: 40.0, as pandas writes it, is a whole number.
        checks.append(pa.Check(lambda numbers: numbers % 1 == 0, error="whole_number"))
    return pa.Column(float, checks=checks, coerce=True)


def yes(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Where the answer is yes, however it is written."""
    return column.astype(str).str.lower().isin(["yes", "1", "1.0"])


def trained(
    run: Session,
    data: Labelled,
    *,
    fit: Callable[["pd.DataFrame", Truths], Fitted],
    categorical: Sequence[str] = (),
) -> Outcome:
    """Fit on four fifths, score on the fifth that is held out, both with the same share of positive rows."""
    learnt, test = _halves(data)
    with run.step("cross-validate and fit"):
        fitted = fit(data.fields.iloc[learnt], data.positive[learnt])
    with run.step(f"score {len(test):,} held-out rows"):
        probabilities = score(fitted.classifier, data.fields.iloc[test])
        linear = _linear(data, categorical, learnt, test)
    naive = np.full(len(test), data.positive[learnt].mean())
    metrics, baseline, reference = (
        evaluate(each, data.positive[test], threshold=fitted.classifier.threshold)
        for each in (probabilities, naive, linear)
    )
    return Outcome(
        fitted=fitted,
        train=learnt,
        test=test,
        probabilities=probabilities,
        metrics=metrics,
        naive=baseline,
        linear=reference,
    )


def cross_validated(run: Session, data: Labelled, *, fit: Callable[["pd.DataFrame", Truths], Fitted]) -> Floats:
    """The probability of every row, each by a model of the four fifths that it is not in.

    Five times as many rows judge so than are held out, though not quite the model that is saved. Raises DataError.
    """
    from sklearn.model_selection import StratifiedKFold

    _see_enough(data)
    found = np.empty(len(data.positive))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(data.fields, data.positive)
    for number, (learnt, rest) in enumerate(folds, start=1):
        with run.step(f"fit and score fold {number} of {FOLDS}"):
            fitted = fit(data.fields.iloc[learnt], data.positive[learnt])
            found[rest] = score(fitted.classifier, data.fields.iloc[rest])
    return found


def score(classifier: Classifier, fields: "pd.DataFrame") -> Floats:
    """The probabilities of the rows, by what serves them."""
    return classifier.probabilities(classifier.rows(fields.to_dict("records")))


def candidate(data: Labelled, outcome: Outcome, *, parameters: Mapping[str, Any], goals: Sequence[Goal]) -> Candidate:
    """What is saved, if it is better than the naive baseline in log loss.

    goals   without any, what the logistic regression reached is to beat
    """
    fitted = outcome.fitted
    train, test = data.source.iloc[outcome.train], data.source.iloc[outcome.test]
    return Candidate(
        data=Data(
            name=data.name,
            sha256=tables.sha256(data.source),
            train=len(train),
            test=len(test),
            twins=int(tables.twins(train, test).sum()),
        ),
        files={MODEL_FILE: outcome.classifier.to_bytes()},
        parameters={
            **asdict(fitted.parameters),
            **parameters,
            "fields": " ".join(outcome.classifier.columns),
            "slope": fitted.line.slope,
            "offset": fitted.line.offset,
            "threshold": outcome.classifier.threshold,
            "cross_validated_log_loss": fitted.log_loss,
            "seed": SEED,
        },
        metrics=asdict(outcome.metrics),
        baseline=asdict(outcome.naive),
        decides="log_loss",
        lower_is_better=True,
        goals=goals or _beat(outcome.linear),
    )


def _beat(linear: Metrics) -> tuple[Goal, ...]:
    return (
        Goal(metric="auc", value=round(linear.auc, 4)),
        Goal(metric="log_loss", value=round(linear.log_loss, 4), at_least=False),
    )


def _halves(data: Labelled) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row numbers for training and of the held-out fifth. Raises DataError when a class is too rare to learn."""
    from sklearn.model_selection import train_test_split

    _see_enough(data)
    rows = np.arange(len(data.positive))
    train, test = train_test_split(rows, test_size=HELD_OUT, stratify=data.positive, random_state=SEED)
    return train, test


def _see_enough(data: Labelled) -> None:
    positive = int(data.positive.sum())
    if min(positive, len(data.positive) - positive) < _LEAST:
        raise DataError(
            f"{data.name} has {positive:,} positive rows of {len(data.positive):,}",
            fix=f"provide at least {_LEAST} rows that are positive, and as many that are not",
        )


def _linear(
    data: Labelled, categorical: Sequence[str], train: npt.NDArray[np.intp], test: npt.NDArray[np.intp]
) -> Floats:
    """The probabilities that a logistic regression gives the test rows."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    known = [column for column in categorical if column in data.fields.columns]
    encode = ColumnTransformer(
        [("categories", OneHotEncoder(handle_unknown="ignore"), known)], remainder=StandardScaler(), sparse_threshold=0
    )
    regression = make_pipeline(encode, LogisticRegression(max_iter=1000))
    regression.fit(data.fields.iloc[train], data.positive[train])
    probabilities: Floats = regression.predict_proba(data.fields.iloc[test])[:, 1]
    return probabilities
