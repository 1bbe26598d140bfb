"""A world in memory in which things go wrong: the drivers that ship, and what can befall them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from noren.control.ports import DoorView, GateRun, Metrics, Replica, ReplicaState, Table
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.observation import Counts
from noren.domain.verdict import Outcome
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.runtimes.memory import MemoryRuntime
from noren.stores.memory import MemoryStore

if TYPE_CHECKING:
    from tests.control.promises import Promises

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
Key = tuple[str, int]  # a revision, and the index of one of its replicas


@dataclass
class Clock:
    """The time of day, moved by hand."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """Seconds that only rise."""
        return (self.now - NOON).total_seconds()


def _nothing() -> None:
    return None


@dataclass
class Fault:
    """Something happens around one call that changes something: the one that is `left` calls away."""

    left: int = -1
    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing
    fenced: bool = False  # ... only where store or front door can tell who leads: a call that is held up may come late

    def plan(self, left: int, *, before: Callable[[], None] = _nothing, after: Callable[[], None] = _nothing) -> None:
        """Let it happen at that call, and at no other."""
        self.left, self.before, self.after, self.fenced = left, before, after, False

    def around(self, act: Callable[..., Any], *, fenced: bool) -> Callable[..., Any]:
        """The same act, with what happens around it."""

        def call(*arguments: object, **named: object) -> Any:
            strikes = self.left == 0 and (fenced or not self.fenced)
            if strikes or self.left > 0:
                self.left -= 1
            if strikes:
                self.before()
            done = act(*arguments, **named)
            if strikes:
                self.after()
            return done

        return call


@dataclass
class Life:
    """One process of a replica."""

    pid: int
    ready_at: datetime
    restarts: int = 0
    state: ReplicaState | None = None  # what befell it; None: it is as its age says
    sick: str = ""  # why another should take its place


class MortalRuntime(MemoryRuntime):
    """Replicas that take their time to start and to end, and that hang, die and come back as others."""

    def __init__(self, clock: Clock, promises: Promises) -> None:
        super().__init__()
        self.clock, self.promises, self.lag = clock, promises, 0 * SECOND
        self.lives: dict[Key, Life] = {}
        self.ending: dict[Key, datetime] = {}  # until when those that were stopped are still there
        self.unseen = ""  # the revision that the next look misses
        self.seen: Sequence[Replica] = ()  # by the last look
        self.meanwhile: Callable[[], None] = _nothing  # happens between the next look and what follows from it
        self._pids = itertools.count(1)

    def start(self, revision: Revision) -> None:
        self.promises.started(revision)
        super().start(revision)
        for index in range(revision.replicas):
            key = revision.name, index
            life = self.lives.get(key)
            if not self._ends(key) and (life is None or life.state is ReplicaState.WAITING):
                self.bear(key)

    def bear(self, key: Key) -> None:
        """A new process, in the place of the one that was there."""
        last = self.lives.get(key)
        restarts = last.restarts + 1 if last else 0
        self.lives[key] = Life(pid=next(self._pids), ready_at=self.clock.now + self.lag, restarts=restarts)

    def stop(self, revision: str, *, grace: timedelta) -> None:
        self.promises.stopped(revision)
        super().stop(revision, grace=grace)
        self.broken.pop(revision, None)
        for key in [key for key in self.lives if key[0] == revision]:
            del self.lives[key]
            self.ending[key] = self.clock.now + self.lag

    def replace(self, replica: Replica, reason: str) -> None:
        self.promises.replaced(replica)
        super().replace(replica, reason)
        life = self.lives.get((replica.revision, replica.index))
        if life and life.pid == replica.pid:
            serves = replica.state is ReplicaState.READY
            life.state = ReplicaState.STOPPING if serves else ReplicaState.WAITING

    def replicas(self) -> Sequence[Replica]:
        there = [self._as_it_is(r) for r in super().replicas() if (r.revision, r.index) in self.lives]
        ending = [key for key in self.ending if self._ends(key)]
        there += [Replica(revision=name, index=index, state=ReplicaState.STOPPING) for name, index in ending]
        self.seen, self.unseen = [r for r in there if r.revision != self.unseen], ""
        return self.seen

    def spare_bytes(self) -> int | None:
        happens, self.meanwhile = self.meanwhile, _nothing
        happens()
        return super().spare_bytes()

    def left(self) -> set[str]:
        """The revisions of which anything is left, seen or not."""
        return {name for name, _ in self.lives} | {key[0] for key in self.ending if self._ends(key)}

    def obey(self) -> None:
        """Nothing befalls them from now on."""
        self.lag, self.unseen, self.meanwhile = 0 * SECOND, "", _nothing
        for (name, _), life in self.lives.items():
            life.sick = ""
            if name in self.broken or life.state is ReplicaState.STOPPING:
                life.state = ReplicaState.WAITING
            elif life.state is ReplicaState.UNREADY:
                life.state = None
        self.broken.clear()

    def _as_it_is(self, replica: Replica) -> Replica:
        if replica.state is ReplicaState.BROKEN:
            return replica
        life = self.lives[replica.revision, replica.index]
        state = life.state or (ReplicaState.STARTING if self.clock.now < life.ready_at else ReplicaState.READY)
        return replace(replica, state=state, pid=life.pid, restarts=life.restarts, sick=life.sick)

    def _ends(self, key: Key) -> bool:
        return key in self.ending and self.clock.now < self.ending[key]


class WatchedDoor(MemoryFrontDoor):
    """Remembers what it said last, and may count the guests of yesterday."""

    def __init__(self, promises: Promises) -> None:
        super().__init__()
        self.promises = promises
        self.seen = DoorView()
        self.stale: dict[str, Counts] | None = None  # what the next look counts

    def publish(self, table: Table, *, epoch: int = 0) -> None:
        was = self.traffic(table.deployment)
        super().publish(table, epoch=epoch)
        self.promises.published(table, was)

    def withdraw(self, deployment: str, *, epoch: int = 0) -> None:
        was = self.traffic(deployment)
        super().withdraw(deployment, epoch=epoch)
        self.promises.withdrawn(deployment, was)

    def look(self, *, epoch: int | None = 0) -> DoorView:
        view = super().look(epoch=epoch)
        counts, self.stale = view.counts if self.stale is None else self.stale, None
        in_flight = {name: count for name, count in view.in_flight.items() if name in view.healthy}
        self.seen = replace(view, counts=counts, in_flight=in_flight)
        return self.seen

    def traffic(self, deployment: str) -> dict[str, int]:
        """How guests are split."""
        table = self.tables.get(deployment)
        return dict(table.weights) if table else {}

    def obey(self) -> None:
        """Everybody can be reached, and nobody lingers."""
        self.stale = None
        self.sick.clear()
        self.in_flight.clear()


class WatchedGate(MemoryGate):
    """Its verdicts are of the clock's time."""

    def __init__(self, clock: Clock, promises: Promises) -> None:
        super().__init__()
        self.clock, self.promises = clock, promises

    def start(self, run: GateRun) -> None:
        self.promises.judging(run)
        super().start(run)

    def give(self, name: str, outcome: Outcome, reason: str = "as the walk says") -> None:
        if name not in self.verdicts:
            super().give(name, outcome, reason)
            self.verdicts[name] = replace(self.verdicts[name], started_at=self.clock.now, ended_at=self.clock.now)

    def running(self, deployment: str) -> list[str]:
        """The runs that judge a revision of it now."""
        runs = [name for name, run in self.runs.items() if run.green.deployment == deployment]
        return [name for name in runs if name not in self.verdicts and name not in self.lost]


class WatchedStore(MemoryStore):
    """Tells what was stored, once it was."""

    def __init__(self, promises: Promises) -> None:
        super().__init__()
        self.promises = promises

    def save(self, deployment: Deployment, **what: Any) -> Deployment:
        before = self.found(deployment.name)
        after = super().save(deployment, **what)
        self.promises.saved(before, after)
        return after

    def delete(self, name: str, **what: Any) -> None:
        row = self.found(name)
        super().delete(name, **what)
        if row:
            self.promises.deleted(row)

    def found(self, name: str) -> Deployment | None:
        """Its row, if there is one."""
        return next((row for row in self.deployments() if row.name == name), None)


class Shelf:
    """A catalog that has every Bento."""

    def resolve(self, bento: str) -> str:
        return bento

    def metrics(self, bento: str) -> Metrics:
        return {}

    def examples(self, bento: str) -> tuple[Mapping[str, object], ...]:
        return ()
