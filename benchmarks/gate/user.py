"""Who asks: mostly predictions, and now and then something else."""

import json
import random
from pathlib import Path

from locust import FastHttpUser, task

ROWS = json.loads((Path("~/.cache/noren/bench/models/forest.json").expanduser()).read_text())["items"]
chance = random.Random()


class Guest(FastHttpUser):
    """Asks for one row at a time."""

    @task(19)
    def predict(self) -> None:
        """One row."""
        self.client.post("/predict", json={"rows": [chance.choice(ROWS)]})

    @task(1)
    def describe(self) -> None:
        """The cheap endpoint."""
        self.client.post("/describe", json={})
