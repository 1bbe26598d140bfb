"""An upload: the picture is opened, and its width is the answer."""

import bentoml
from PIL.Image import Image


@bentoml.service
class Plain:
    """As the tutorial writes it."""

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Image) -> dict[str, int]:
        """How wide it is, in pixels."""
        return {"number": image.width}


@bentoml.service(tracing={"excluded_urls": "predict"}, logging={"access": {"enabled": False}})
class Tuned:
    """With every switch that makes `bentoml serve` faster (docs/serving.md)."""

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, image: Image) -> dict[str, int]:
        """How wide it is, in pixels."""
        return {"number": image.width}


@bentoml.service
class Async:
    """In the event loop."""

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, image: Image) -> dict[str, int]:
        """How wide it is, in pixels."""
        return {"number": image.width}
