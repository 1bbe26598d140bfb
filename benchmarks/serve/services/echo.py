"""No model: what is left is the server."""

import bentoml

from benchmarks.serve.message import Message


@bentoml.service
class Plain:
    """As the tutorial writes it."""

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, text: str, number: int) -> Message:
        """What was sent."""
        return Message(text=text, number=number)


@bentoml.service
class Async:
    """In the event loop."""

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, text: str, number: int) -> Message:
        """What was sent."""
        return Message(text=text, number=number)


@bentoml.service(tracing={"excluded_urls": "predict"}, logging={"access": {"enabled": False}})
class Tuned:
    """With every switch that makes `bentoml serve` faster (docs/serving.md)."""

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, text: str, number: int) -> Message:
        """What was sent."""
        return Message(text=text, number=number)
