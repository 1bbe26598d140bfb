"""What clients of the sentiment service send and get.

Rejected input is hidden in errors because BentoML logs them, and reviews may be private.
Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_CHARACTERS = 20_000
MAX_TEXTS = 256


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank_text", "text must contain more than white space")
    return text


Text = Annotated[
    str,
    AfterValidator(_not_blank),
    Field(min_length=1, max_length=MAX_CHARACTERS, json_schema_extra={"pattern": r"\S"}),
]


class PredictRequest(BaseModel):
    """One review."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    text: Text = Field(
        description="The review, in English; up to 20,000 characters.",
        examples=["A wonderful film, I would watch it again!"],
    )


class PredictBatchRequest(BaseModel):
    """Many reviews at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    texts: list[Text] = Field(
        min_length=1,
        max_length=MAX_TEXTS,
        description="1 to 256 reviews; the answer has one prediction for each, in the same order.",
        examples=[["The best tea I ever had.", "Stale and bitter."]],
    )


class Prediction(BaseModel):
    """What the model thinks of one review."""

    label: Literal["negative", "positive"] = Field(
        description="positive when the score is at least 0.5", examples=["positive"]
    )
    score: float = Field(ge=0, le=1, description="Probability that the review is positive.", examples=[0.97])
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])

    @classmethod
    def of(cls, score: float, *, model_version: str) -> "Prediction":
        """The answer that a score makes."""
        return cls(label="positive" if score >= 0.5 else "negative", score=score, model_version=model_version)
