"""What clients of the forecast service send and get.

Rejected input is hidden in errors because BentoML logs them, and a series may be a company's sales.
Examples stand on the fields: bentoml 1.4.39 fails to build when a model as a whole has some.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from bentos.forecast import dates
from bentos.forecast.dates import Frequency

MIN_VALUES, MAX_VALUES = 3, 10_000
MAX_HORIZON = 1_000
MAX_LEVELS = 5
MAX_SERIES = 32
LARGEST = 1e15  # absolute value; squares and sums of it are still exact enough
MOST_MISSING = 0.3  # of all values

AIR_PASSENGERS: list[float | None] = [
    112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118,
    115, 126, 141, 135, 125, 149, 170, 170, 158, 133, 114, 140,
    145, 150, 178, 163, 172, 178, 199, 199, 184, 162, 146, 166,
    171, 180, 193, 181, 183, 218, 230, 242, 209, 191, 172, 194,
]  # fmt: skip


Value = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Level = Annotated[float, Field(strict=True, ge=0.01, le=0.999, allow_inf_nan=False)]


class PredictRequest(BaseModel):
    """One series."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    # FailFast: a million bad values get one error, not a million.
    values: Annotated[list[Value | None], FailFast()] = Field(
        min_length=MIN_VALUES,
        max_length=MAX_VALUES,
        description="3 to 10,000 numbers at even distances in time, oldest first; null where one is missing.",
        examples=[AIR_PASSENGERS],
    )
    horizon: int = Field(strict=True, ge=1, le=MAX_HORIZON, description="How many values to forecast.", examples=[12])
    frequency: Frequency | None = Field(
        None,
        description="How far the values are apart. It decides which season is looked for: 4 quarters, 12 months, 52 "
        "weeks, 7 days or 24 hours; none for years, and where nothing is said.",
        examples=["monthly"],
    )
    levels: Annotated[list[Level], FailFast()] = Field(
        default=[0.8, 0.95],
        min_length=1,
        max_length=MAX_LEVELS,
        description="Probabilities with which future values lie in the intervals: 1 to 5 of them, 0.01 to 0.999.",
        examples=[[0.8, 0.95]],
    )
    start: str | None = Field(
        None,
        max_length=40,
        description="Date or time of the first value, in ISO 8601. With a frequency it gives the forecasts dates.",
        examples=["1949-01-01"],
    )

    @field_validator("values")
    @classmethod
    def _mostly_there(cls, values: list[float | None]) -> list[float | None]:
        there = sum(value is not None for value in values)
        if there < MIN_VALUES:
            raise PydanticCustomError("too_few", "at least 3 of the values must be numbers")
        if there < len(values) * (1 - MOST_MISSING):
            raise PydanticCustomError("too_many_missing", "at most 30 % of the values may be null")
        return values

    @field_validator("levels")
    @classmethod
    def _sorted_once(cls, levels: list[float]) -> list[float]:
        return sorted(set(levels))

    @field_validator("start")
    @classmethod
    def _within_the_calendar(cls, start: str | None, info: ValidationInfo) -> str | None:
        """Refuse here what could not be counted on from. The fields before it are known if they are valid."""
        if start is None:
            return None
        known = info.data
        try:
            time = dates.parse(start)
            if known.get("frequency") and "values" in known and "horizon" in known:
                dates.following(time, known["frequency"], len(known["values"]) + known["horizon"] - 1, 1)
        except ValueError as error:  # of fromisoformat and of years beyond 9999
            raise PydanticCustomError("date", "start must be a date of ISO 8601, all forecasts before 10000") from error
        except OverflowError as error:
            raise PydanticCustomError("date_range", "all forecasts must be before the year 10000") from error
        return start


class PredictBatchRequest(BaseModel):
    """Many series at once."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    series: Annotated[list[PredictRequest], FailFast()] = Field(
        min_length=1,
        max_length=MAX_SERIES,
        description="1 to 32 requests; the answer has one prediction for each, in the same order.",
        examples=[[{"values": [3, 5, 4, 6, 5, 7, 6, 8], "horizon": 2}, {"values": [10, 10, 10], "horizon": 1}]],
    )


class Interval(BaseModel):
    """Where each future value is to lie with a probability of `level`."""

    level: float = Field(description="The probability.", examples=[0.95])
    lower: list[float] = Field(description="One for each point.", examples=[[180.1]])
    upper: list[float] = Field(description="One for each point.", examples=[[221.4]])


class Backtest(BaseModel):
    """How the same average did on the series' own past, each time without what came after it."""

    smape: float = Field(ge=0, description="Mean symmetric absolute percentage error, in %.", examples=[4.1])
    mae: float = Field(ge=0, description="Mean absolute error, in the unit of the values.", examples=[7.3])
    naive_mae: float = Field(ge=0, description="That of repeating the last value (or season).", examples=[15.2])
    origins: int = Field(ge=1, description="From how many places in the past.", examples=[6])


class Prediction(BaseModel):
    """What the model expects of one series."""

    points: list[float] = Field(description="One for each step of the horizon.", examples=[[200.8]])
    dates: list[str] | None = Field(description="Of the points; null without start and frequency.")
    intervals: list[Interval] = Field(description="By rising level; each lies inside of the next.")
    model: str = Field(description="The method with the largest share in the average.", examples=["dynamic theta"])
    shares: dict[str, float] = Field(description="Share of each method in the average; together 1.")
    seasonal: bool = Field(description="Whether a season was found and is part of the forecast.", examples=[True])
    backtest: Backtest | None = Field(description="null for a series that is constant or has fewer than 6 values.")
    warnings: list[str] = Field(description="What to know before relying on the forecast.", examples=[[]])
    model_version: str = Field(description="Version of the model in the BentoML store.", examples=["cu6e43xfrshksax4"])
