"""Forecasts of every series of a file: `python -m bentos.forecast batch IN OUT`.

A row has the fields of a request; in a .csv the values (and the levels) stand in one cell, with spaces between them and
"null" for one that is missing.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bentos.batch import Job, main, newest
from bentos.forecast.schema import Prediction, PredictRequest
from bentos.tables import Fields


def load() -> tuple[str, Callable[[Sequence[PredictRequest]], Sequence[Prediction]]]:
    """The newest model of the BentoML store. Raises BatchError."""
    from bentos.forecast.answers import answer
    from models.forecast import ForecastModel

    stored = newest("forecast")
    version = str(stored.tag.version)
    model = ForecastModel.from_bytes(Path(stored.path_of("model.json")).read_bytes())
    return version, lambda rows: [answer(model, row, version=version) for row in rows]


def read(fields: Fields) -> Fields:
    """A row of a table; what a .csv has as text is made numbers where it can be, and else is left to be rejected."""
    return {**fields, **{name: _READ[name](fields[name]) for name in _READ.keys() & fields.keys()}}


def _numbers(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return [None if word == "null" else float(word) for word in cell.split()]
    except ValueError:
        return cell


def _number(cell: Any) -> Any:
    return int(cell) if isinstance(cell, str) and cell.isdecimal() and len(cell) < 10 else cell


def _iso(cell: Any) -> Any:
    """Days and times have types of their own in Parquet."""
    return cell.isoformat() if isinstance(cell, date) else cell


_READ: dict[str, Callable[[Any], Any]] = {
    "values": _numbers,
    "levels": _numbers,
    "horizon": _number,
    "start": _iso,
}


if __name__ == "__main__":
    sys.exit(main(Job(row=PredictRequest, load=load, read=read)))
