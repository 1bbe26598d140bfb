"""The answer of the services that return models instead of numbers."""

from pydantic import BaseModel


class Prediction(BaseModel):
    """One score."""

    score: float
