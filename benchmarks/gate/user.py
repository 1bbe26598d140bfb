"""Who asks: mostly predictions, and now and then something else."""

import json
import random
from collections import Counter
from pathlib import Path

from locust import FastHttpUser, between, task

ROWS = json.loads((Path("~/.cache/noren/bench/models/forest.json").expanduser()).read_text())["items"]
chance = random.Random()
asked: Counter[str] = Counter()  # requests of each arm: their number is that of the arrival


class Guest(FastHttpUser):
    """Asks for one row at a time."""

    wait_time = between(0.1, 0.3)  # where Locust runs it alone (rivals.py); the gate has a schedule of its own

    @task(19)
    def predict(self) -> None:
        """One row."""
        self.client.post("/predict", json={"rows": [chance.choice(ROWS)], "asked": self._number()})

    @task(1)
    def describe(self) -> None:
        """The cheap endpoint."""
        self.client.post("/describe", json={"asked": self._number()})

    def _number(self) -> int:
        host = self.host or ""
        asked[host] += 1
        return asked[host] - 1
