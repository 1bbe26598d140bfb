"""Which replicas are ejected again and again."""

from collections.abc import Set

_TOO_OFTEN = 3  # ejections of one replica: out for 5, 10 and 15 s, and each time as sick as before


class Ejections:
    """Counts from one look to the next; an ejection lasts longer than the pause between two looks."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}  # address -> how often
        self._out: Set[str] = frozenset()

    def note(self, out: Set[str], there: Set[str]) -> frozenset[str]:
        """The addresses, of those that are `out` now, that were put out too often.

        there  all addresses; who is not among them any more is forgotten
        """
        for address in out - self._out:
            self._times[address] = self._times.get(address, 0) + 1
        self._times = {address: times for address, times in self._times.items() if address in there}
        self._out = frozenset(out)
        return frozenset(address for address in out if self._times.get(address, 0) >= _TOO_OFTEN)
