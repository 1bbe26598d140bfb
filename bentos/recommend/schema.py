"""What clients of the recommender send and get.

Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some. Those of the fields of one
request fit together, so the first one of `user_id` is null.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MAX_LIKED = 1_000
MAX_K = 100
MAX_REQUESTS = 256
MAX_ID = 64
_NAMED = 5  # unknown items that an error names

_EXACT = 2**53  # beyond it a float may stand for several integers


def _id_as_text(value: Any) -> Any:
    """Numbers as they are written: tables make floats of them as soon as one is missing, so 196.0 is 196."""
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise PydanticCustomError("id_number", "a number that is an id must be whole")
        if isinstance(value, float) and abs(value) > _EXACT:
            raise PydanticCustomError("id_number", "a float of this size is not exact: send the id as text")
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(_id_as_text), Field(min_length=1, max_length=MAX_ID)]
Count = Annotated[int, Field(ge=1, le=MAX_K)]


class RecommendRequest(BaseModel):
    """Who wants recommendations: a user the model knows, or anybody by what they like."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    user_id: Id | None = Field(
        default=None,
        description="A user of the training data; somebody else gets what is popular. Either this or liked_items.",
        examples=[None, "196"],
    )
    liked_items: list[Id] | None = Field(
        default=None,
        validate_default=True,
        max_length=MAX_LIKED,
        description="Ids of up to 1,000 items that somebody likes; none: what is popular. Either this or user_id.",
        examples=[["50", "172", "181"]],
    )
    k: Count = Field(default=10, description="How many items to recommend; 1 to 100.", examples=[10])
    exclude_seen: bool = Field(
        default=True,
        description="Leave out what the user has rated, or likes.",
        examples=[True],
    )

    @field_validator("liked_items")
    @classmethod
    def _one_of_two(cls, liked: list[str] | None, info: ValidationInfo) -> list[str] | None:
        # A validator of the field and not of the whole, so that the error names a field. Without the key user_id is
        # wrong itself, which is told already.
        if "user_id" in info.data and (info.data["user_id"] is None) == (liked is None):
            raise PydanticCustomError("one_of_two", "exactly one of user_id and liked_items must be given")
        return liked


class RecommendBatchRequest(BaseModel):
    """Many requests at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requests: list[RecommendRequest] = Field(
        min_length=1,
        max_length=MAX_REQUESTS,
        description="1 to 256 requests; the answer has one list of recommendations for each, in the same order.",
        examples=[[{"liked_items": ["50", "172"], "k": 5}, {"user_id": "196"}]],
    )


class SimilarRequest(BaseModel):
    """What `GET /items/{id}/similar?k=10` asks."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: Id = Field(description="Id of an item.", examples=["50"])
    k: Count = Field(default=10, description="How many items to find; 1 to 100.", examples=[10])


class Item(BaseModel):
    """An item with its score."""

    id: str = Field(description="Its id.", examples=["174"])
    title: str = Field(description="What people call it.", examples=["Raiders of the Lost Ark (1981)"])
    score: float = Field(
        allow_inf_nan=False,
        description="The higher the better. Comparable within one answer only; no probability.",
        examples=[0.71],
    )


class Recommendations(BaseModel):
    """Items for a user, the best first."""

    items: list[Item] = Field(description="Up to k items, the best first.")
    cold_start: bool = Field(
        description="True when nothing is known of the user: the items are those that most people rated, the score is"
        " the share of people who did.",
        examples=[False],
    )
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])


class SimilarItems(BaseModel):
    """Items that the same people rated."""

    id: str = Field(description="The item that was asked about.", examples=["50"])
    title: str = Field(description="What people call it.", examples=["Star Wars (1977)"])
    items: list[Item] = Field(description="Up to k other items, the most similar first; the score is the cosine.")
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])


def unknown_items(items: Sequence[str]) -> PydanticCustomError:
    """What is wrong with these ids; names the first."""
    more = len(items) - _NAMED
    named = ", ".join(items[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
    return PydanticCustomError("unknown_items", "no such items: {named}", {"named": named})


def refusal(problem: PydanticCustomError, *where: str | int) -> ValidationError:
    """The problem as an error of the field at this place in the request; the servers answer 400 to it."""
    return ValidationError.from_exception_data(
        "request", [{"type": problem, "loc": where, "input": None}], hide_input=True
    )
