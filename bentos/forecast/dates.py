"""When forecasts are for."""

import calendar
from datetime import datetime, timedelta
from typing import Literal

Frequency = Literal["yearly", "quarterly", "monthly", "weekly", "daily", "hourly"]

_MONTHS = {"yearly": 12, "quarterly": 3, "monthly": 1}
_STEPS = {"weekly": timedelta(weeks=1), "daily": timedelta(days=1), "hourly": timedelta(hours=1)}


def parse(text: str) -> datetime:
    """A date or time of ISO 8601. Raises ValueError."""
    return datetime.fromisoformat(text)


def following(start: datetime, frequency: Frequency, count: int, horizon: int) -> list[str]:
    """The times of the `horizon` values that follow `count` values from `start` on, in ISO 8601.

    Months keep their day; the 31st becomes the last day of shorter months. From a `start` at the end of its month on,
    every time is at the end. Raises ValueError or OverflowError beyond the year 9999.
    """
    times = [_after(start, frequency, number) for number in range(count, count + horizon)]
    only_days = frequency != "hourly" and start == datetime(start.year, start.month, start.day, tzinfo=start.tzinfo)
    return [time.date().isoformat() if only_days else time.isoformat() for time in times]


def _after(start: datetime, frequency: Frequency, steps: int) -> datetime:
    if frequency in _STEPS:
        return start + steps * _STEPS[frequency]
    years, month = divmod(start.month - 1 + steps * _MONTHS[frequency], 12)
    year = start.year + years
    last = calendar.monthrange(year, month + 1)[1]
    at_end = start.day == calendar.monthrange(start.year, start.month)[1]
    return start.replace(year=year, month=month + 1, day=last if at_end else min(start.day, last))
