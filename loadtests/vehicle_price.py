"""Locust users of the vehicle price service.

    locust -f loadtests/vehicle_price.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import random
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: chooses among test cars.
chance = random.Random()  # noqa: S311

CARS = [
    ("ford f-150", "pickup"),
    ("chevrolet silverado 1500", "truck"),
    ("ram 1500", "truck"),
    ("jeep wrangler", "SUV"),
    ("toyota camry", "sedan"),
    ("honda accord", "sedan"),
    ("toyota corolla", "sedan"),
    ("ford mustang", "coupe"),
    ("honda odyssey", "mini-van"),
    ("subaru outback", "wagon"),
    ("somebody's own make", "other"),
]
CONDITIONS = ["salvage", "fair", "good", "good", "excellent", "excellent", "like new", "new"]
PAINTS = ["white", "black", "silver", "grey", "blue", "red", None]


def listing(*, explain: bool) -> dict[str, Any]:
    """A made-up advert."""
    model, body = chance.choice(CARS)
    year = chance.randint(1995, 2019)
    return {
        "model": model,
        "model_year": year,
        "odometer": round(chance.uniform(4_000, 16_000) * (2019.5 - year)),
        "condition": chance.choice(CONDITIONS),
        "fuel": chance.choice(["gas", "gas", "gas", "diesel"]),
        "transmission": chance.choice(["automatic", "automatic", "manual"]),
        "type": body,
        "cylinders": chance.choice([4, 6, 8, None]),
        "paint_color": chance.choice(PAINTS),
        "is_4wd": chance.random() < 0.5,
        "explain": explain,
    }


class VehiclePriceUser(FastHttpUser):
    """Mostly single cars, some explained, one of them again and again, and now and then a batch."""

    wait_time = between(0.3, 0.9)

    @task(4)
    def explained(self) -> None:
        """One car, with what each field adds."""
        self._predict(listing(explain=True), name="/predict explained")

    @task(6)
    def plain(self) -> None:
        """One car, the price only."""
        self._predict(listing(explain=False), name="/predict plain")

    @task(3)
    def repeated(self) -> None:
        """The same car each time, which a cache may answer."""
        car = {"model": "toyota camry", "model_year": 2015, "odometer": 79212, "condition": "excellent"}
        kind = {"fuel": "gas", "transmission": "automatic", "type": "sedan", "explain": True}
        self._predict({**car, **kind}, name="/predict repeated")

    @task(1)
    def batch(self) -> None:
        """Up to 16 cars in one request."""
        listings = [listing(explain=False) for _ in range(chance.randint(2, 16))]
        with self.rest("POST", "/predict_batch", json={"listings": listings}, name="/predict_batch") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(listings):
                response.failure(f"expected {len(listings)} predictions")
            else:
                for answer in response.js:
                    if problem := _problem(answer, explained=False):
                        response.failure(problem)

    def _predict(self, car: dict[str, Any], *, name: str) -> None:
        with self.rest("POST", "/predict", json=car, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(response.js, explained=car["explain"]):
                response.failure(problem)


def _problem(answer: Any, *, explained: bool) -> str | None:
    """What is wrong with a prediction; None if it is sound."""
    numbers = ("price", "lower", "upper", "level", "base")
    others = ("unseen", "contributions", "as_of", "model_version")
    if not isinstance(answer, dict) or answer.keys() != {*numbers, *others}:
        return "not a prediction with its nine fields"
    if not all(isinstance(answer[name], float | int) for name in numbers):
        return "an amount is not a number"
    if not 0 <= answer["lower"] <= answer["price"] <= answer["upper"]:
        return f"price {answer['price']} lies outside of {answer['lower']} .. {answer['upper']}"
    if not answer["model_version"]:
        return "model_version is empty"
    if not explained:
        return "contributions, though none were asked for" if answer["contributions"] else None
    # Each amount is rounded to a cent.
    if abs(answer["base"] + sum(answer["contributions"].values()) - answer["price"]) > 0.2:
        return "contributions do not add up to the price"
    return None
