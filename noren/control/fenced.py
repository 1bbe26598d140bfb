"""The drivers as the loop of a leading control plane has them: when it leads no more, they change nothing for it.

Each change asks first. Store and front door know the highest epoch besides, and refuse who was stopped after asking.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from noren.control.ports import DoorView, Event, FrontDoor, Gate, GateRun, Replica, Runtime, Store, Table
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.errors import Stale
from noren.domain.observation import GateState, Lost
from noren.domain.verdict import Verdict


class Lead(Protocol):
    """What they ask."""

    @property
    def epoch(self) -> int | None:
        """By which this control plane leads; None while it does not."""
        ...

    def require(self) -> int:
        """The same. Raises DriverUnavailable when it does not lead."""
        ...

    def doubt(self) -> None:
        """Someone says that it does not: find out."""
        ...


class FencedStore:
    """See Store."""

    def __init__(self, store: Store, lead: Lead) -> None:
        self._store, self._lead = store, lead

    def deployments(self) -> Sequence[Deployment]:
        """See Store."""
        return self._store.deployments()

    def load(self, name: str) -> Deployment:
        """See Store."""
        return self._store.load(name)

    def save(self, deployment: Deployment, **what: Any) -> Deployment:
        """See Store."""
        try:
            return self._store.save(deployment, **what | {"epoch": self._lead.require()})
        except Stale:
            self._lead.doubt()
            raise

    def delete(self, name: str, **what: Any) -> None:
        """See Store."""
        try:
            self._store.delete(name, **what | {"epoch": self._lead.require()})
        except Stale:
            self._lead.doubt()
            raise

    def note(self, name: str, event: Event) -> None:
        """See Store."""
        self._lead.require()
        self._store.note(name, event)


class FencedDoor:
    """See FrontDoor. Who does not lead only looks."""

    def __init__(self, door: FrontDoor, lead: Lead) -> None:
        self._door, self._lead = door, lead

    def publish(self, table: Table, **_epoch: object) -> None:
        """See FrontDoor."""
        self._door.publish(table, epoch=self._lead.require())

    def withdraw(self, deployment: str, **_epoch: object) -> None:
        """See FrontDoor."""
        self._door.withdraw(deployment, epoch=self._lead.require())

    def look(self, **_epoch: object) -> DoorView:
        """See FrontDoor."""
        return self._door.look(epoch=self._lead.epoch)

    def epoch(self) -> int:
        """See FrontDoor."""
        return self._door.epoch()


class FencedRuntime:
    """See Runtime."""

    def __init__(self, runtime: Runtime, lead: Lead) -> None:
        self._runtime, self._lead = runtime, lead

    def start(self, revision: Revision) -> None:
        """See Runtime."""
        self._lead.require()
        self._runtime.start(revision)

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """See Runtime."""
        self._lead.require()
        self._runtime.stop(revision, grace=grace)

    def replace(self, replica: Replica, reason: str) -> None:
        """See Runtime."""
        self._lead.require()
        self._runtime.replace(replica, reason)

    def replicas(self) -> Sequence[Replica]:
        """See Runtime."""
        return self._runtime.replicas()

    def spare_bytes(self) -> int | None:
        """See Runtime."""
        return self._runtime.spare_bytes()

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """See Runtime."""
        return self._runtime.logs(revision, lines=lines)


class FencedGate:
    """See Gate."""

    def __init__(self, gate: Gate, lead: Lead) -> None:
        self._gate, self._lead = gate, lead

    def start(self, run: GateRun) -> None:
        """See Gate."""
        self._lead.require()
        self._gate.start(run)

    def look(self, name: str) -> GateState | Lost | Verdict:
        """See Gate."""
        return self._gate.look(name)

    def busy(self) -> bool:
        """See Gate."""
        return self._gate.busy()

    def stop(self, name: str) -> None:
        """See Gate."""
        self._lead.require()
        self._gate.stop(name)
