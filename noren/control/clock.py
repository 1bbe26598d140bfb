"""The time of day that deadlines are measured by: whoever sets the machine's clock moves none of them."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

_FOLLOWS = 0.1  # of the time that passes


class SteadyClock:
    """The time of day, which neither jumps nor goes back by itself.

    wall     the machine's clock, which may do both; it is taken as it is only when this one is made
    seconds  that only rise, `time.monotonic`

    Where the two differ later, this clock follows the machine's by a tenth of the time that passes. A deadline is
    therefore at most a tenth too early or too late, whatever was done to the machine's clock.
    """

    def __init__(self, wall: Callable[[], datetime], seconds: Callable[[], float]) -> None:
        self._wall, self._seconds = wall, seconds
        self._time, self._at = wall(), seconds()
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """Now."""
        with self._lock:
            self._advance()
            return self._time

    def not_before(self, known: datetime) -> None:
        """Go on from `known`, if it is later: what was stored by then is not in the future."""
        with self._lock:
            self._advance()
            self._time = max(self._time, known)

    def not_after(self, known: datetime) -> None:
        """Go back to `known`, if it is earlier: for who dates for another, whose clock is not as far."""
        with self._lock:
            self._advance()
            self._time = min(self._time, known)

    def _advance(self) -> None:
        at = self._seconds()
        passed, self._at = at - self._at, at
        time = self._time + timedelta(seconds=passed)
        astray = (self._wall() - time).total_seconds()
        room = _FOLLOWS * passed
        self._time = time + timedelta(seconds=max(-room, min(astray, room)))
