"""Which of two mobile plans fits a customer's month: smart or ultra?

A calibrated classifier (classifier.py) of the plan that customers with such usage are on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models import classifier
from models.classifier import Classifier, Fitted, Parameters
from models.probability import Truths

Plan = Literal["smart", "ultra"]

KIND = "telecom_plan"
THRESHOLD = 0.5  # one mistake is as bad as the other, so that the likelier plan is the right answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What the model thinks of one customer.

    probability   of ultra
    fit           that `plan` is right: of all customers with such an answer this share is on that plan
    """

    plan: Plan
    probability: float
    fit: float


class TelecomPlanModel:
    """A fitted model. Immutable; safe to share between threads."""

    def __init__(self, fitted: Classifier) -> None:
        self.classifier = fitted

    def advise(self, usages: Sequence[Mapping[str, Any]]) -> list[Advice]:
        """Advice for each customer, in order. The model reads the fields it was fitted on and ignores others."""
        probabilities = self.classifier.probabilities(self.classifier.rows(usages))
        return [self._advice(probability) for probability in probabilities.tolist()]

    def _advice(self, probability: float) -> Advice:
        ultra = probability >= self.classifier.threshold
        return Advice(
            plan="ultra" if ultra else "smart",
            probability=probability,
            fit=probability if ultra else 1 - probability,
        )

    def to_bytes(self) -> bytes:
        """The model as bytes that hold no code."""
        return self.classifier.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "TelecomPlanModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        return cls(Classifier.from_bytes(data, kind=KIND))


def fit(table: Any, ultra: Truths, *, settings: Sequence[Parameters]) -> Fitted:
    """Fit on a pandas table of n customers and whether each is on ultra; see classifier.fit."""
    return classifier.fit(table, ultra, kind=KIND, categorical=(), settings=settings, threshold=lambda _: THRESHOLD)
