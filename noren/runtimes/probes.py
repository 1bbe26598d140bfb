"""Whether replicas answer, and what that means beside how they answered before."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from noren.control.ports import ReplicaState

_UNREADY_AFTER = 3  # failed probes in a row: one slow answer on a busy machine is no illness


class Probes:
    """Asks /readyz. Remembers who was ready once, for as long as it is asked about them."""

    def __init__(self) -> None:
        self._misses: dict[str, int] = {}  # key -> failed probes in a row, of those that were ready once
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
        self._http = httpx.Client(timeout=1.0, trust_env=False)

    def look(self, addresses: Mapping[str, str]) -> dict[str, ReplicaState]:
        """STARTING, READY or UNREADY of everything that runs now.

        addresses  "host:port" by a key that no later life of the replica has: a pid, a container's id
        """
        self._misses = {key: misses for key, misses in self._misses.items() if key in addresses}
        answers = zip(addresses, self._threads.map(self._answers, addresses, addresses.values()), strict=True)
        return {key: self._state(key, answers=answered) for key, answered in answers}

    def _answers(self, key: str, address: str) -> bool:
        """Whether it answers 200. Right after our own restart a busy replica is asked twice more."""
        return any(self._ask(address) for _ in range(1 if key in self._misses else 3))

    def _ask(self, address: str) -> bool:
        try:
            return self._http.get(f"http://{address}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _state(self, key: str, *, answers: bool) -> ReplicaState:
        if answers:
            self._misses[key] = 0
            return ReplicaState.READY
        if key not in self._misses:
            return ReplicaState.STARTING
        self._misses[key] += 1
        return ReplicaState.UNREADY if self._misses[key] >= _UNREADY_AFTER else ReplicaState.READY
