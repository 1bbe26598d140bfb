"""The stored model, asked and answering in the words of the schema."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bentos.vehicle_price.schema import Listing, Prediction
from models import vehicle_price
from models.vehicle_price import Price, VehiclePriceModel

MODEL_FILE = "model.npz"


class Pricer:
    """Prices cars. Safe to share between threads."""

    def __init__(self, stored: Any) -> None:
        """Load a model of the BentoML store."""
        self.version = str(stored.tag.version)
        self._model = VehiclePriceModel.from_bytes(Path(stored.path_of(MODEL_FILE)).read_bytes())

    def answers(self, listings: Sequence[Listing]) -> list[Prediction]:
        """The prediction for each, in order; explained where it is asked for."""
        cars = [_car(listing) for listing in listings]
        asked = [place for place, listing in enumerate(listings) if listing.explain]
        explained = dict(zip(asked, self._model.explain([cars[place] for place in asked]), strict=True))
        return [self._answer(price, explained.get(place, {})) for place, price in enumerate(self._model.price(cars))]

    def _answer(self, price: Price, contributions: Mapping[str, float]) -> Prediction:
        largest_first = sorted(contributions.items(), key=lambda item: -abs(item[1]))
        return Prediction(
            price=round(price.price, 2),
            lower=round(price.lower, 2),
            upper=round(price.upper, 2),
            level=self._model.level,
            unseen=list(price.unseen),
            base=round(self._model.base, 2),
            contributions={field: round(dollars, 2) for field, dollars in largest_first},
            as_of=self._model.last_posted,
            model_version=self.version,
        )


def _car(listing: Listing) -> vehicle_price.Listing:
    return vehicle_price.Listing(**listing.model_dump(exclude={"explain"}))
