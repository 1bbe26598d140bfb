"""Whether replicas answer, and what that means beside how they answered before."""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto

import httpx

from noren.control.ports import ReplicaState
from noren.runtimes.leaving import Leaving
from noren.runtimes.record import Record, Records

_UNREADY_AFTER = 3  # failed probes in a row: one slow answer on a busy machine is no illness
# As long as Kubernetes waits by default, three probes ten seconds apart: a long computation may hold up a whole server.
HUNG_S = 30.0
HUNG = f"it has not answered for {HUNG_S:.0f} s"


class _Answer(Enum):
    READY = auto()
    NO = auto()  # it says that it is not, or nobody listens
    SILENCE = auto()  # somebody listens, and says nothing


class Probes:
    """Asks /readyz. Remembers who was ready once, for as long as it is asked about them."""

    def __init__(self) -> None:
        self._misses: dict[str, int] = {}  # key -> failed probes in a row, of those that were ready once
        self._silent: dict[str, float] = {}  # key -> since when it has said nothing
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
        self._http = httpx.Client(timeout=1.0, trust_env=False)

    def look(self, addresses: Mapping[str, str], served: AbstractSet[str] = frozenset()) -> dict[str, ReplicaState]:
        """STARTING, READY or UNREADY of everything that runs now.

        addresses  "host:port" by a key that no later life of the replica has: a pid, a container's id
        served     those that are known to have been ready in this life, whoever saw it
        """
        self._misses = {key: misses for key, misses in self._misses.items() if key in addresses}
        self._misses |= {key: 0 for key in served if key not in self._misses and key in addresses}
        self._silent = {key: since for key, since in self._silent.items() if key in addresses}
        answers = zip(addresses, self._threads.map(self._answer, addresses, addresses.values()), strict=True)
        return {key: self._state(key, answer) for key, answer in answers}

    def states(
        self, running: Mapping[str, tuple[str, str]], records: Records, wanted: Mapping[str, Record], leaving: Leaving
    ) -> dict[str, ReplicaState]:
        """How those that run are, by key. Who is ready is taken down: the next control plane may find it hanging.

        running  the name of the replica and its "host:port", by the same keys as for `look`
        """
        served = {key for key, (name, _) in running.items() if name in wanted and wanted[name].was_ready}
        found = self.look({key: address for key, (_, address) in running.items()}, served)
        for key, (name, _) in running.items():
            if name not in wanted or key in leaving:
                found[key] = ReplicaState.STOPPING
            elif found[key] is ReplicaState.READY:
                records.note_ready(name, wanted[name])
        return found

    def hung(self, for_s: float) -> set[str]:
        """The keys, of those that were ready once, that have listened and said nothing for so long."""
        now = time.monotonic()
        return {
            key
            for key, since in self._silent.items()
            if now - since >= for_s and self._misses.get(key, 0) >= _UNREADY_AFTER
        }

    def _answer(self, key: str, address: str) -> _Answer:
        """What it answers. Right after our own restart a busy replica is asked twice more."""
        for _ in range(1 if key in self._misses else 3):
            if (answer := self._ask(address)) is _Answer.READY:
                break
        return answer

    def _ask(self, address: str) -> _Answer:
        try:
            status = self._http.get(f"http://{address}/readyz").status_code
        except httpx.TimeoutException:
            return _Answer.SILENCE
        except httpx.HTTPError:
            return _Answer.NO
        return _Answer.READY if status == 200 else _Answer.NO

    def _state(self, key: str, answer: _Answer) -> ReplicaState:
        if answer is _Answer.SILENCE:
            self._silent.setdefault(key, time.monotonic())
        else:
            self._silent.pop(key, None)
        if answer is _Answer.READY:
            self._misses[key] = 0
            return ReplicaState.READY
        if key not in self._misses:
            return ReplicaState.STARTING
        self._misses[key] += 1
        return ReplicaState.UNREADY if self._misses[key] >= _UNREADY_AFTER else ReplicaState.READY
