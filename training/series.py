"""Series to learn forecasting from: each with values that are known and values that are to be forecast."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.forecast import OTHER, SEASONS
from models.smoothing import Floats
from training import tables
from training.datasets import DataError, bundle

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

M3_SERIES = 3_003
LARGEST = 1e15  # absolute value, as in the service
_FILE = "m3_series.csv.gz"
_LONGEST_HORIZON = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Forecast `actual` from `values`. `half`, 0 or 1: settings for one half are found on the other."""

    name: str
    frequency: str
    half: int
    values: Floats
    actual: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesData:
    """Tasks that passed every check.

    twins   tasks whose known values are also those of another, or that know the values they are to forecast already
    """

    name: str
    tasks: tuple[Task, ...]
    sha256: str
    twins: int


def m3(folder: Path) -> SeriesData:
    """`m3_series.csv.gz` in `folder` or in its folder `m3`: id, period, n, h, train and test, numbers apart by spaces.

    The 3,003 series of the M3 competition (Makridakis & Hibon 2000), or your own in that form. Raises DataError.
    """
    texts = {"id": str, "period": str, "train": str, "test": str}  # else a single number would be read as one
    table = tables.read_csv(bundle(folder, "m3"), _FILE, dtype=texts)
    table = tables.checked(table, _schema(), where=_FILE)
    return _data("m3", tuple(_m3_tasks(table)), table)


def built_in() -> SeriesData:
    """Cuts of three series that ship inside PyPI packages. Raises DataError.

    AirPassengers (144 months), CO2 on Mauna Loa (526 monthly means), sunspots (309 years). Every cut forecasts what
    follows it, and no value is forecast twice; the earlier cuts are one half, the later ones the other.
    """
    import pandas as pd

    try:
        from statsmodels.datasets import co2, sunspots
    except ImportError as error:
        raise DataError(
            "the built-in series need the package statsmodels", fix="install the training tools: uv sync --group train"
        ) from error
    passengers = tables.built_in("datasets", "AirPassengers")["value"]
    carbon = co2.load_pandas().data["co2"].resample("MS").mean().interpolate()
    spots = sunspots.load_pandas().data["SUNACTIVITY"]
    tasks = (
        *_cuts("AirPassengers", "monthly", _numbers(passengers), first=48, horizon=12),
        *_cuts("co2", "monthly", _numbers(carbon), first=120, horizon=12),
        *_cuts("sunspots", "yearly", _numbers(spots), first=50, horizon=6),
    )
    table = pd.DataFrame({"series": np.concatenate([_numbers(one) for one in (passengers, carbon, spots)])})
    return _data("built-in", tasks, table)


def _cuts(name: str, frequency: str, values: Floats, *, first: int, horizon: int) -> Iterator[Task]:
    """Tasks that know up to 120 values each; the first one knows `first`."""
    ends = range(first, len(values) - horizon + 1, horizon)
    for number, end in enumerate(ends):
        yield Task(
            name=f"{name} {end}",
            frequency=frequency,
            half=int(number >= len(ends) / 2),
            values=values[max(0, end - 120) : end],
            actual=values[end : end + horizon],
        )


def _schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    numbers = pa.Check(_is_numbers, element_wise=True, error=f"numbers up to {LARGEST:g}, apart by spaces")
    periods = sorted(name.upper() for name in ("yearly", OTHER, *SEASONS))
    return pa.DataFrameSchema(
        {
            "id": pa.Column(unique=True),
            "period": pa.Column(checks=pa.Check.isin(periods)),
            "n": pa.Column(int, pa.Check.ge(3), coerce=True),
            "h": pa.Column(int, pa.Check.in_range(1, _LONGEST_HORIZON), coerce=True),
            "train": pa.Column(checks=numbers),
            "test": pa.Column(checks=numbers),
        }
    )


def _is_numbers(text: Any) -> bool:
    try:
        return all(abs(float(word)) <= LARGEST for word in str(text).split())  # false for NaN, too
    except ValueError:
        return False


def _m3_tasks(table: "pd.DataFrame") -> Iterator[Task]:
    seen: dict[str, int] = {}
    for row in table.itertuples(index=False):
        values, actual = _parsed(row.train), _parsed(row.test)
        if (len(values), len(actual)) != (row.n, row.h):
            raise DataError(
                f"{_FILE}: {row.id} has {len(values)} and {len(actual)} values, but says n = {row.n} and h = {row.h}",
                fix="mend the row",
            )
        frequency = str(row.period).lower()
        seen[frequency] = number = seen.get(frequency, -1) + 1
        yield Task(name=str(row.id), frequency=frequency, half=number % 2, values=values, actual=actual)


def _data(name: str, tasks: Sequence[Task], table: "pd.DataFrame") -> SeriesData:
    if len({task.half for task in tasks}) < 2:
        raise DataError(f"the data {name!r} have too few series", fix="provide at least two of one frequency")
    known = [task.values.tobytes() for task in tasks]
    again = len(known) - len(set(known)) + sum(map(_knows_its_future, tasks))
    return SeriesData(name=name, tasks=tuple(tasks), sha256=tables.sha256(table), twins=again)


def _knows_its_future(task: Task) -> bool:
    """Whether what is to be forecast is also the end of what is known; a constant end proves nothing."""
    end = task.values[-len(task.actual) :]
    return bool(np.ptp(task.actual) > 0) and np.array_equal(end, task.actual)


def _parsed(text: Any) -> Floats:
    return np.array(str(text).split(), dtype=np.float64)


def _numbers(column: Any) -> Floats:
    return np.asarray(column, dtype=np.float64)
