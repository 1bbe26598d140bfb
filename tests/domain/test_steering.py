"""What becomes of a deployment when a person steers it, from every state: the whole way to the end, as one table.

`test_commands.py` has what each verb changes at once. Here the world obeys, guests come, and the gate passes green.
"""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from noren.control.audit import Asker
from noren.control.loop import Loop
from noren.control.ports import Memory, Table
from noren.control.reconcile import Drivers
from noren.control.use_cases import Applied, Commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route
from noren.domain.errors import Conflict, NorenError
from noren.domain.observation import Counts
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome, Verdict
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.runtimes.memory import MemoryRuntime
from noren.stores.memory import MemoryStore
from noren.stores.sql import SqlStore
from tests.control.mortal import NOON, Clock, Shelf

OLD = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.localhost"))
BLUE, GREEN, NEXT = (replace(OLD, number=n, bento=f"shop:v{n}") for n in (2, 3, 4))
NAMED = {"shop-1": "old", "shop-2": "blue", "shop-3": "green", "shop-4": "next", "shop-5": "newest"}
PASSED = Verdict(revision="shop-3", attempt=1, outcome=Outcome.PASS, reason="", started_at=NOON, ended_at=NOON)

# Who has all guests in the end; `at 10 %`: it stays as it is, with so much on green; `!`: it is refused, see SAID.
TABLE = """
                 promote    emergency  abort      rollback   pause     resume  apply   apply blue  remove
first, starting  !unjudged  !first     nobody     nobody     at 0 %    green   next    next        gone
first, baking    green      !first     !first     !first     green     green   next    next        gone
starting         !unjudged  green      blue       blue       at 0 %    green   next    blue        gone
warming          !unjudged  green      blue       blue       at 0 %    green   next    blue        gone
gating           !unjudged  green      blue       blue       at 0 %    green   next    blue        gone
held             green      green      blue       blue       blue      blue    next    blue        gone
shifting(10)     green      green      blue       blue       at 10 %   green   next    blue        gone
unvisited(10)    green      green      blue       blue       at 10 %   green   next    blue        gone
shifting(50)     green      green      blue       blue       at 50 %   green   next    blue        gone
baking           green      !all       blue       blue       at 100 %  green   next    blue        gone
releasing        green      !all       !released  !rolling   green     green   next    next        gone
superseded       next       next       next       next       next      next    newest  blue        gone
undoing          !undoing   !undoing   blue       blue       blue      blue    next    blue        gone
going back       !unjudged  old        blue       !going     at 0 %    old     next    blue        gone
done             !none      !none      !none      blue       !none     !none   next    next        gone
undone           !none      !none      !none      old        !none     !none   next    blue        gone
removing         !removing  !removing  !removing  !removing  !removing  !removing  !removing  !removing  gone
"""
SAID = {
    "unjudged": "has not been judged yet",
    "first": "is the first revision",
    "all": "shop-3 has all traffic already",
    "released": "shop-3 is promoted and blue is being stopped",
    "rolling": "a rollout of shop-3 is under way",
    "undoing": "shop-3 is being undone: too slow",
    "going": "shop is going back to shop-1 already",
    "none": "no rollout of shop is under way",
    "removing": "shop is being removed",
}


def read(table: str) -> dict[str, dict[str, str]]:
    header, *lines = [re.split(r" {2,}", line.strip()) for line in table.strip("\n").splitlines()]
    return {state: dict(zip(header, cells, strict=True)) for state, *cells in lines}


STARTING = Rollout(green=GREEN, blue=BLUE, started_at=NOON)
WARMING = replace(STARTING, running_at=NOON)
GATING = replace(WARMING, ready_at=NOON, attempt=1, attempt_at=NOON)
SHIFTING = replace(
    GATING, verdict=PASSED, step=0, step_at=NOON, counted_from=Counts(), step_green=Counts(), step_blue=Counts()
)
BAKING = replace(SHIFTING, step=2, switched_at=NOON, step_green=None, step_blue=None)
UNDOING = replace(SHIFTING, failure="too slow", failed_at=NOON)
SERVING = Deployment(name="shop", live=BLUE, previous=OLD, promoted=(1, 2), revisions=3)
FIRST = Deployment(name="shop", revisions=3)
SUPERSEDED = replace(SERVING, rollout=replace(SHIFTING, superseded_by=4), queued=NEXT, revisions=4)
STATES: dict[str, Deployment] = {
    "first, starting": replace(FIRST, rollout=replace(STARTING, blue=None)),
    "first, baking": replace(FIRST, rollout=replace(BAKING, blue=None)),
    "starting": replace(SERVING, rollout=STARTING),
    "warming": replace(SERVING, rollout=WARMING),
    "gating": replace(SERVING, rollout=GATING),
    "held": replace(SERVING, rollout=replace(GATING, held_at=NOON)),
    "shifting(10)": replace(SERVING, rollout=SHIFTING),
    "unvisited(10)": replace(SERVING, rollout=replace(SHIFTING, unvisited_at=NOON)),
    "shifting(50)": replace(SERVING, rollout=replace(SHIFTING, step=1)),
    "baking": replace(SERVING, rollout=BAKING),
    "releasing": replace(SERVING, rollout=replace(BAKING, released=True)),
    "superseded": SUPERSEDED,
    "undoing": replace(SERVING, rollout=UNDOING),
    "going back": replace(SERVING, rollout=replace(STARTING, green=OLD, trusted=True)),
    "done": replace(
        SERVING, live=GREEN, previous=BLUE, promoted=(1, 2, 3), rollout=replace(BAKING, released=True, ended_at=NOON)
    ),
    "undone": replace(SERVING, rollout=replace(UNDOING, ended_at=NOON)),
    "removing": replace(SERVING, live=None, removed=True),
}


def applied(commands: Commands, wanted: Revision) -> Applied:
    return commands.apply(replace(wanted, number=0))


BECAUSE = Asker(reason="blue is broken")
COMMANDS: dict[str, Callable[[Commands], object]] = {
    "promote": lambda commands: commands.promote("shop"),
    "emergency": lambda commands: commands.promote("shop", BECAUSE, emergency=True),
    "abort": lambda commands: commands.abort("shop"),
    "rollback": lambda commands: commands.rollback("shop"),
    "pause": lambda commands: commands.pause("shop"),
    "resume": lambda commands: commands.resume("shop"),
    "apply": lambda commands: applied(commands, replace(OLD, bento="shop:v5")),
    "apply another": lambda commands: applied(commands, replace(OLD, bento="shop:v6")),
    "apply blue": lambda commands: applied(commands, BLUE),
    "remove": lambda commands: commands.remove("shop"),
}


def kept(store: Memory, state: Deployment) -> None:
    """Put the deployment into the store as if all of it had happened there."""
    row = Deployment(name="shop")
    for revision in (OLD, BLUE, GREEN, NEXT)[: state.revisions]:
        row = store.save(replace(row, revisions=revision.number), revision=revision)
    store.save(replace(state, version=row.version))


class Town:
    """A deployment in some state, its control plane, and a world that does what it is told."""

    def __init__(self, state: Deployment) -> None:
        self.clock, self.store, self.runtime, self.door = Clock(), MemoryStore(), MemoryRuntime(), MemoryFrontDoor()
        kept(self.store, state)
        self.commands = Commands(self.store, Shelf(), now=self.clock, wake=lambda: None)
        drivers = Drivers(
            runtime=self.runtime,
            front_door=self.door,
            gate=MemoryGate(Outcome.PASS),
            catalog=Shelf(),
            front_door_url="http://127.0.0.1:7480",
        )
        self.loop = Loop(self.store, drivers, self.clock)
        self._open(state)

    def _open(self, state: Deployment) -> None:
        active, home = state.active, state.live or (BLUE if state.removed else None)
        blue, green = (active.blue, active.green) if active else (home, None)
        running = [r for r in (blue, green) if r and not (active and r == green and active.running_at is None)]
        for revision in running:
            self.runtime.start(revision)
        share = green.strategy.steps[active.step] if active and green and active.step >= 0 else 0
        weights = {green.name: share} if green and share else {}
        weights |= {blue.name: 100 - share} if blue and share < 100 else {}
        self.door.tables["shop"] = Table(
            deployment="shop",
            route=OLD.route,
            backends={revision.name: [f"{revision.name}-0:3000"] for revision in running},
            weights=weights,
        )

    def end(self) -> str:
        """Let 90 minutes pass, in which guests come."""
        with capture_logs():
            for minute in range(1, 91):
                for _ in range(5):
                    self.loop.tick()
                if not self.store.deployments():
                    return "gone"
                row, weights = self.store.load("shop"), self.door.look().weights.get("shop", {})
                if not row.active and not row.removed:
                    break
                self.clock.now += timedelta(minutes=1)
                self.door.counts = {name: Counts(requests=100 * minute) for name in self.runtime.ever}
        if row.active:
            return f"at {weights.get(row.active.green.name, 0)} %"
        return " and ".join(NAMED[name] for name in weights) or "nobody"


def effect(state: str, command: str) -> str:
    town = Town(STATES[state])
    try:
        COMMANDS[command](town.commands)
    except Conflict as refused:
        assert refused.fix
        return next((f"!{word}" for word, said in SAID.items() if said in refused.problem), refused.problem)
    return town.end()


@pytest.mark.parametrize("state", STATES)
def test_what_becomes_of_each_state_by_each_command(state: str) -> None:
    expected = read(TABLE)[state]
    assert {command: effect(state, command) for command in expected} == expected


def test_the_table_has_every_state_and_each_row_begins_where_it_says() -> None:
    assert list(read(TABLE)) == list(STATES)
    phases = {state: row.rollout.phase for state, row in STATES.items() if row.rollout}
    plain = {state for state in STATES if state == phases.get(state)}
    assert plain == set(STATES) - {
        *("first, starting", "first, baking", "releasing", "superseded", "going back", "removing")
    }


# Two terminals


class Together(SqlStore):
    """Whoever reads first waits until the other one has read too, so that both decide on the same state."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.meeting: threading.Barrier | None = None
        self.met: set[int] = set()

    def load(self, name: str) -> Deployment:
        found = super().load(name)
        self._meet()
        return found

    def deployments(self) -> list[Deployment]:
        found = list(super().deployments())
        self._meet()
        return found

    def _meet(self) -> None:
        if self.meeting and threading.get_ident() not in self.met:
            self.met.add(threading.get_ident())
            self.meeting.wait(timeout=60)


PAIRS = [
    ("shifting(10)", "abort", "promote"),
    ("shifting(10)", "pause", "promote"),
    ("shifting(10)", "apply", "abort"),
    ("shifting(10)", "apply", "apply another"),
    ("shifting(10)", "apply blue", "apply"),
    ("shifting(10)", "rollback", "remove"),
    ("held", "promote", "abort"),
    ("held", "emergency", "promote"),
    ("baking", "promote", "rollback"),
    ("done", "rollback", "apply"),
    ("done", "rollback", "remove"),
    ("", "apply", "apply"),
    ("", "apply", "apply another"),
]


def steering(store: Memory) -> Commands:
    return Commands(store, Shelf(), now=lambda: NOON, wake=lambda: None)


def answer(commands: Commands, command: str) -> str:
    try:
        done = COMMANDS[command](commands)
    except NorenError as refused:
        return refused.problem
    return f"{done.revision.name}, changed: {done.changed}" if isinstance(done, Applied) else "done"


def left_in(store: Memory) -> object:
    """The row with its version, and the history; that of two refusals may be in any order."""
    return store.load("shop"), sorted((event.kind, event.message) for event in store.events("shop"))


def in_turn(state: str, *commands: str) -> tuple[list[str], object]:
    """What is answered, and left, when each of them waits for the one before."""
    store = MemoryStore()
    if state:
        kept(store, STATES[state])
    return [answer(steering(store), command) for command in commands], left_in(store)


@pytest.mark.parametrize(("state", "one", "other"), PAIRS)
def test_two_terminals_at_once_are_answered_as_if_one_had_come_after_the_other(
    tmp_path: Path, state: str, one: str, other: str
) -> None:
    store = Together(f"sqlite:///{tmp_path / 'noren.db'}")
    if state:
        kept(store, STATES[state])

    store.meeting = threading.Barrier(2)
    with ThreadPoolExecutor(2) as terminals:
        answers = list(terminals.map(lambda command: answer(steering(store), command), (one, other)))
    store.meeting = None

    (forth, left), (back, left_then) = in_turn(state, one, other), in_turn(state, other, one)
    assert (answers, left_in(store)) in [(forth, left), (back[::-1], left_then)]
