"""Who is to end, and what that takes: replicas that are not wanted, and those that another is to take the place of."""

import signal
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import timedelta

from noren.control.ports import made_of
from noren.domain.deployment import Revision

_UNKNOWN_AFTER_S = 2.0  # by then the front door has forgotten who leaves: a few ticks, and a look at a file
_GONE_AFTER_S = 37.0  # open requests have as long as noren-serve gives them, and some seconds
GRACE = timedelta(seconds=20)  # of a stray
MADE_OF = "NOREN_MADE_OF"  # in the environment of a replica


def is_stray(made: str | None, revision: Revision) -> bool:
    """Whether a replica of that name is of another revision. Those of which nothing is known are left in peace."""
    return bool(made) and made != made_of(revision)


class Leaving:
    """Who leaves, why, and what is due. Keys are those of processes: a later life of the replica has another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._why: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._why

    def why(self, key: str) -> str:
        """The reason it was given; "" when it does not leave."""
        return self._why.get(key, "")

    def begin(self, key: str, reason: str) -> bool:
        """From now on it leaves. False when it does already."""
        if key in self._why:
            return False
        self._why[key], self._since[key] = reason, self._clock()
        return True

    def due(self, key: str) -> signal.Signals | None:
        """What one that leaves is to be sent now."""
        waited = self._clock() - self._since[key]
        if waited >= _GONE_AFTER_S:
            return signal.SIGKILL
        if waited < _UNKNOWN_AFTER_S or key in self._told:
            return None
        self._told.add(key)
        return signal.SIGTERM

    def keep(self, keys: AbstractSet[str]) -> None:
        """Forget all others: they are gone."""
        for key in self._why.keys() - keys:
            del self._why[key], self._since[key]
        self._told &= keys


class Ending:
    """Who was asked to end, and when. Keys as above: another control plane may have started the replica again since."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def due(self, key: str, grace: timedelta) -> signal.Signals | None:
        """What it is to be sent now: it is asked once, and killed when its grace is over."""
        now, asked = self._clock(), key in self._since
        if now - self._since.setdefault(key, now) >= grace.total_seconds():
            return signal.SIGKILL
        return None if asked else signal.SIGTERM

    def keep(self, keys: AbstractSet[str]) -> None:
        """Forget all others: they are gone."""
        self._since = {key: since for key, since in self._since.items() if key in keys}
