"""What the control plane asks of the world. Drivers implement these; each has one contract suite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route
from noren.domain.observation import Counts, GateState, Lost, Weights
from noren.domain.verdict import Verdict

Metrics = Mapping[str, Mapping[str, float]]  # model -> metric -> value


class ReplicaState(StrEnum):
    """How a replica is."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"  # it was ready, and does not answer now
    WAITING = "waiting"  # it crashed; the runtime starts it again after a pause
    BROKEN = "broken"  # it keeps crashing
    STOPPING = "stopping"


RUNNING_STATES = frozenset({ReplicaState.STARTING, ReplicaState.READY, ReplicaState.UNREADY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One copy of a revision, as the machine has it now."""

    revision: str  # Revision.name
    index: int
    state: ReplicaState
    address: str = ""  # "127.0.0.1:41234"; "" while it does not run
    pid: int | None = None
    started_at: datetime | None = None
    restarts: int = 0
    detail: str = ""  # for WAITING and BROKEN: why it ended, with its last log lines
    memory_bytes: int = 0  # resident, of all its processes

    @property
    def identity(self) -> str:
        """What tells it from the one that was there before it was started again. No clock: that may be set."""
        return f"{self.index}: pid {self.pid}, {self.restarts} restarts"


class Runtime(Protocol):
    """Runs revisions. Every call may be repeated: the second one changes nothing.

    All methods raise DriverUnavailable for a passing fault, DriverError for a lasting one.
    """

    def start(self, revision: Revision) -> None:
        """Ask for `revision.replicas` copies; return without waiting for health."""
        ...

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """Ask every copy to end, and forget its crashes; whoever calls again after `grace` kills it."""
        ...

    def replicas(self) -> Sequence[Replica]:
        """Everything of ours that exists or keeps crashing, read from the machine, not from memory."""
        ...

    def spare_bytes(self) -> int | None:
        """Memory that more replicas could have; None where that cannot be told."""
        ...

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """The last lines of every copy, "<index> | " before each. Raises NotFound if it never ran here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All that the front door must know of one deployment."""

    deployment: str
    route: Route
    backends: Mapping[str, Sequence[str]]  # Revision.name -> addresses of its replicas, "host:port"
    weights: Weights
    green: str | None = None  # the revision that `x-noren-revision: green` reaches
    blue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorView:
    """What the front door does now, as it says itself."""

    weights: Mapping[str, Weights] = field(default_factory=dict)  # by deployment; those without traffic: {}
    healthy: Mapping[str, int] = field(default_factory=dict)  # Revision.name -> addresses that answer /readyz
    in_flight: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)


class FrontDoor(Protocol):
    """Splits traffic between revisions. Raises DriverUnavailable while it cannot be reached."""

    def publish(self, table: Table) -> None:
        """Put this table in the place of the deployment's last one. The same table again costs nothing."""
        ...

    def withdraw(self, deployment: str) -> None:
        """Forget the deployment."""
        ...

    def look(self) -> DoorView:
        """Ask the proxy, not our own files; start it if it does not run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRun:
    """One attempt at the gate: everything it needs, so that it survives the control plane."""

    name: str  # the same for the same attempt, so that starting it twice starts it once
    green: Revision
    blue: Revision | None  # what it is compared with
    attempt: int
    green_url: str  # where green answers through the front door, without its guests noticing
    blue_url: str | None
    headers: Mapping[str, Mapping[str, str]]  # "green"/"blue" -> headers that reach exactly that revision
    examples: tuple[Mapping[str, object], ...] = ()  # {"path", "body"}: example requests of the service
    metrics: Mapping[str, Metrics] = field(default_factory=dict)  # "green"/"blue" -> what training stored
    replicas: tuple[str, ...] = ()  # of green, those that are judged
    degraded: str = ""  # why `blue` is the revision that serves guests, and not its twin


class Gate(Protocol):
    """Judges a revision before its first guest."""

    def start(self, run: GateRun) -> None:
        """Begin in the background. A run of that name that was begun before is left alone."""
        ...

    def look(self, name: str) -> GateState | Lost | Verdict:
        """How the run of that name stands."""
        ...

    def busy(self) -> bool:
        """Whether any run of it goes on: two at once would measure each other."""
        ...

    def stop(self, name: str) -> None:
        """End it without a verdict, if it still runs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a deployment's history."""

    at: datetime
    kind: str  # an Action's name in lower case, a command, or "state"
    message: str
    id: int = 0  # given by the store; rises


class Store(Protocol):
    """Keeps what observation cannot tell."""

    def deployments(self) -> Sequence[Deployment]:
        """All of them, by name."""
        ...

    def load(self, name: str) -> Deployment:
        """Raise NotFound if there is none."""
        ...

    def save(
        self,
        deployment: Deployment,
        *,
        events: Sequence[Event] = (),
        revision: Revision | None = None,
        verdict: Verdict | None = None,
    ) -> Deployment:
        """Write all of it or nothing, and return it with its new version (0 before the first save).

        Raises Stale when someone else has saved since it was loaded: load again and decide again.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove the deployment with its history."""
        ...


class History(Protocol):
    """What a store remembers of a deployment's past. Each raises NotFound for an unknown deployment."""

    def revisions(self, name: str) -> Sequence[Revision]:
        """Oldest first."""
        ...

    def verdicts(self, name: str) -> Sequence[Verdict]:
        """Oldest first."""
        ...

    def events(self, name: str, *, after: int = 0) -> Sequence[Event]:
        """Those with a higher id than `after`, oldest first; at most 1,000."""
        ...


class Memory(Store, History, Protocol):
    """Both halves of one store."""


class Catalog(Protocol):
    """The built Bentos."""

    def resolve(self, bento: str) -> str:
        """The exact tag that "name", "name:latest" or "name:version" means now.

        Raises SpecError, naming what there is, when it means none.
        """
        ...

    def metrics(self, bento: str) -> Metrics:
        """The numbers that training stored with each of its models, by the model's name."""
        ...

    def examples(self, bento: str) -> tuple[Mapping[str, object], ...]:
        """Example requests of its service: {"path", "body", "synthetic", "output": JSON Schema of the answer}."""
        ...
