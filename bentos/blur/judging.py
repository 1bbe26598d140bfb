"""From bytes to an answer: what the service and the offline batch do alike."""

from pathlib import Path
from typing import Any

from bentos.blur.schema import Prediction
from models import blur, pictures
from models.blur import BlurModel
from models.pictures import Picture

MODEL_FILE = "model.json"


class Judge:
    """A model with its version. Safe to share between threads."""

    def __init__(self, stored: Any) -> None:
        """Take a model of the BentoML store."""
        self.version = str(stored.tag.version)
        self._model = BlurModel.from_bytes(Path(stored.path_of(MODEL_FILE)).read_bytes())

    def judge(self, data: bytes) -> Prediction:
        """The verdict on a photo. Raises PictureError."""
        picture = look_at(data)
        return self.verdict(blur.measure(picture.grey), width=picture.width, height=picture.height)

    def verdict(self, measured: dict[str, float], *, width: int, height: int) -> Prediction:
        """The verdict on what was measured in a photo of this size."""
        found = self._model.judge(measured)
        return Prediction(
            blurred=found.blurred,
            sharpness=found.sharpness,
            confidence=found.confidence,
            threshold=self._model.threshold,
            width=width,
            height=height,
            model_version=self.version,
        )


def look_at(data: bytes) -> Picture:
    """The photo as it is measured. Raises PictureError."""
    return pictures.read(data, long_side=blur.LONG_SIDE)
