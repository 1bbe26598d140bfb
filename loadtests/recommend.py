"""Locust users of the recommendation service, with a model of MovieLens 100K.

    locust -f loadtests/recommend.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import random
from collections.abc import Sequence
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: chooses among users and films.
chance = random.Random()  # noqa: S311

USERS = [str(number) for number in range(1, 944)]
FILMS = [str(number) for number in range(1, 1683)]
# Look-ups go to few films, because BentoML counts requests by path.
FAMOUS = ["1", "50", "56", "98", "100", "127", "172", "174", "181", "258", "286", "294"]


class RecommendUser(FastHttpUser):
    """Mostly known users and people with some films that they like; now and then a stranger, a look-up, a batch."""

    wait_time = between(0.05, 0.15)

    @task(6)
    def known(self) -> None:
        """Somebody the model knows."""
        self._predict({"user_id": chance.choice(USERS), "k": chance.choice([5, 10, 20])}, name="/predict user")

    @task(6)
    def liked(self) -> None:
        """Somebody by what they like."""
        liked = chance.sample(FILMS, k=chance.randint(1, 60))
        self._predict({"liked_items": liked}, name="/predict liked")

    @task(1)
    def stranger(self) -> None:
        """Somebody new, with nothing known."""
        body = {"user_id": f"new-{chance.randint(1, 10**9)}"} if chance.random() < 0.5 else {"liked_items": []}
        self._predict(body, name="/predict stranger", cold=True)

    @task(2)
    def similar(self) -> None:
        """What is like a film."""
        film = chance.choice(FAMOUS)
        with self.rest("GET", f"/items/{film}/similar?k=5", name="/items/[id]/similar") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, dict) or response.js.keys() != {"id", "title", "items", "model_version"}:
                response.failure("not an answer with id, title, items and model_version")
            elif problem := _bad_items(response.js["items"], 5, [film]):
                response.failure(problem)

    @task(1)
    def batch(self) -> None:
        """Up to 32 users in one request."""
        requests = [{"user_id": user} for user in chance.sample(USERS, k=chance.randint(2, 32))]
        with self.rest("POST", "/predict_batch", json={"requests": requests}, name="/predict_batch") as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(requests):
                response.failure(f"expected {len(requests)} answers")
            else:
                for answer in response.js:
                    if problem := _problem(answer, 10, []):
                        response.failure(problem)

    def _predict(self, body: dict[str, Any], *, name: str, cold: bool = False) -> None:
        with self.rest("POST", "/predict", json=body, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(response.js, body.get("k", 10), body.get("liked_items", [])):
                response.failure(problem)
            elif cold and not response.js["cold_start"]:
                response.failure("a stranger was taken for somebody known")


def _problem(answer: Any, k: int, liked: Sequence[str]) -> str | None:
    """What is wrong with recommendations; None if they are sound."""
    if not isinstance(answer, dict) or answer.keys() != {"items", "cold_start", "model_version"}:
        return "not an answer with items, cold_start and model_version"
    if not isinstance(answer["cold_start"], bool):
        return f"cold_start is {answer['cold_start']!r}"
    if not answer["model_version"]:
        return "model_version is empty"
    return _bad_items(answer["items"], k, liked)


def _bad_items(items: Any, k: int, excluded: Sequence[str]) -> str | None:
    """What is wrong with k items, the best first, that must not be among the excluded; None if they are sound."""
    if not isinstance(items, list) or len(items) != k:
        return f"expected {k} items"
    if any(not isinstance(item, dict) or item.keys() != {"id", "title", "score"} for item in items):
        return "an item without id, title and score"
    ids, scores = [item["id"] for item in items], [item["score"] for item in items]
    if len(set(ids)) != k:
        return "an item comes twice"
    if seen := set(ids) & set(excluded):
        return f"items that were seen: {sorted(seen)}"
    if scores != sorted(scores, reverse=True):
        return "the best item is not the first"
    return None
