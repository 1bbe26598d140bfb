"""Which replicas are ejected again and again."""

import time
from collections.abc import Callable, Set

_TOO_OFTEN = 3  # ejections of one replica: out for 5, 10 and 15 s, and each time as sick as before
_SETTLED_S = 60.0  # who was started just now is not started again because of what it answers


class Ejections:
    """Counts from one look to the next; an ejection lasts longer than the pause between two looks.

    clock  seconds that only rise; a replica is as old as we know its address, since when it started is a time of day
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # address -> when it was there for the first time
        self._times: dict[str, int] = {}  # ... -> how often
        self._out: Set[str] = frozenset()

    def note(self, out: Set[str], there: Set[str]) -> frozenset[str]:
        """The addresses, of those that are `out` now, that were put out too often and are older than a minute.

        there  all addresses; who is not among them any more is forgotten
        """
        now = self._clock()
        self._since = {address: self._since.get(address, now) for address in there}
        for address in out - self._out:
            self._times[address] = self._times.get(address, 0) + 1
        self._times = {address: times for address, times in self._times.items() if address in there}
        self._out = frozenset(out)
        often = {address for address, times in self._times.items() if times >= _TOO_OFTEN}
        return frozenset(address for address in out & often if now - self._since[address] >= _SETTLED_S)
