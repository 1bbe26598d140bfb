"""What clients of the telecom_plan service send and get. Training accepts no other usage (training/classify.py).

Rejected input is hidden in errors because BentoML logs them, and usage is private.
Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # it brings NumPy, which the supervisor of `bentoml serve` can do without
    from models.telecom_plan import Advice

MAX_CUSTOMERS = 1024


class Usage(BaseModel):
    """What a customer used in a month."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    calls: int = Field(ge=0, le=10_000, description="Calls in the month.", examples=[60])
    minutes: float = Field(ge=0, le=44_640, description="Minutes of them; a month has 44,640.", examples=[420.5])
    messages: int = Field(ge=0, le=100_000, description="Text messages in the month.", examples=[30])
    mb_used: float = Field(ge=0, le=10_000_000, description="Data used in the month, in megabytes.", examples=[17_000])


EXAMPLE: dict[str, Any] = {name: (field.examples or [None])[0] for name, field in Usage.model_fields.items()}


class PredictBatchRequest(BaseModel):
    """Many customers at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    customers: list[Usage] = Field(
        min_length=1,
        max_length=MAX_CUSTOMERS,
        description="The usage of 1 to 1,024 customers; the answer has one prediction for each, in the same order.",
        examples=[[EXAMPLE, {"calls": 150, "minutes": 1100.0, "messages": 120, "mb_used": 38_000}]],
    )


class Prediction(BaseModel):
    """Which plan fits."""

    plan: Literal["smart", "ultra"] = Field(
        description="ultra when its probability is at least 0.5", examples=["smart"]
    )
    probability: float = Field(
        ge=0, le=1, description="That a customer with this usage is on ultra; calibrated.", examples=[0.22]
    )
    expected_fit: float = Field(
        ge=0,
        le=1,
        description="That the plan is right: the share of customers with such an answer who are on it.",
        examples=[0.78],
    )
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])

    @classmethod
    def of(cls, advice: "Advice", *, model_version: str) -> "Prediction":
        """The answer that an advice makes."""
        return cls(
            plan=advice.plan, probability=advice.probability, expected_fit=advice.fit, model_version=model_version
        )
