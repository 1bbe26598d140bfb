"""What clients of the churn service send and get. Training accepts no other customers (training/classify.py).

Rejected input is hidden in errors because BentoML logs them, and customers are private.
Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # it brings NumPy, which the supervisor of `bentoml serve` can do without
    from models.churn import Judgement

MAX_CUSTOMERS = 256


class Customer(BaseModel):
    """A customer of the bank."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    credit_score: int = Field(ge=300, le=850, description="Credit score, 300 to 850.", examples=[650])
    geography: Literal["France", "Germany", "Spain"] = Field(description="Country of the account.", examples=["France"])
    gender: Literal["Female", "Male"] = Field(description="As the bank has it.", examples=["Female"])
    age: int = Field(ge=18, le=110, description="Age in years.", examples=[45])
    tenure: float = Field(ge=0, le=80, description="Years as a customer.", examples=[3])
    balance: float = Field(ge=0, le=1e9, description="On the account, in euros.", examples=[75_000.0])
    num_of_products: int = Field(ge=1, le=4, description="Products of the bank that the customer has.", examples=[1])
    has_cr_card: bool = Field(description="Whether the customer has a credit card.", examples=[True])
    is_active_member: bool = Field(description="Whether the bank counts the customer as active.", examples=[False])
    estimated_salary: float = Field(ge=0, le=1e9, description="Estimated, in euros a year.", examples=[60_000.0])


EXAMPLE: dict[str, Any] = {name: (field.examples or [None])[0] for name, field in Customer.model_fields.items()}


class PredictBatchRequest(BaseModel):
    """Many customers at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    customers: list[Customer] = Field(
        min_length=1,
        max_length=MAX_CUSTOMERS,
        description="1 to 256 customers; the answer has one prediction for each, in the same order.",
        examples=[[EXAMPLE, {**EXAMPLE, "age": 30, "is_active_member": True}]],
    )


class Contribution(BaseModel):
    """What one field adds."""

    field: str = Field(description="Name of the field.", examples=["age"])
    log_odds: float = Field(description="What it adds to the log-odds of leaving.", examples=[0.8])


class Prediction(BaseModel):
    """What the model thinks of one customer.

    base_log_odds + all contributions + rest_log_odds = log(probability / (1 - probability)).
    """

    probability: float = Field(ge=0, le=1, description="That the customer leaves; calibrated.", examples=[0.27])
    decision: Literal["offer", "no_offer"] = Field(
        description="offer when the probability is at least the threshold", examples=["no_offer"]
    )
    threshold: float = Field(ge=0, le=1, description="From here on an offer costs less than none.", examples=[0.33])
    risk: Literal["low", "medium", "high"] = Field(
        description="low: probability below 0.2; high: from 0.5 on", examples=["medium"]
    )
    base_log_odds: float = Field(description="Mean log-odds of the customers of the training.", examples=[-1.7])
    contributions: list[Contribution] = Field(
        description="The five fields that add most, the largest first.",
        examples=[[{"field": "age", "log_odds": 0.8}]],
    )
    rest_log_odds: float = Field(description="What all other fields add together.", examples=[-0.1])
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])

    @classmethod
    def of(cls, judgement: "Judgement", *, threshold: float, model_version: str) -> "Prediction":
        """The answer that a judgement makes."""
        return cls(
            probability=judgement.probability,
            decision="offer" if judgement.offer else "no_offer",
            threshold=threshold,
            risk=judgement.risk,
            base_log_odds=judgement.base,
            contributions=[Contribution(field=field, log_odds=added) for field, added in judgement.contributions],
            rest_log_odds=judgement.rest,
            model_version=model_version,
        )
