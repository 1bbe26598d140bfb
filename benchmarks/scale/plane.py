"""A control plane with many deployments: its drivers are in memory, its store is a SQLite file on this disk."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event

from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.ports import Metrics
from noren.control.reconcile import Drivers
from noren.domain import commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route
from noren.domain.rollout import Rollout
from noren.domain.verdict import Check, Outcome, Verdict
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.runtimes.memory import MemoryRuntime
from noren.stores.sql import SqlStore

REPLICAS = 2  # of each deployment
TO_REST = 3  # ticks: the front door learns of the replicas, then whom to serve; then there is nothing to do
_LEASE_S = 3600.0  # its signs of life are none of a tick's statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one tick took."""

    seconds: float
    statements: int  # SQL


class Plane:
    """All deployments are live and at rest: each has a revision that got through its gate."""

    def __init__(self, folder: Path, size: int) -> None:
        self.store = SqlStore(f"sqlite:///{folder / 'noren.db'}")
        self.runtime = MemoryRuntime()
        self._statements = 0
        event.listen(self.store.engine, "before_cursor_execute", self._count)
        with self._hasty():
            for number in range(size):
                self._live(f"shop{number}")
        self._loop = self._made()
        for _ in range(TO_REST):
            self.tick()

    def apply(self, count: int) -> None:
        """Begin a rollout of the first so many deployments."""
        with self._hasty():
            for name in (f"shop{number}" for number in range(count)):
                revision = _revision(name, 2)
                begun = commands.apply(self.store.load(name), revision, datetime.now(UTC))
                self.store.save(begun, revision=revision)

    def tick(self) -> Tick:
        """Let the loop look at all of them, and take their next steps."""
        before, began = self._statements, time.perf_counter()
        self._loop.tick()
        return Tick(seconds=time.perf_counter() - began, statements=self._statements - before)

    def close(self) -> None:
        """Let the file go."""
        self.store.engine.dispose()

    def _made(self) -> LedLoop:
        door = MemoryFrontDoor()
        drivers = Drivers(
            runtime=self.runtime,
            front_door=door,
            gate=MemoryGate(Outcome.PASS),
            catalog=_Shelf(),
            front_door_url="http://127.0.0.1:7480",
        )
        now = SteadyClock(lambda: datetime.now(UTC), time.monotonic)
        leadership = Leadership(
            self.store, holder="bench", seconds=_LEASE_S, now=now, clock=time.monotonic, heard=door.epoch
        )
        return LedLoop(self.store, drivers, now, leadership)

    def _live(self, name: str) -> None:
        revision = _revision(name, 1)
        self.runtime.start(revision)
        began = datetime.now(UTC) - timedelta(days=1)
        rollout = Rollout(green=revision, blue=None, started_at=began, verdict=_verdict(revision, began), step=2)
        row = Deployment(
            name=name,
            live=revision,
            promoted=(1,),
            rollout=replace(rollout, switched_at=began, ended_at=began),
            last_verdict=rollout.verdict,
            revisions=1,
        )
        self.store.save(row, revision=revision)

    @contextmanager
    def _hasty(self) -> Iterator[None]:
        """Do not wait for the disk while thousands of rows are made: only ticks are measured."""
        self._pragma("OFF")
        try:
            yield
        finally:
            self._pragma("FULL")

    def _pragma(self, synchronous: str) -> None:
        with self.store.engine.connect() as connection:  # the pool keeps this one connection
            connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")

    def _count(self, *_cursor: Any) -> None:
        self._statements += 1


class _Shelf:
    """See Catalog. It has every Bento, and knows nothing of it."""

    def resolve(self, bento: str) -> str:
        return bento

    def metrics(self, bento: str) -> Metrics:  # noqa: ARG002
        return {}

    def examples(self, bento: str) -> tuple[Mapping[str, object], ...]:  # noqa: ARG002
        return ()


def _revision(name: str, number: int) -> Revision:
    route = Route(prefix=f"/{name}", host=f"{name}.localhost")
    return Revision(deployment=name, number=number, bento=f"shop:v{number}", replicas=REPLICAS, route=route)


def _verdict(revision: Revision, at: datetime) -> Verdict:
    """As long as a real one."""
    return Verdict(
        revision=revision.name,
        attempt=1,
        outcome=Outcome.PASS,
        reason="every check passed",
        checks=tuple(_check(name) for name in ("smoke", "p50", "p95", "p99", "errors", "trust", "parity")),
        started_at=at,
        ended_at=at,
        evidence=f"/srv/noren/gates/{revision.name}",
    )


def _check(name: str) -> Check:
    figures: Sequence[tuple[str, float]] = [("blue_ms", 12.25), ("green_ms", 12.5), ("margin", 1.15), ("ratio", 1.02)]
    return Check(name=name, outcome=Outcome.PASS, detail="12.5 ms beside 12.25 ms, at most 15 %", figures=dict(figures))
