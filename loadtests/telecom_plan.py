"""Locust users of the telecom_plan service.

    locust -f loadtests/telecom_plan.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import random
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: makes up customers.
chance = random.Random()  # noqa: S311


def usage() -> dict[str, Any]:
    """What a customer might use in a month."""
    calls = min(240, max(0, round(chance.gauss(63, 33))))
    return {
        "calls": calls,
        "minutes": round(calls * max(0.0, chance.gauss(7, 0.7)), 2),
        "messages": chance.choice([0, chance.randint(1, 150)]),
        "mb_used": round(max(0.0, chance.gauss(17_200, 7_500)), 2),
    }


REGULARS = [usage() for _ in range(20)]  # asked about again and again: what a cache is for


class TelecomPlanUser(FastHttpUser):
    """Mostly single customers, some of them known, and now and then a batch."""

    wait_time = between(0.05, 0.15)

    @task(8)
    def new(self) -> None:
        """A usage that was not asked about before."""
        self._predict(usage(), name="/predict new")

    @task(4)
    def regular(self) -> None:
        """One of twenty."""
        self._predict(chance.choice(REGULARS), name="/predict regular")

    @task(1)
    def batch(self) -> None:
        """Up to 64 customers in one request."""
        customers = [usage() for _ in range(chance.randint(2, 64))]
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
    if not isinstance(answer, dict) or answer.keys() != {"plan", "probability", "expected_fit", "model_version"}:
        return "not a prediction with plan, probability, expected_fit and model_version"
    probability, fit = answer["probability"], answer["expected_fit"]
    for share in (probability, fit):
        if not isinstance(share, float | int) or not 0 <= share <= 1:
            return f"{share!r} is not a probability"
    if answer["plan"] != ("ultra" if probability >= 0.5 else "smart"):
        return f"plan {answer['plan']!r} does not fit {probability}"
    if abs(fit - max(probability, 1 - probability)) > 1e-9:
        return f"expected_fit {fit} does not fit {probability}"
    if not answer["model_version"]:
        return "model_version is empty"
    return None
