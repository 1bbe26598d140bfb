"""Walks through a world that crashes, lags, lies and is steered by people; the control plane keeps its promises in it.

What must never happen is looked for at every call (`promises.py`). What must happen is looked for whenever the world
obeys for a while: every rollout ends, and guests are where they belong. All of it is what ships, but for the world
(`mortal.py`). The walks are the same in every run; `NOREN_MODEL_WALKS=20000` takes others, and as many.
"""

import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from noren.control.audit import Asker
from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.ports import Event, ReplicaState
from noren.control.reconcile import Drivers
from noren.control.use_cases import Commands
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Strategy
from noren.domain.errors import DriverError, DriverUnavailable, NorenError, Stale
from noren.domain.observation import Counts
from noren.domain.verdict import Outcome
from tests.control.mortal import SECOND, Clock, Fault, Key, Shelf
from tests.control.promises import Promises, promised

WALKS = int(os.environ.get("NOREN_MODEL_WALKS", "0"))
NAMES = ("shop", "shop-1")  # the second is also the name of a revision of the first
LEASE_S = 5.0
GATES = (Gates(), Gates(load=LoadGate(twin=False)), Gates(smoke=False, load=LoadGate(enabled=False)))
STRATEGY = Strategy(
    step_wait=5 * SECOND,
    bake=10 * SECOND,
    ready_within=60 * SECOND,
    gate_within=30 * SECOND,
    hold_within=60 * SECOND,
    drain_within=10 * SECOND,
)
ENOUGH_TICKS = 500  # for two rollouts in a row, each with all of its deadlines, and 5 s between two looks at rest
PHASES = {"starting", "warming", "gating", "held", "shifting(10)", "baking", "undoing", "done", "undone"}

reached: set[str] = set()  # phases, by all walks

_names = st.sampled_from(NAMES)
_which = st.integers(0, 7)
_ticks = st.integers(0, 3)
_seconds = st.sampled_from([0, 1, 5, 30])


class Killed(BaseException):
    """A control plane is gone in the middle of what it did."""


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.fault = Clock(), Fault()
        self.promises = Promises(self.clock)
        self.promises.phases = reached
        self.runtime, self.door = self.promises.runtime, self.promises.door
        self.gate, self.store = self.promises.gate, self.promises.store
        self._let_it_fail()
        self.drivers = Drivers(
            runtime=self.runtime,
            front_door=self.door,
            gate=self.gate,
            catalog=Shelf(),
            front_door_url="http://127.0.0.1:7480",
        )
        self.commands = Commands(self.store, Shelf(), now=self.clock, wake=lambda: None)
        self.planes: dict[str, LedLoop] = {}  # the control planes that live, by name
        self.acting = "plane 0"  # the one whose turn it is, or was
        self.overtaken = False  # others acted while one was held up
        self.history: dict[str, list[Event]] = {}
        self.lied = False
        self._fresh = (f"plane {number}" for number in itertools.count(1))
        self._begin(self.acting)

    @initialize(live=st.booleans(), replicas=st.integers(1, 2))
    def open(self, live: bool, replicas: int) -> None:
        if live:
            self.gate.outcome = Outcome.PASS
            self._apply("shop", 1, replicas=replicas)
            self._run(12, 0)
            self.gate.outcome = None
            assert self.door.traffic("shop") == {"shop-1": 100}

    @rule(ticks=st.integers(1, 8), seconds=_seconds)
    def pass_time(self, ticks: int, seconds: int) -> None:
        self._run(ticks, seconds)

    # Control planes

    @rule(calls=st.integers(0, 6), afterwards=st.booleans(), seconds=_seconds)
    def kill(self, calls: int, afterwards: bool, seconds: int) -> None:
        """One dies at one of its next calls."""
        self.fault.plan(calls, **{"after" if afterwards else "before": _raises(Killed())})
        self._run(3, seconds)

    @rule(calls=st.integers(0, 6), afterwards=st.booleans(), seconds=_seconds)
    def refuse(self, calls: int, afterwards: bool, seconds: int) -> None:
        """One is told that one of its next calls was in vain, whether that is true or not."""
        refusal = DriverUnavailable("no answer", fix="wait")
        self.fault.plan(calls, **{"after" if afterwards else "before": _raises(refusal)})
        self._run(3, seconds)

    @rule(calls=st.integers(0, 6), ticks=st.integers(1, 6), seconds=_seconds)
    def hold_up(self, calls: int, ticks: int, seconds: int) -> None:
        """One is stopped at one of its next calls, while the others go on; then it makes that call."""
        self.fault.plan(calls, before=lambda: self._others_go_on(ticks, seconds))
        self.fault.fenced = True
        self._run(3, 1)

    @precondition(lambda self: len(self.planes) < 2)
    @rule(again=st.booleans())
    def begin(self, again: bool) -> None:
        """A control plane on what the others left; or the last one that died, again."""
        self._begin(self.acting if again and self.acting not in self.planes else next(self._fresh))

    # People

    @rule(
        name=_names,
        version=st.integers(1, 3),
        replicas=st.integers(1, 2),
        gates=st.sampled_from(GATES),
        steps=st.sampled_from([(10, 50, 100), (10, 100), (100,)]),
        guests=st.sampled_from([0, 20]),
        emergency=st.booleans(),
        meanwhile=st.booleans(),
        ticks=_ticks,
    )
    def apply(self, name: str, version: int, meanwhile: bool, ticks: int, **changes: Any) -> None:
        self._ask("apply", name, lambda: self._apply(name, version, **changes), meanwhile=meanwhile)
        self._run(ticks, 1)

    @rule(
        name=_names,
        verb=st.sampled_from(["promote", "abort", "rollback", "pause", "resume"]),
        meanwhile=st.booleans(),
        ticks=_ticks,
    )
    def ask(self, name: str, verb: str, meanwhile: bool, ticks: int) -> None:
        self._ask(verb, name, lambda: getattr(self.commands, verb)(name), meanwhile=meanwhile)
        self._run(ticks, 1)

    @rule(name=_names, meanwhile=st.booleans(), ticks=_ticks)
    def call_it_an_emergency(self, name: str, meanwhile: bool, ticks: int) -> None:
        because = Asker(reason="blue is broken")
        self._ask("promote", name, lambda: self.commands.promote(name, because, emergency=True), meanwhile=meanwhile)
        self._run(ticks, 1)

    @rule(name=_names, meanwhile=st.booleans(), ticks=_ticks)
    def remove(self, name: str, meanwhile: bool, ticks: int) -> None:
        self._ask("remove", name, lambda: self.commands.remove(name), meanwhile=meanwhile)
        self._run(ticks, 1)

    # The world

    @rule(outcome=st.sampled_from([Outcome.PASS, Outcome.PASS, None, *Outcome]), ticks=_ticks)
    def judge(self, outcome: Outcome | None, ticks: int) -> None:
        self.gate.outcome = outcome
        self._run(ticks, 1)

    @rule(name=_names)
    def lose_the_gate(self, name: str) -> None:
        for run in self.gate.running(name):
            self.gate.lose(run)

    @precondition(lambda self: bool(self.runtime.lives))
    @rule(which=_which, fate=st.sampled_from(["dies", "hangs", "leaks", "goes on", "starts again"]), ticks=_ticks)
    def befall(self, which: int, fate: str, ticks: int) -> None:
        key = self._one(which)
        life = self.runtime.lives[key]
        if fate == "starts again":
            self.runtime.bear(key)
        elif fate == "leaks":
            life.sick = "it leaks"
        elif life.state is not ReplicaState.WAITING:  # who is dead does not hang
            life.state = {"dies": ReplicaState.WAITING, "hangs": ReplicaState.UNREADY}.get(fate)
        self._run(ticks, 1)

    @precondition(lambda self: bool(self.runtime.lives))
    @rule(which=_which, ticks=_ticks)
    def crash_again_and_again(self, which: int, ticks: int) -> None:
        self.runtime.broken[self._one(which)[0]] = "MemoryError"
        self._run(ticks, 1)

    @precondition(lambda self: bool(self.runtime.lives))
    @rule(which=_which, lost=st.booleans(), ticks=_ticks)
    def lose_the_way(self, which: int, lost: bool, ticks: int) -> None:
        """The front door cannot reach a replica, or can again."""
        revision, index = self._one(which)
        (self.door.sick.add if lost else self.door.sick.discard)(f"{revision}-{index}:3000")
        self._run(ticks, 1)

    @rule()
    def reboot(self) -> None:
        """Everything ends at once."""
        self.planes.clear()
        for life in self.runtime.lives.values():
            life.state = ReplicaState.WAITING
        for run in [run for name in NAMES for run in self.gate.running(name)]:
            self.gate.lose(run)

    @rule(seconds=st.sampled_from([0, 3, 40]))
    def slow_down(self, seconds: int) -> None:
        self.runtime.lag = seconds * SECOND

    @rule(spare=st.sampled_from([None, 1]))
    def take_memory(self, spare: int | None) -> None:
        self.runtime.spare = spare

    @precondition(lambda self: bool(self.runtime.lives))
    @rule(which=_which, requests=st.sampled_from([1, 20, 200]), errors=st.sampled_from([0, 0, 1, 50]), ticks=_ticks)
    def serve(self, which: int, requests: int, errors: int, ticks: int) -> None:
        self._count(self._one(which)[0], requests, min(errors, requests))
        self._run(ticks, 1)

    @rule()
    def count_from_zero(self) -> None:
        self.door.counts = {}

    @precondition(lambda self: bool(self.runtime.lives))
    @rule(which=_which, guests=st.integers(0, 2))
    def linger(self, which: int, guests: int) -> None:
        self.door.in_flight[self._one(which)[0]] = guests

    @rule()
    def forget(self) -> None:
        """The front door comes back without its tables."""
        self.door.tables.clear()

    @precondition(lambda self: bool(self.runtime.lives) and not self.lied)
    @rule(which=_which)
    def lie(self, which: int) -> None:
        """One look misses the replicas of a revision, and counts the guests of before."""
        self.lied = True
        self.runtime.unseen = self._one(which)[0]
        self.door.stale = {name: Counts(requests=was.requests // 2) for name, was in self.door.counts.items()}
        self._run(1, 0)

    # What must happen

    @rule(outcome=st.sampled_from(Outcome))
    def obey(self, outcome: Outcome) -> None:
        """For a while all goes well: what was paused is resumed, and guests come."""
        self.runtime.obey()
        self.door.obey()
        self.gate.outcome = outcome
        self.fault.plan(-1)
        if not self.planes:
            self._begin(self.acting)
        for row in self.store.deployments():
            if row.active and row.active.paused:
                self._carry_out("resume", row.name, partial(self.commands.resume, row.name))
        for _ in range(ENOUGH_TICKS):
            before = self._everything()
            self._run(1, 0)
            if self._everything() != before:
                continue
            if not self._unsettled():
                return
            self.clock.now += 5 * SECOND
            for revision in [revision for name in NAMES for revision in self.door.traffic(name)]:
                self._count(revision, 100, 0)
        raise AssertionError(f"after {ENOUGH_TICKS} ticks of an obedient world: {self._unsettled()}")

    def _unsettled(self) -> list[str]:
        rows = self.store.deployments()
        found = [f"{row.name} is under way" for row in rows if row.active or row.queued or row.removed]
        found += [f"guests of {r.name}" for r in rows if self.door.traffic(r.name) != promised(r)]
        found += sorted(self.runtime.left() ^ {row.live.name for row in rows if row.live})
        return found + [run for name in NAMES for run in self.gate.running(name)]

    # How it is done

    def _let_it_fail(self) -> None:
        for driver, acts in (
            (self.store, ("save", "delete")),
            (self.door, ("publish", "withdraw")),
            (self.runtime, ("start", "stop", "replace")),
            (self.gate, ("start", "stop")),
        ):
            for act in acts:
                fenced = driver in (self.store, self.door)
                setattr(driver, act, self.fault.around(getattr(driver, act), fenced=fenced))

    def _begin(self, name: str) -> None:
        now = SteadyClock(self.clock, self.clock.seconds)
        leadership = Leadership(
            self.store, holder=name, seconds=LEASE_S, now=now, clock=self.clock.seconds, heard=self.door.epoch
        )
        self.planes[name] = LedLoop(self.store, self.drivers, now, leadership)

    def _run(self, ticks: int, seconds: int) -> None:
        for _ in range(ticks):
            self.clock.now += seconds * SECOND
            for name in list(self.planes):
                self._tick(name)
        self._see_promises_kept()

    def _tick(self, name: str) -> None:
        if name not in self.planes:
            return
        self.acting = name
        self.promises.begin()
        with capture_logs() as told, suppress(DriverUnavailable):  # it is not known who leads
            try:
                self.planes[name].tick()
            except Killed:
                self.planes.pop(name)
        assert [line for line in told if line["log_level"] == "error"] == []

    def _others_go_on(self, ticks: int, seconds: int) -> None:
        held_up, asked, self.overtaken = self.acting, self.promises.asked, True
        self.promises.asked = ""
        for _ in range(ticks):
            self.clock.now += seconds * SECOND
            for name in [name for name in self.planes if name != held_up]:
                self._tick(name)
        self.acting, self.promises.asked = held_up, asked

    def _ask(self, verb: str, name: str, command: Callable[[], object], *, meanwhile: bool) -> None:
        if not self.planes:
            return
        if meanwhile:  # while a control plane is in the middle of a tick, and knows an old state of things
            self.runtime.meanwhile = lambda: self._carry_out(verb, name, command)
            self._run(1, 0)
            return
        try:
            self._carry_out(verb, name, command)
        except Killed:
            self.planes.pop(self.acting, None)

    def _carry_out(self, verb: str, name: str, command: Callable[[], object]) -> None:
        before, self.promises.asked, self.overtaken = self.store.found(name), verb, False
        try:
            command()
        except NorenError as refused:
            self.promises.demand(refused.fix, f"nothing helps against {refused}")
            self.promises.demand(not isinstance(refused, Stale), f"{verb} was not tried again")
            unchanged = isinstance(refused, DriverError) or self.overtaken or self.store.found(name) == before
            self.promises.demand(unchanged, f"{verb} was refused, and changed something")
        finally:
            self.promises.asked = ""

    def _apply(self, name: str, version: int, *, emergency: bool = False, **changes: Any) -> None:
        steps, guests = changes.pop("steps", (10, 50, 100)), changes.pop("guests", 0)
        wanted = Revision(
            deployment=name,
            number=0,
            bento=f"shop:v{version}",
            route=Route(prefix=f"/{name}", host=f"{name}.localhost"),
            strategy=replace(STRATEGY, steps=steps, step_requests=guests),
            **changes,
        )
        self.commands.apply(wanted, Asker(reason="blue is broken"), emergency=emergency)

    def _count(self, revision: str, requests: int, errors: int) -> None:
        was = self.door.counts.get(revision, Counts())
        now = Counts(requests=was.requests + requests, errors=was.errors + errors)
        self.door.counts = {**self.door.counts, revision: now}

    def _one(self, which: int) -> Key:
        return sorted(self.runtime.lives)[which % len(self.runtime.lives)]

    def _see_promises_kept(self) -> None:
        assert self.promises.broken == []
        for name in NAMES:
            told, known = list(self.store.history(name, limit=100_000)), self.history.get(name, [])
            assert told[: len(known)] == known, f"the history of {name} is not what it was"
            self.history[name] = told

    def _everything(self) -> object:
        replicas = {key: (life.pid, life.state) for key, life in self.runtime.lives.items()}
        judged = len(self.gate.runs), len(self.gate.lost), len(self.gate.verdicts)
        return self.store.deployments(), dict(self.door.tables), replicas, judged


def _raises(error: BaseException) -> Callable[[], None]:
    def strike() -> None:
        raise error

    return strike


def test_no_walk_through_the_world_breaks_a_promise() -> None:
    chosen = settings(
        max_examples=WALKS or 150,
        stateful_step_count=40,
        derandomize=not WALKS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Walk, settings=chosen)

    assert reached >= PHASES  # or the walks prove little
