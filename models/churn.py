"""Will a customer of the bank leave, is an offer worth its cost, and what speaks for it?

A calibrated classifier (classifier.py). Whether to make an offer follows from what mistakes cost, the risk level from
fixed bands of the probability, and the contributions are exact SHAP values in log-odds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models import classifier
from models.classifier import Classifier, Fitted, Parameters
from models.probability import Floats, Truths, logistic, threshold_by_cost

Risk = Literal["low", "medium", "high"]

KIND = "churn"
CATEGORICAL = ("geography", "gender")

MEDIUM_FROM = 0.2  # every fifth customer leaves: below this, one is safer than the average
HIGH_FROM = 0.5  # from here on leaving is likelier than staying
TOP = 5  # contributions that are told one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the model thinks of one customer. In log-odds: base + all contributions + rest = those of the probability.

    base            log-odds of the average customer
    contributions   (field, what it adds), the largest first
    rest            what all other fields add together
    """

    probability: float
    offer: bool
    risk: Risk
    base: float
    contributions: tuple[tuple[str, float], ...]
    rest: float


class ChurnModel:
    """A fitted model. Immutable; safe to share between threads."""

    def __init__(self, fitted: Classifier) -> None:
        self.classifier = fitted
        self._base = fitted.trees.expected

    @property
    def threshold(self) -> float:
        """Probability from which on an offer costs less than doing nothing."""
        return self.classifier.threshold

    def judge(self, customers: Sequence[Mapping[str, Any]]) -> list[Judgement]:
        """A judgement of each customer, in order. The model reads the fields it was fitted on and ignores others."""
        added = self.classifier.trees.contributions(self.classifier.rows(customers))
        probabilities = logistic(self._base + added.sum(axis=1))
        return [self._judgement(float(p), row) for p, row in zip(probabilities, added, strict=True)]

    def _judgement(self, probability: float, added: Floats) -> Judgement:
        order = np.argsort(-np.abs(added), kind="stable")
        return Judgement(
            probability=probability,
            offer=probability >= self.threshold,
            risk=risk(probability),
            base=self._base,
            contributions=tuple((self.classifier.columns[place], float(added[place])) for place in order[:TOP]),
            rest=float(added[order[TOP:]].sum()),
        )

    def to_bytes(self) -> bytes:
        """The model as bytes that hold no code."""
        return self.classifier.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ChurnModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        return cls(Classifier.from_bytes(data, kind=KIND))


def risk(probability: float) -> Risk:
    """The band that a probability lies in."""
    if probability < MEDIUM_FROM:
        return "low"
    return "medium" if probability < HIGH_FROM else "high"


def fit(table: Any, left: Truths, *, missed: float, settings: Sequence[Parameters]) -> Fitted:
    """Fit on a pandas table of n customers and whether each left; see classifier.fit.

    missed   what losing a customer without an offer costs, in needless offers
    """
    return classifier.fit(
        table,
        left,
        kind=KIND,
        categorical=[column for column in CATEGORICAL if column in table.columns],
        settings=settings,
        threshold=lambda probabilities: threshold_by_cost(probabilities, left, missed=missed),
    )
