"""The least that FastHttpUser can be asked: what the generator costs, and not the service."""

from locust import FastHttpUser, task


class Guest(FastHttpUser):
    """Says something and is told the same."""

    @task
    def say(self) -> None:
        """A small body each way."""
        self.client.post("/predict", json={"text": "quite good, and quick", "number": 7})
