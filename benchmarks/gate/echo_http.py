"""The least that HttpUser can be asked: what the generator costs, and not the service."""

from locust import HttpUser, task


class Guest(HttpUser):
    """Says something and is told the same."""

    @task
    def say(self) -> None:
        """A small body each way."""
        self.client.post("/predict", json={"text": "quite good, and quick", "number": 7})
