"""What clients of the vehicle price service send and get.

Rejected input is hidden in errors because BentoML logs them.
Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MAX_LISTINGS = 100

Condition = Literal["salvage", "fair", "good", "excellent", "like new", "new"]
Fuel = Literal["gas", "diesel", "hybrid", "electric", "other"]
Transmission = Literal["automatic", "manual", "other"]
Body = Literal[
    "SUV", "bus", "convertible", "coupe", "hatchback", "mini-van", "offroad", "other", "pickup", "sedan", "truck",
    "van", "wagon",
]  # fmt: skip
Paint = Literal[
    "black", "blue", "brown", "custom", "green", "grey", "orange", "purple", "red", "silver", "white", "yellow"
]


def one_spelling(name: Any) -> Any:
    """The name of a model as it is compared, in training too: "Ford  F-150 " is "ford f-150". What is no text stays."""
    return " ".join(name.lower().split()) if isinstance(name, str) else name


ModelName = Annotated[str, BeforeValidator(one_spelling), StringConstraints(min_length=1, max_length=60)]


class Listing(BaseModel):
    """A used car as it is advertised in the United States."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    model: ModelName = Field(
        description="Make and model, like `ford f-150`. One that was not in training is priced by the other fields, "
        "and `unseen` says so.",
        examples=["ford f-150"],
    )
    model_year: int = Field(ge=1900, le=2100, description="Year of the model.", examples=[2011])
    odometer: float = Field(ge=0, le=1_000_000, description="Miles driven.", examples=[145000])
    condition: Condition = Field(description="As the seller states it.", examples=["good"])
    fuel: Fuel = Field(description="What it runs on.", examples=["gas"])
    transmission: Transmission = Field(description="Kind of transmission.", examples=["automatic"])
    type: Body = Field(description="Kind of body.", examples=["pickup"])
    cylinders: int | None = Field(
        default=None, ge=1, le=16, description="Cylinders of the engine; null: not stated.", examples=[6]
    )
    paint_color: Paint | None = Field(default=None, description="Colour; null: not stated.", examples=["white"])
    is_4wd: bool = Field(default=False, description="Whether all four wheels are driven.", examples=[True])
    date_posted: date | None = Field(
        default=None,
        description="Day of the advert (ISO 8601), for the age of the car; null: the day of the last advert that the "
        "model was trained on. Prices are of the training data's time, whatever is given here.",
        examples=["2019-03-22"],
    )
    explain: bool = Field(
        default=False,
        description="Whether to tell what each field adds to the price; takes several times as long.",
        examples=[False],
    )

    @field_validator("date_posted")
    @classmethod
    def _not_before_the_car(cls, day: date | None, info: ValidationInfo) -> date | None:
        year = info.data.get("model_year")  # absent where it is wrong itself
        if day and year and year > day.year + 1:
            raise PydanticCustomError("posted_too_early", "date_posted lies more than a year before model_year")
        return day


class PredictRequest(Listing):
    """One car."""

    explain: bool = Field(
        default=True,
        description="Whether to tell what each field adds to the price; takes several times as long.",
        examples=[True],
    )


class PredictBatchRequest(BaseModel):
    """Many cars at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    listings: list[Listing] = Field(
        min_length=1,
        max_length=MAX_LISTINGS,
        description="1 to 100 cars; the answer has one prediction for each, in the same order.",
        examples=[
            [
                {
                    "model": "toyota camry", "model_year": 2015, "odometer": 79212, "condition": "excellent",
                    "fuel": "gas", "transmission": "automatic", "type": "sedan", "cylinders": 4,
                },
                {
                    "model": "bmw x5", "model_year": 2011, "odometer": 145000, "condition": "good",
                    "fuel": "gas", "transmission": "automatic", "type": "SUV", "is_4wd": True,
                },
            ]
        ],
    )  # fmt: skip


class Prediction(BaseModel):
    """What is asked for such a car. All amounts are US dollars."""

    price: float = Field(ge=0, description="Price that is to be expected.", examples=[9120.35])
    lower: float = Field(ge=0, description="Lower end of the interval.", examples=[5480.12])
    upper: float = Field(ge=0, description="Upper end of the interval.", examples=[12760.58])
    level: float = Field(gt=0, lt=1, description="Share of cars whose price lies in such an interval.", examples=[0.9])
    unseen: list[str] = Field(
        description="Fields whose values lie outside of what the model was trained on: trust this price less.",
        examples=[["model"]],
    )
    base: float = Field(description="Mean price in training, where contributions start.", examples=[12105.0])
    contributions: dict[str, float] = Field(
        description="What each field adds to `base`; together they give the price. Largest first. Empty unless asked "
        "for. `floor` lifts a price to the least that training held.",
        examples=[{"model_year": -3150.4, "model": 1275.9, "odometer": -1110.15}],
    )
    as_of: date = Field(
        description="Day of the last advert that the model was trained on: prices are of then.", examples=["2019-04-19"]
    )
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])
