"""Whether the gate tells how long guests really waited for a service that stood still: no coordinated omission.

The truth does not come from the generator's clock. Each request carries the number of its arrival, and the service
writes down when its answer left, by the machine's monotonic clock. The schedule says when each arrival was due. The
difference is what its guest waited for the service: stall, queue behind the stall and all, without any model of them,
and for the very arrivals that the gate reports of, so that chance in their number is no difference. What the
generator adds or leaves out shows: a request that it sends only after the stall still counts from when it was due, and
one that it did not record counts too.

The two clocks have different zeros. They are joined at the request that was under way for the shortest time: nobody
can come before the request is due, so the error is that request's way to the service, a millisecond of several hundred.

What is left to doubt is the schedule itself, which the generator drew: did it ask during stalls as often as at
any other time? `due_in_stalls` says so, and is 1 for arrivals that do not care what the service does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_NEVER_S = 3600.0  # what is never answered lasts longer than anything that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a service wrote down of itself; seconds of the machine's monotonic clock, an entry for each request."""

    asked: NDArray[np.int64]  # the number of the arrival
    came_s: Floats
    left_s: Floats
    pauses: Floats  # a row of begin and end for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the guests of one arm met. `due_in_stalls`: arrivals due while it stood still, over those expected then."""

    p99_ms: float
    stalls: int
    due_in_stalls: float


def read_record(file: Path) -> Record:
    """What service.py wrote. A last line that is not whole is left out."""
    lines = [line.split() for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    answers = [(int(what), float(began), float(ended)) for what, began, ended in lines if what != "pause"]
    pauses = [(float(began), float(ended)) for what, began, ended in lines if what == "pause"]
    table = np.array(answers, dtype=np.float64).reshape(-1, 3)
    return Record(
        asked=table[:, 0].astype(np.int64),
        came_s=table[:, 1],
        left_s=table[:, 2],
        pauses=np.array(pauses, dtype=np.float64).reshape(-1, 2),
    )


def truth(record: Record, rows: NDArray[Any], until_s: float) -> Truth:
    """What the guests met whose arrivals were due in the first `until_s` seconds after the warm-up.

    rows  of duet.ROW: the arm's, of which only the arrivals' numbers and due times are read
    """
    numbers, first = np.unique(rows["arrival"], return_index=True)
    # An arrival that the gate has no row of lies between its neighbours. Beyond the last row nothing is reported of.
    due_s = np.interp(record.asked, numbers, rows["due_s"][first], left=-np.inf, right=np.inf)
    counted = (due_s >= 0) & (due_s < until_s)
    began_s = float(np.min((record.came_s - due_s)[counted & np.isin(record.asked, numbers)]))
    unanswered = np.count_nonzero(~np.isin(_counted(rows, until_s), record.asked))
    latency_s = np.append((record.left_s - began_s - due_s)[counted], np.full(unanswered, _NEVER_S))
    pauses = np.clip(record.pauses - began_s, 0, until_s)
    pauses = pauses[pauses[:, 1] > pauses[:, 0]]
    met = sum(int(np.count_nonzero((due_s >= begin) & (due_s < end))) for begin, end in pauses)
    expected = float(np.sum(pauses[:, 1] - pauses[:, 0])) / until_s * int(np.count_nonzero(counted))
    return Truth(
        p99_ms=float(np.quantile(latency_s, 0.99)) * 1000,
        stalls=len(pauses),
        due_in_stalls=met / expected if expected else 1.0,
    )


def _counted(rows: NDArray[Any], until_s: float) -> NDArray[np.int64]:
    """Numbers of the arrivals of which the gate reports."""
    numbers: NDArray[np.int64] = np.unique(rows["arrival"][(rows["due_s"] >= 0) & (rows["due_s"] < until_s)])
    return numbers
