"""What the control plane asks of the world. Drivers implement these; each has one contract suite."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
    sick: str = ""  # why another should take its place; "": no reason
    made_of: str = ""  # `made_of` the revision that it was started for; "" where that was not taken down

    @property
    def identity(self) -> str:
        """What tells it from the one that was there before it was started again. No clock: that may be set."""
        return f"{self.index}: pid {self.pid}, {self.restarts} restarts"


def made_of(revision: Revision) -> str:
    """What a replica of it is, in 16 letters. Of named fields: a new one must not turn all that runs into strays."""
    limits = revision.resources
    cpu = None if limits.cpu is None else float(limits.cpu)
    parts = [revision.bento, revision.server, revision.workers, cpu, limits.memory_bytes, sorted(revision.env.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Runtime(Protocol):
    """Runs revisions. Every call may be repeated: the second one changes nothing.

    All methods raise DriverUnavailable for a passing fault, DriverError for a lasting one.
    """

    def start(self, revision: Revision) -> None:
        """Ask for `revision.replicas` copies; return without waiting for health.

        A copy of that name that is made of something else is asked to end, and another comes when it is gone.
        """
        ...

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """Ask every copy to end, and forget its crashes; whoever calls again after `grace` kills it."""
        ...

    def replace(self, replica: Replica, reason: str) -> None:
        """End this very copy, so that `start` brings another in its place. Called again until it is gone.

        One that is UNREADY answers nobody and ends at once. Any other is STOPPING from now on, so that the front door
        forgets it; a moment later it is asked to end, and has time for its open requests.
        """
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
    # Addresses that were ejected for their answers again and again, and are now; of those there for a minute or more.
    sick: frozenset[str] = frozenset()


class FrontDoor(Protocol):
    """Splits traffic between revisions. Raises DriverUnavailable while it cannot be reached.

    Whoever writes says by which epoch it leads. One below the highest that ever wrote changes nothing, and is refused
    with DriverUnavailable: another control plane leads.
    """

    def publish(self, table: Table, *, epoch: int = 0) -> None:
        """Put this table in the place of the deployment's last one. The same table again costs nothing."""
        ...

    def withdraw(self, deployment: str, *, epoch: int = 0) -> None:
        """Forget the deployment."""
        ...

    def look(self, *, epoch: int | None = 0) -> DoorView:
        """Ask the proxy, not our own files; start it if it does not run. With None only look: that is no leader's."""
        ...

    def epoch(self) -> int:
        """The highest that ever wrote; 0 before the first."""
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
    emergency: bool = False  # blue is said to be broken: nothing is compared with it


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
    """One line of history: what happened, who asked for it and why. Never changed and never deleted."""

    at: datetime
    kind: str  # an Action's name in lower case, a command, "refused", "unchanged", "state" or "prune"
    message: str
    who: str = ""  # asked for it; "": Noren itself
    claimed: bool = False  # by their own word: nobody checked it
    reason: str = ""  # why they asked
    before: Mapping[str, object] = field(default_factory=dict)  # of the deployment: audit.snapshot; {}: not there
    after: Mapping[str, object] = field(default_factory=dict)
    deployment: str = ""  # given by the store; "": the whole home
    id: int = 0  # given by the store; rises


class Store(Protocol):
    """Keeps what observation cannot tell."""

    def deployments(self) -> Sequence[Deployment]:
        """All of them that can be read, by name: one that a newer Noren wrote stops none of the others."""
        ...

    def load(self, name: str) -> Deployment:
        """Raise NotFound if there is none, DriverError if it cannot be read."""
        ...

    def save(
        self,
        deployment: Deployment,
        *,
        events: Sequence[Event] = (),
        revision: Revision | None = None,
        verdict: Verdict | None = None,
        epoch: int | None = None,
    ) -> Deployment:
        """Write all of it or nothing, and return it with its new version (0 before the first save).

        epoch  by which the writer leads; None: a person asked for it, and any control plane may store that

        Raises Stale when someone else has saved since it was loaded, or leads by now: load again and decide again.
        """
        ...

    def delete(self, name: str, *, events: Sequence[Event] = (), epoch: int | None = None) -> None:
        """Remove the deployment with its revisions and verdicts, and say so by `events`. What happened to it stays.

        Raises Stale when someone else leads by now; see `save`.
        """
        ...

    def note(self, name: str, event: Event) -> None:
        """Append a line to the history of that name, and change nothing else. There need be no such deployment."""
        ...


class History(Protocol):
    """What a store remembers of the past. What takes a name, but for `history`, raises NotFound if it is unknown."""

    def names(self) -> Sequence[str]:
        """Of every deployment, also of those that cannot be read."""
        ...

    def revisions(self, name: str) -> Sequence[Revision]:
        """Oldest first."""
        ...

    def verdicts(self, name: str) -> Sequence[Verdict]:
        """Oldest first."""
        ...

    def events(self, name: str, *, after: int = 0) -> Sequence[Event]:
        """Those with a higher id than `after`, oldest first; at most 1,000."""
        ...

    def history(self, name: str | None = None, *, since: datetime | None = None, limit: int = 100) -> Sequence[Event]:
        """The newest `limit` lines, oldest first: of all that ever was, or of one name, deleted or not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Which of the control planes that share a store leads. No clock decides it: docs/decisions/0008."""

    holder: str = ""  # "": nobody ever led
    epoch: int = 0  # rises with every change of leader
    beat: int = 0  # rises with every sign of life of the holder
    seconds: float = 0.0  # without a beat after which another may take it; 0: it was given up
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)  # the holder's time of day; that of the next one is not before it


class Leases(Protocol):
    """The one lease of a store. Raises DriverUnavailable while it cannot be read or written."""

    def lease(self) -> Lease:
        """As it is now."""
        ...

    def take(self, lease: Lease, *, instead_of: Lease) -> bool:
        """Write it, unless it is another by now than `instead_of`; whether it was written."""
        ...


class Memory(Store, History, Leases, Protocol):
    """All parts of one store."""


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


class LeftoverKind(StrEnum):
    """What revisions leave on a disk."""

    LOG = "log"
    GATE = "gate"  # the folder of a run at the gate: the evidence of a verdict
    ENVIRONMENT = "environment"
    STORE = "store"  # links to a Bento and to its models
    BENTO = "bento"  # in the BentoML store, which is its owner's and not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that revisions left. Several may share it."""

    kind: LeftoverKind
    name: str  # unique among its kind
    used_at: datetime  # written or started from for the last time
    users: frozenset[str] = frozenset()  # Revision.name of those that are known to need it
    size_bytes: int = 0  # 0 until it is measured


class Attic(Protocol):
    """What all revisions left on this machine, and how to be rid of it."""

    def find(self, revisions: Sequence[Revision]) -> Sequence[Leftover]:
        """Everything that could be removed. `revisions`: all that are known, to tell who shares what."""
        ...

    def size_bytes(self, leftover: Leftover) -> int:
        """What it takes on the disk."""
        ...

    def remove(self, leftover: Leftover) -> bool:
        """Remove it; False when that cannot be, for example because a process runs from it after all."""
        ...
