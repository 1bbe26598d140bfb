"""Replacing blue by green: what is stored of it.

`record` is pure. A tick is: look -> decide -> store what `record` returns -> act.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from noren.domain.actions import Action, Fail, Finish, Hold, Judge, RunGate, Shift, Stop, Wait
from noren.domain.deployment import Revision
from noren.domain.observation import Counts, Observation
from noren.domain.verdict import Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The part of a rollout that no observation can tell us, so we store it. All times are UTC."""

    green: Revision
    blue: Revision | None  # None: first deployment
    started_at: datetime
    trusted: bool = False  # green has passed before: a rollback does not ask the gate again
    running_at: datetime | None = None  # when all of green's replicas ran for the first time
    ready_at: datetime | None = None  # ... and when all of them were ready
    attempt: int = 0  # at the gate; 0: none yet
    attempt_at: datetime | None = None
    attempt_blue: Counts | None = None  # the front door's counts of blue when the attempt began
    verdict: Verdict | None = None  # of the current attempt
    held_at: datetime | None = None
    approved: bool = False  # a person promoted it in spite of the gate
    step: int = -1  # index into strategy.steps; -1: no traffic yet
    step_at: datetime | None = None
    unvisited_at: datetime | None = None  # when a step's time was over, and too few guests had come
    counted_from: Counts | None = None  # the front door's counts of green before its first guest
    step_green: Counts | None = None  # ... and of both when the step began
    step_blue: Counts | None = None
    switched_at: datetime | None = None  # when green got all traffic
    paused: bool = False
    rushed: bool = False  # a person skips the waiting that is left
    emergency: int | None = None  # a person says that blue is broken: from this attempt on nothing is compared with it
    superseded_by: int | None = None  # the revision that was applied after this one
    failure: str | None = None  # set once; from then on we only undo
    failed_at: datetime | None = None
    returned_at: datetime | None = None  # when traffic was sent back to blue
    released: bool = False  # blue is being stopped: from here there is no way back
    outage_at: datetime | None = None  # when nothing of blue and green ran any more: a reboot, for example
    recovered_at: datetime | None = None  # ... and when both were back
    recounted: Counts | None = None  # the front door's counts of green then
    ended_at: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether there is something left to do."""
        return self.ended_at is None

    @property
    def cleared(self) -> bool:
        """Whether green may have traffic."""
        passed = self.verdict is not None and self.verdict.outcome is Outcome.PASS
        return passed or self.approved or self.trusted or not self.green.gates.any

    @property
    def twin(self) -> Revision | None:
        """The fresh copy of blue that green is compared with; None where none is asked for."""
        load = self.green.gates.load
        if self.blue is None or self.trusted or not load.enabled or not load.twin:
            return None
        return replace(self.blue, twin=True)

    @property
    def slow_ms(self) -> float | None:
        """The latency from which on an answer is slow: blue's p99 at the gate, and the margin."""
        for check in self.verdict.checks if self.verdict else ():
            if check.name == "p99" and {"blue_ms", "margin"} <= set(check.figures):
                return check.figures["blue_ms"] * check.figures["margin"]
        return None

    @property
    def baking_from(self) -> datetime | None:
        """Since when green serves all guests, without a gap; None before."""
        return self.switched_at and max(self.switched_at, self.recovered_at or self.switched_at)

    @property
    def warm_until(self) -> datetime | None:
        """Until when blue, which has no guests any more, is kept; None where it is not, or nobody waits for that."""
        hurried = self.rushed or self.superseded_by is not None or self.released
        if self.blue is None or self.baking_from is None or self.failure or hurried:
            return None
        return self.baking_from + self.green.strategy.bake

    @property
    def phase(self) -> str:
        """The state in the words of a person."""
        strategy = self.green.strategy
        if self.ended_at:
            return "undone" if self.failure else "done"
        if self.failure:
            return "undoing"
        if self.switched_at:
            return "baking"
        if self.step >= 0:
            return f"{'unvisited' if self.unvisited_at else 'shifting'}({strategy.steps[self.step]})"
        if self.held_at and not self.approved:
            return "held"
        if self.ready_at:
            return "gating"
        return "warming" if self.running_at else "starting"


def record(rollout: Rollout, action: Action, seen: Observation) -> Rollout:
    """What must be stored before `action` is carried out, so that a crash right after it is harmless."""
    rollout = _record_progress(rollout, seen)
    now = seen.now
    match action:
        case RunGate(attempt=attempt) if attempt != rollout.attempt:
            blue = seen.counted(rollout.blue.name) if rollout.blue else None
            return replace(rollout, attempt=attempt, attempt_at=now, attempt_blue=blue, verdict=None)
        case Judge(verdict):
            return replace(rollout, verdict=verdict)
        case Hold():
            return replace(rollout, held_at=now)
        case Shift(step=int(step)) if step != rollout.step:
            counted_from = rollout.counted_from or seen.counted(rollout.green.name)
            last = step == len(rollout.green.strategy.steps) - 1
            switched_at = now if last else None
            rollout = replace(rollout, step=step, step_at=now, counted_from=counted_from, switched_at=switched_at)
            return _count_step(replace(rollout, unvisited_at=None), seen)
        case Shift(step=None) if rollout.returned_at is None:
            return replace(rollout, returned_at=now)
        case Stop(name) if rollout.failure is None and rollout.blue and name == rollout.blue.name:
            return replace(rollout, released=True)
        case Wait() if rollout.unvisited_at is None and _unvisited(rollout, seen):
            return replace(rollout, unvisited_at=now)
        case Fail(reason):
            return replace(rollout, failure=reason, failed_at=now)
        case Finish():
            return replace(rollout, ended_at=now)
        case _:
            return rollout


def _count_step(rollout: Rollout, seen: Observation) -> Rollout:
    """Count from here what both answer while they share the traffic."""
    if rollout.blue is None or rollout.switched_at:
        return replace(rollout, step_green=None, step_blue=None)
    green, blue = seen.counted(rollout.green.name), seen.counted(rollout.blue.name)
    return replace(rollout, step_green=green, step_blue=blue)


def all_ended(rollout: Rollout, seen: Observation) -> bool:
    """Whether nothing of blue and green runs, though both did: one of them alone has only itself to blame."""
    green, blue = rollout.green, rollout.blue
    if blue is None or rollout.ready_at is None or rollout.failure or rollout.released:
        return False
    return not seen.running.get(green.name) and not seen.running.get(blue.name)


def _record_progress(rollout: Rollout, seen: Observation) -> Rollout:
    if rollout.running_at is None and seen.complete(rollout.green):
        rollout = replace(rollout, running_at=seen.now)
    if rollout.ready_at is None and seen.is_ready(rollout.green):
        rollout = replace(rollout, ready_at=seen.now)
    if rollout.outage_at is None and all_ended(rollout, seen):
        return replace(rollout, outage_at=seen.now)
    if rollout.outage_at and rollout.recovered_at is None:
        return _record_recovery(rollout, seen)
    return rollout


def _record_recovery(rollout: Rollout, seen: Observation) -> Rollout:
    """When both are back, the step begins anew, and so does all counting: what guests met meanwhile was the outage."""
    green, blue = rollout.green, rollout.blue
    if blue is None or not (seen.is_ready(green) and seen.is_ready(blue)):
        return rollout
    rollout = replace(rollout, recovered_at=seen.now)
    if rollout.step < 0:
        return rollout
    rollout = replace(rollout, step_at=seen.now, unvisited_at=None, recounted=seen.counted(green.name))
    return _count_step(rollout, seen)


def _unvisited(rollout: Rollout, seen: Observation) -> bool:
    """Whether all that the current step waits for are guests."""
    waits = not rollout.paused and not rollout.failure and watched(rollout, seen.now)
    return waits and missing_guests(rollout, seen) is not None


def watched(rollout: Rollout, now: datetime) -> bool:
    """Whether the time of the current step is over."""
    began = rollout.step_at or rollout.started_at
    return rollout.step >= 0 and now >= began + rollout.green.strategy.step_wait


def missing_guests(rollout: Rollout, seen: Observation) -> str | None:
    """What too few guests green has met in its step to say that they are served well, or None."""
    strategy = rollout.green.strategy
    if rollout.step < 0 or rollout.step_green is None or rollout.rushed:
        return None
    met = seen.counted(rollout.green.name).since(rollout.step_green).requests
    if met >= strategy.step_requests:
        return None
    return f"{rollout.green.name} has met {met} of {strategy.step_requests} guests at {strategy.steps[rollout.step]} %"
