"""What a control plane must never do, looked for at every call that changes something."""

from __future__ import annotations

from collections.abc import Sequence

from noren.control.ports import RUNNING_STATES, GateRun, Replica, ReplicaState, Table
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome
from tests.control.mortal import Clock, MortalRuntime, WatchedDoor, WatchedGate, WatchedStore


class Promises:
    """Keeps what was broken, as the loop forgives any exception. Makes the drivers that tell it what they are asked."""

    def __init__(self, clock: Clock) -> None:
        self.runtime, self.door = MortalRuntime(clock, self), WatchedDoor(self)
        self.gate, self.store = WatchedGate(clock, self), WatchedStore(self)
        self.asked = ""  # the command that is being carried out; "": the loop acts
        self.broken: list[str] = []
        self.phases: set[str] = set()  # that were reached
        self._states: dict[str, list[Deployment]] = {}  # that were stored since the tick began, and before it

    def begin(self) -> None:
        """A tick."""
        self._states = {row.name: [row] for row in self.store.deployments()}

    def demand(self, holds: object, otherwise: str) -> None:
        """Take it down when it does not hold."""
        if not holds:
            self.broken.append(otherwise)

    # What is stored

    def saved(self, before: Deployment | None, after: Deployment) -> None:
        self._states.setdefault(after.name, []).append(after)
        old, new = before.active if before else None, after.rollout
        if new:
            self.phases.add(new.phase)
        if before and before.queued:
            self._queued(before.queued, after)
        if old and new and (new.green, new.started_at) == (old.green, old.started_at):
            self._went_on(old, new, after)
        elif old:
            self.demand(not self.asked, f"{self.asked} put another rollout in the place of one under way")
            self._rest(after, (old.green, old.blue))
        elif after.active and after.active.trusted:
            wished = self.asked == "rollback" and before and after.active.green.number in before.promoted
            self.demand(wished, f"{after.active.green.name} is trusted, and nobody went back to it")

    def _went_on(self, old: Rollout, new: Rollout, after: Deployment) -> None:
        """Nothing that was stored of a rollout is lost, and only a person does what is a person's."""
        facts = ["running_at", "ready_at", "switched_at", "returned_at", "counted_from", "outage_at", "recovered_at"]
        facts += [] if after.removed else ["failure", "failed_at"]
        facts += [] if self.asked == "promote" else ["held_at"]
        for fact in facts:
            was, now = getattr(old, fact), getattr(new, fact)
            self.demand(was is None or now == was, f"{fact} was {was}, and is {now}")
        self.demand(new.step >= old.step and new.attempt >= old.attempt, "a rollout went back a step")
        for mark in ("approved", "rushed", "released", "emergency"):
            self.demand(getattr(new, mark) or not getattr(old, mark), f"{mark} was taken back")
        theirs = {"approved": ["promote"], "paused": ["pause", "resume", "promote"], "trusted": []}
        for mark, verbs in theirs.items():
            same = getattr(new, mark) == getattr(old, mark)
            self.demand(same or self.asked in verbs, f"{mark} was changed by {self.asked or 'the loop'}")
        if old.step < 0 <= new.step:
            self._first_guest(new)
        if new.ended_at and not after.removed:
            self._rest(after, (new.blue if new.failure else new.green,))

    def _queued(self, queued: Revision, after: Deployment) -> None:
        begun = after.rollout is not None and after.rollout.green == queued
        newer = after.queued is not None and after.queued.number >= queued.number
        self.demand(begun or newer or self.asked in ("apply", "remove"), f"{queued.name} was queued, and is forgotten")

    def _first_guest(self, new: Rollout) -> None:
        green = new.green
        self.demand(self._is_ready(green), f"{green.name} gets guests, and is not ready")
        passed = any(
            verdict.outcome is Outcome.PASS and verdict.replicas == self._identities(green)
            for name, verdict in self.gate.verdicts.items()
            if self.gate.runs[name].green == green
        )
        spoken_for = new.approved or new.trusted or not green.gates.any
        self.demand(passed or spoken_for, f"{green.name} gets guests, and these replicas of it did not pass")

    def _rest(self, after: Deployment, may_serve: Sequence[Revision | None]) -> None:
        """A rollout has ended."""
        home, traffic = {after.live.name: 100} if after.live else {}, self.door.traffic(after.name)
        self.demand(traffic == home, f"a rollout ended with {traffic}, and not with {home}")
        self.demand(after.live in may_serve, f"a rollout ended, and {after.live} is live")

    def deleted(self, row: Deployment) -> None:
        self.demand(row.removed, f"nobody removed {row.name}")
        self.demand(row.name not in self.door.tables, f"{row.name} is deleted, and the front door still knows it")
        left = {name for name, _ in self.runtime.lives if _deployment(name) == row.name}
        self.demand(not left, f"{row.name} is deleted, and {left} runs on")
        judged = self.gate.running(row.name)
        self.demand(not judged, f"{row.name} is deleted, and {judged} runs on")

    # What the drivers are asked for

    def published(self, table: Table, was: dict[str, int]) -> None:
        states, now = self._states.get(table.deployment, []), dict(table.weights)
        known = {revision.name: revision for row in states for revision in _at_work(row)}
        self.demand(set(table.backends) <= set(known), f"{table} is not of one rollout")
        stored = [split for row in states for split in (promised(row), *_refuge(row))]
        self.demand(now == was or now in stored, f"{was} -> {now} was not stored before it was done")
        for name, share in now.items():
            if share > was.get(name, 0) and name in known:
                safe = self._is_ready(known[name]) or self._nowhere_better(states[-1], known[name])
                safe = safe or self._is_home(states[-1], known[name])
                safe = safe or (not was and self._better_than_nothing(states[-1]))
                self.demand(safe, f"{was} -> {now}, and {name} is not ready")
                self.demand(not known[name].twin, f"{name} gets guests, and is there to be compared with")

    def withdrawn(self, deployment: str, was: dict[str, int]) -> None:
        stored = [promised(row) for row in self._states.get(deployment, [])]
        self.demand(not was or {} in stored, f"{deployment} was withdrawn with {was}")

    def started(self, revision: Revision) -> None:
        row = self.store.found(revision.deployment)
        asked_for = row and revision.number <= row.revisions
        self.demand(asked_for, f"{revision.name} was started, and nobody asked for it")

    def stopped(self, revision: str) -> None:
        name = _deployment(revision)
        row, share = self.store.found(name), self.door.traffic(name).get(revision)
        self.demand(not share, f"{revision} was stopped with {share} % of the guests")
        self.demand(row is None or revision not in _kept(row), f"{revision} was stopped, and is to serve")

    def replaced(self, replica: Replica) -> None:
        same = [r for r in self.runtime.seen if r.revision == replica.revision and r.index != replica.index]
        well = [r for r in same if r.state is ReplicaState.READY and not r.sick]
        self.demand(well or replica.state is not ReplicaState.READY, f"{replica} was replaced, and nobody else serves")

    def judging(self, run: GateRun) -> None:
        states = [row.active for row in self._states.get(run.green.deployment, []) if row.active]
        stored = any(active.green == run.green and active.attempt >= run.attempt for active in states)
        self.demand(stored, f"{run.name} was begun before it was stored")
        others = set(self.gate.running(run.green.deployment)) - {run.name}
        self.demand(not others, f"{run.name} was begun beside {others}")

    # As the last look saw it

    def _is_ready(self, revision: Revision) -> bool:
        answering = [r for r in self.runtime.seen if r.revision == revision.name and r.state is ReplicaState.READY]
        return min(len(answering), self.door.seen.healthy.get(revision.name, 0)) >= revision.replicas

    def _is_home(self, row: Deployment, revision: Revision) -> bool:
        """Guests belong there whatever becomes of green: as soon as a replica answers, or when green is given up."""
        active = row.active
        if revision != (active.blue if active else row.live):
            return False
        gone = active is not None and (active.superseded_by or not self._answers(active.green))
        return self._answers(revision) or bool(active and active.failure and gone)

    def _answers(self, revision: Revision) -> bool:
        answering = [r for r in self.runtime.seen if r.revision == revision.name and r.state is ReplicaState.READY]
        return bool(answering) and self.door.seen.healthy.get(revision.name, 0) > 0

    def _identities(self, revision: Revision) -> tuple[str, ...]:
        running = [r for r in self.runtime.seen if r.revision == revision.name and r.state in RUNNING_STATES]
        return tuple(r.identity for r in sorted(running, key=lambda r: r.index))

    def _nowhere_better(self, row: Deployment, revision: Revision) -> bool:
        """Green has had all traffic, and blue is no better."""
        active = row.active
        if active is None or active.failure or not active.switched_at or active.green != revision:
            return False
        return active.blue is None or active.released or not self._is_ready(active.blue)

    def _better_than_nothing(self, row: Deployment) -> bool:
        """Blue is away, and the front door has forgotten both: the part of the guests that is green's is answered."""
        active = row.active
        return active is not None and not active.failure and active.step >= 0 and self._is_ready(active.green)


def promised(row: Deployment) -> dict[str, int]:
    """How guests are to be split, as it was stored."""
    active = row.active
    if active is None or active.failure or active.step < 0:
        home = active.blue if active else row.live
        return {home.name: 100} if home else {}
    share = active.green.strategy.steps[active.step]
    blue = {active.blue.name: 100 - share} if active.blue and share < 100 else {}
    return {active.green.name: share} | blue


def _refuge(row: Deployment) -> list[dict[str, int]]:
    """Where guests may be besides, from the time when all ended at once until blue and green are both back."""
    active = row.active
    away = active is not None and active.outage_at is not None and active.recovered_at is None
    return [{active.blue.name: 100}] if active and active.blue and away else []


def _deployment(revision: str) -> str:
    return revision.rpartition("-")[0]


def _at_work(row: Deployment) -> list[Revision]:
    active = row.active
    found = (active.green, active.blue, active.twin) if active else (row.live,)
    return [revision for revision in found if revision]


def _kept(row: Deployment) -> set[str]:
    """What must not be stopped: whoever serves, and blue until there is no way back."""
    active = row.active
    blue = {active.blue.name} if active and active.blue and not active.released else set()
    return blue | set(promised(row))
