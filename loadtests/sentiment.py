"""Locust users of the sentiment service.

    locust -f loadtests/sentiment.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere.
"""

import random
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: chooses among test sentences.
chance = random.Random()  # noqa: S311

SHORT = [
    "Loved it!",
    "Never again.",
    "Pretty good, actually.",
    "What a waste of money.",
    "Fine for the price.",
    "Absolutely delicious.",
    "It broke on day two.",
    "My kids adore this one.",
    "Meh.",
    "Best purchase of the year!",
]
MEDIUM = [
    "The tea arrived two days early and smells wonderful, though the tin had a small dent.",
    "I wanted to like this film, but the jokes fell flat and the ending made no sense at all.",
    "A quiet, patient story with two great leads; I was in tears by the last scene.",
    "The crackers were stale, the bag was half empty, and nobody answered my message.",
    "Not the strongest coffee I know, but smooth, and it does not upset my stomach.",
    "We watched it twice in one weekend and found something new the second time.",
    "The plot has holes you could drive a truck through, and the score is far too loud.",
    "My dog refuses every other brand now, which is a compliment and a problem.",
    "Beautiful pictures, wooden dialogue, and a villain who forgets his own plan.",
    "Great flavour, fair price, quick delivery: I have already ordered three more boxes.",
    "The sauce tastes of sugar and little else; I threw the second jar away unopened.",
    "It starts slowly, yet by the middle I had forgotten that I was sitting in a cinema.",
    "Überraschend gut! A café favourite, and the crème brûlée flavour is no gimmick.",
    "I have no idea who this was made for, because it bored both me and my children.",
    "Solid acting rescues a thin script, so I do not regret the evening.",
]
LONG_PARTS = [
    "I came to this with low expectations, since the first one had been a disappointment.",
    "The opening half hour is tense and clever, and the camera never shows more than it must.",
    "Then a second story begins that has little to do with the first, and the air goes out of it.",
    "Still, the lead carries even the weakest scenes with a look or a pause.",
    "The music deserves a mention as well: sparse, strange, and exactly right.",
    "My partner fell asleep, woke up, and had missed nothing, which says something about the middle.",
    "What stays with me is the final conversation in the kitchen, played almost in silence.",
    "Would I recommend it? To a patient viewer, yes, and to everyone else with a warning.",
]


class SentimentUser(FastHttpUser):
    """Mostly single reviews of mixed length, and now and then a batch."""

    wait_time = between(0.05, 0.15)

    @task(6)
    def short(self) -> None:
        """One short review."""
        self._predict(chance.choice(SHORT), name="/predict short")

    @task(6)
    def medium(self) -> None:
        """One review of a sentence or two."""
        self._predict(" ".join(chance.sample(MEDIUM, k=chance.randint(1, 2))), name="/predict medium")

    @task(2)
    def long(self) -> None:
        """One review of some 3,000 characters."""
        self._predict(" ".join(chance.choices(LONG_PARTS, k=36)), name="/predict long")

    @task(1)
    def batch(self) -> None:
        """Up to 32 reviews in one request."""
        texts = chance.choices(SHORT + MEDIUM, k=chance.randint(2, 32))
        with self.rest("POST", "/predict_batch", json={"texts": texts}, name="/predict_batch") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(texts):
                response.failure(f"expected {len(texts)} predictions")
            else:
                for answer in response.js:
                    if problem := _problem(answer):
                        response.failure(problem)

    def _predict(self, text: str, *, name: str) -> None:
        with self.rest("POST", "/predict", json={"text": text}, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(response.js):
                response.failure(problem)


def _problem(answer: Any) -> str | None:
    """What is wrong with a prediction; None if it is sound."""
    if not isinstance(answer, dict) or answer.keys() != {"label", "score", "model_version"}:
        return "not a prediction with label, score and model_version"
    score, label = answer["score"], answer["label"]
    if not isinstance(score, float | int) or not 0 <= score <= 1:
        return f"score {score!r} is not a probability"
    if label != ("positive" if score >= 0.5 else "negative"):
        return f"label {label!r} does not fit score {score}"
    if not answer["model_version"]:
        return "model_version is empty"
    return None
