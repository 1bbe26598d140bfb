"""Locust users of the churn service.

    locust -f loadtests/churn.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import math
import random
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: makes up customers.
chance = random.Random()  # noqa: S311

FIELDS = {
    "probability",
    "decision",
    "threshold",
    "risk",
    "base_log_odds",
    "contributions",
    "rest_log_odds",
    "model_version",
}


def customer() -> dict[str, Any]:
    """A customer that the bank might have."""
    return {
        "credit_score": min(850, max(350, round(chance.gauss(650, 97)))),
        "geography": chance.choices(["France", "Germany", "Spain"], weights=[2, 1, 1])[0],
        "gender": chance.choice(["Female", "Male"]),
        "age": min(92, max(18, round(chance.gauss(39, 10)))),
        "tenure": chance.randint(0, 10),
        "balance": chance.choice([0.0, round(chance.uniform(50_000, 180_000), 2)]),
        "num_of_products": chance.choices([1, 2, 3, 4], weights=[50, 46, 3, 1])[0],
        "has_cr_card": chance.random() < 0.7,
        "is_active_member": chance.random() < 0.5,
        "estimated_salary": round(chance.uniform(100, 200_000), 2),
    }


REGULARS = [customer() for _ in range(20)]  # asked about again and again: what a cache is for


class ChurnUser(FastHttpUser):
    """Mostly single customers, some of them known, and now and then a batch."""

    wait_time = between(0.05, 0.15)

    @task(8)
    def new(self) -> None:
        """A customer who was not asked about before."""
        self._predict(customer(), name="/predict new")

    @task(4)
    def regular(self) -> None:
        """One of twenty."""
        self._predict(chance.choice(REGULARS), name="/predict regular")

    @task(1)
    def batch(self) -> None:
        """Up to 32 customers in one request."""
        customers = [customer() for _ in range(chance.randint(2, 32))]
        with self.rest("POST", "/predict_batch", json={"customers": customers}, name="/predict_batch") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(customers):
                response.failure(f"expected {len(customers)} predictions")
            elif problems := [problem for answer in response.js if (problem := _problem(answer))]:
                response.failure(problems[0])

    def _predict(self, body: dict[str, Any], *, name: str) -> None:
        with self.rest("POST", "/predict", json=body, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(response.js):
                response.failure(problem)


def _problem(answer: Any) -> str | None:
    """What is wrong with a prediction; None if it is sound."""
    if not isinstance(answer, dict) or answer.keys() != FIELDS:
        return f"not a prediction with {', '.join(sorted(FIELDS))}"
    probability, threshold = answer["probability"], answer["threshold"]
    for share in (probability, threshold):
        if not isinstance(share, float | int) or not 0 <= share <= 1:
            return f"{share!r} is not a probability"
    if answer["decision"] != ("offer" if probability >= threshold else "no_offer"):
        return f"decision {answer['decision']!r} does not fit {probability} and threshold {threshold}"
    if answer["risk"] != ("low" if probability < 0.2 else "medium" if probability < 0.5 else "high"):
        return f"risk {answer['risk']!r} does not fit {probability}"
    added = sum(one["log_odds"] for one in answer["contributions"])
    total = answer["base_log_odds"] + added + answer["rest_log_odds"]
    if abs(1 / (1 + math.exp(-total)) - probability) > 1e-6:
        return f"the contributions add up to log-odds of {total}, which is not {probability}"
    if not answer["model_version"]:
        return "model_version is empty"
    return None
