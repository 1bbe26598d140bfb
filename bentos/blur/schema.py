"""What clients of the blur service send and get."""

from typing import ClassVar

from pydantic import BaseModel, Field

from bentos.blur.uploads import Upload, Uploads

MAX_IMAGES = 16


class PredictRequest(Uploads):
    """One photo: a form with the file `image`, or the file as the whole body."""

    image: Upload = Field(description="A JPEG, PNG or WebP image of up to 20 MB, not animated.")


class PredictBatchRequest(Uploads):
    """Several photos: a form with a file `images` for each."""

    max_files: ClassVar[int] = MAX_IMAGES

    images: list[Upload] = Field(
        min_length=1,
        max_length=MAX_IMAGES,
        description="1 to 16 images, together up to 100 MB; the answer has one verdict for each, in the same order.",
    )


class Prediction(BaseModel):
    """What the model thinks of one photo."""

    blurred: bool = Field(description="Whether the sharpness is below the threshold.", examples=[False])
    sharpness: float = Field(
        allow_inf_nan=False,
        description="Log-odds of being sharp, in nats: higher is sharper. Comparable between photos of one version.",
        examples=[3.1],
    )
    confidence: float = Field(ge=0, le=1, description="Probability that the verdict is right.", examples=[0.96])
    threshold: float = Field(
        allow_inf_nan=False, description="Sharpness below it counts as blurred; chosen in training.", examples=[0.2]
    )
    width: int = Field(ge=1, description="Of the image as it is shown, in pixels; EXIF may turn it.", examples=[4032])
    height: int = Field(ge=1, description="Of the image as it is shown, in pixels.", examples=[3024])
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])
