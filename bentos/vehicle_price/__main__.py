"""Prices of many cars without a server: python -m bentos.vehicle_price batch cars.csv prices.csv."""

import sys
from collections.abc import Callable, Sequence

from bentos.batch import Job, main, newest
from bentos.vehicle_price.schema import Listing, Prediction


def load() -> tuple[str, Callable[[Sequence[Listing]], Sequence[Prediction]]]:
    """The version of the newest model in the BentoML store, and what prices cars. Raises BatchError."""
    from bentos.vehicle_price.pricer import Pricer

    pricer = Pricer(newest("vehicle_price"))
    return pricer.version, pricer.answers


if __name__ == "__main__":
    sys.exit(main(Job(row=Listing, load=load)))
