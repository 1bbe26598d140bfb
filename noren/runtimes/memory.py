"""A runtime without processes and an attic without a disk, for tests and for planning."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from noren.control.ports import Leftover, Replica, ReplicaState, made_of
from noren.domain.deployment import Revision
from noren.domain.errors import NotFound


class MemoryRuntime:
    """Replicas are ready as soon as they are asked for, unless their revision is listed as sick or broken."""

    def __init__(self) -> None:
        self.wanted: dict[str, int] = {}
        self.ever: set[str] = set()
        self.made: dict[str, str] = {}  # of what the copies of each revision are
        self.sick: set[str] = set()  # runs, but does not answer
        self.broken: dict[str, str] = {}  # keeps crashing, and why
        self.spare: int | None = None
        self.replaced: list[tuple[str, str]] = []  # "<revision>/<index>", and why
        self._restarts: Counter[str] = Counter()  # of each copy that is there, by the same name

    def start(self, revision: Revision) -> None:
        """See Runtime."""
        made = made_of(revision)
        if revision.name in self.wanted and self.made.get(revision.name, made) != made:
            return self.stop(revision.name, grace=timedelta(0))
        self.wanted[revision.name], self.made[revision.name] = revision.replicas, made
        self.ever.add(revision.name)
        return None

    def stop(self, revision: str, *, grace: timedelta) -> None:  # noqa: ARG002
        """See Runtime."""
        for index in range(self.wanted.pop(revision, 0)):
            del self._restarts[f"{revision}/{index}"]

    def replace(self, replica: Replica, reason: str) -> None:
        """See Runtime. The copy that takes its place is ready at once."""
        name = f"{replica.revision}/{replica.index}"
        if replica.index < self.wanted.get(replica.revision, 0) and replica.restarts == self._restarts[name]:
            self._restarts[name] += 1
            self.replaced.append((name, reason))

    def replicas(self) -> Sequence[Replica]:
        """See Runtime."""
        return [
            Replica(
                revision=name,
                index=index,
                state=self._state(name),
                address=f"{name}-{index}:3000",
                restarts=self._restarts[f"{name}/{index}"],
                detail=self.broken.get(name, ""),
                made_of=self.made.get(name, ""),
            )
            for name, count in self.wanted.items()
            for index in range(count)
        ]

    def spare_bytes(self) -> int | None:
        """See Runtime."""
        return self.spare

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """See Runtime."""
        if revision not in self.ever:
            raise NotFound(f"{revision} never ran here", fix="see `noren revisions`")
        return [f"0 | {revision} started"][-lines:]

    def _state(self, name: str) -> ReplicaState:
        if name in self.broken:
            return ReplicaState.BROKEN
        return ReplicaState.STARTING if name in self.sick else ReplicaState.READY


class MemoryAttic:
    """An attic without a disk. What lies in it is put there by the test."""

    def __init__(self) -> None:
        self.things: list[Leftover] = []
        self.stuck: set[str] = set()  # names of what cannot be removed

    def find(self, revisions: Sequence[Revision]) -> Sequence[Leftover]:  # noqa: ARG002
        """See Attic."""
        return list(self.things)

    def size_bytes(self, leftover: Leftover) -> int:  # noqa: ARG002
        """See Attic."""
        return 1_000

    def remove(self, leftover: Leftover) -> bool:
        """See Attic."""
        if leftover.name in self.stuck:
            return False
        key = leftover.kind, leftover.name
        self.things = [one for one in self.things if (one.kind, one.name) != key]
        return True
