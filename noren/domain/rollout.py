"""Replacing blue by green: what is stored, what is seen, and the one next step.

`decide` and `record` are pure. A tick is: look -> decide -> store what `record` returns -> act.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from noren.domain.actions import Action, Fail, Finish, Hold, Judge, RunGate, Shift, Start, Stop, StopGate, Wait
from noren.domain.deployment import Revision
from noren.domain.evidence import ENOUGH, evidence
from noren.domain.observation import Counts, GateState, Observation
from noren.domain.verdict import Outcome, Verdict

MAX_ATTEMPTS = 3  # an INVALID measurement is run again at most twice
MIN_REQUESTS = 20  # fewer answers than this say nothing of an error rate
WORSE_ODDS = 1.5  # how many times its part of the errors green may have while it shares the traffic with blue


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
    verdict: Verdict | None = None  # of the current attempt
    held_at: datetime | None = None
    approved: bool = False  # a person promoted it in spite of the gate
    step: int = -1  # index into strategy.steps; -1: no traffic yet
    step_at: datetime | None = None
    counted_from: Counts | None = None  # the front door's counts of green before its first guest
    step_green: Counts | None = None  # ... and of both when the step began
    step_blue: Counts | None = None
    switched_at: datetime | None = None  # when green got all traffic
    paused: bool = False
    rushed: bool = False  # a person skips the waiting that is left
    superseded_by: int | None = None  # the revision that was applied after this one
    failure: str | None = None  # set once; from then on we only undo
    failed_at: datetime | None = None
    returned_at: datetime | None = None  # when traffic was sent back to blue
    released: bool = False  # blue is being stopped: from here there is no way back
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
            return f"shifting({strategy.steps[self.step]})"
        if self.held_at and not self.approved:
            return "held"
        if self.ready_at:
            return "gating"
        return "warming" if self.running_at else "starting"


def decide(rollout: Rollout, seen: Observation) -> Action:
    """Choose the one next step. Pure; a repeated or late call is harmless."""
    if rollout.failure:
        return _undo(rollout, rollout.failure, seen)
    if reason := _failed(rollout, seen):
        return Fail(reason)
    if rollout.switched_at:
        return _settle(rollout, rollout.switched_at, seen)
    return _advance(rollout, seen)


def uphold(live: Revision | None, seen: Observation) -> Action:
    """Choose the next step where no rollout is under way: the live revision gets all traffic, others go.

    `live` None: nothing was ever promoted, or the deployment is being removed.
    """
    home = _all_on(live)
    if live and not seen.complete(live):
        return Start(live)
    if live and not seen.is_ready(live):
        return Wait(seen.broken.get(live.name) or f"{live.name} is starting")
    if dict(seen.weights) != home:
        return Shift(home)
    for name, count in seen.present.items():
        if count and name not in home and not seen.in_flight.get(name):
            return Stop(name)
    return Wait("nothing to do")


def _failed(rollout: Rollout, seen: Observation) -> str | None:
    """Why the rollout cannot go on, or None. Asked in every state, also while a person is waited for."""
    green, strategy = rollout.green, rollout.green.strategy
    if rollout.switched_at:
        return _failed_after_switch(rollout, seen)
    if rollout.superseded_by:
        return f"superseded by revision {rollout.superseded_by}"
    if broken := seen.broken.get(green.name):
        return f"{green.name} keeps crashing: {broken}"
    if rollout.ready_at is None and not seen.is_ready(green):
        late = seen.now >= rollout.started_at + strategy.ready_within
        return f"{green.name} was not ready within {strategy.ready_within}" if late else None
    # A verdict tells more than what it made of green: one that dies at its first request is unhealthy too.
    if rollout.verdict and rollout.verdict.outcome is Outcome.FAIL and not rollout.cleared:
        return f"{green.name} failed its gate: {rollout.verdict.reason}"
    if not seen.is_ready(green):
        return f"{green.name} became unhealthy"
    if rollout.held_at and not rollout.approved and seen.now >= rollout.held_at + strategy.hold_within:
        return f"nobody decided within {strategy.hold_within}"
    return _too_many_errors(rollout, seen) or _worse_than_blue(rollout, seen)


def _failed_after_switch(rollout: Rollout, seen: Observation) -> str | None:
    green, blue = rollout.green, rollout.blue
    if rollout.released or blue is None or not seen.is_ready(blue):
        return None  # nowhere better to go: the runtime restarts green
    if not seen.is_ready(green):
        return f"{green.name} became unhealthy after the switch"
    return _too_many_errors(rollout, seen)


def _too_many_errors(rollout: Rollout, seen: Observation) -> str | None:
    if rollout.counted_from is None:
        return None
    name, limit = rollout.green.name, rollout.green.slo.error_rate
    counts = seen.counts.get(name, Counts()).since(rollout.counted_from)
    # As in the gate, one error is forgiven among few requests, unless none is allowed at all.
    allowed = max(1.0, limit * counts.requests) if limit else 0.0
    if counts.requests >= MIN_REQUESTS and counts.errors > allowed:
        return f"{name} answered {counts.errors} of {counts.requests} guests with 5xx (limit {limit:.2%})"
    return None


def _worse_than_blue(rollout: Rollout, seen: Observation) -> str | None:
    """Whether green has more than its part of the 5xx while both serve. What hits both alike is no reason."""
    green, blue = rollout.green, rollout.blue
    if blue is None or rollout.step_green is None or rollout.step_blue is None:
        return None
    share = green.strategy.steps[rollout.step]
    if share == 100 or dict(seen.weights) != _split(rollout, share):
        return None  # the step has not begun, or there is nobody to compare with
    of_green = seen.counts.get(green.name, Counts()).since(rollout.step_green)
    of_blue = seen.counts.get(blue.name, Counts()).since(rollout.step_blue)
    if evidence(of_green.errors, of_blue.errors, share / 100, WORSE_ODDS) < ENOUGH:
        return None
    return (
        f"{green.name} answered {of_green.errors} of {of_green.requests} guests with 5xx at {share} % of the traffic, "
        f"{blue.name} {of_blue.errors} of {of_blue.requests}"
    )


def _advance(rollout: Rollout, seen: Observation) -> Action:
    green = rollout.green
    if not seen.complete(green):
        return Start(green)
    if not seen.is_ready(green):
        return Wait(f"{green.name} is starting")
    if not rollout.cleared:
        return _pass_gate(rollout, seen)
    return _shift(rollout, seen)


def _pass_gate(rollout: Rollout, seen: Observation) -> Action:
    if rollout.held_at:
        return Wait("held: `noren promote` or `noren abort` decides")
    if rollout.verdict:
        return _after_verdict(rollout, rollout.verdict)
    match seen.gate:
        case Verdict() as verdict:
            return Judge(verdict)
        case GateState.RUNNING if not _overdue(rollout, seen.now):
            return Wait("the gate is running")
        case GateState.RUNNING:
            return StopGate(f"no verdict within {rollout.green.strategy.gate_within}")
        case GateState.LOST if rollout.attempt:
            return _try_again(rollout, "the gate ended without a verdict")
        case GateState.ABSENT if rollout.attempt and _overdue(rollout, seen.now):
            return _try_again(rollout, f"the gate could not be started within {rollout.green.strategy.gate_within}")
        case _:  # the first attempt, or a crash between storing it and starting it: names are the same
            return RunGate(rollout.green, rollout.blue, max(rollout.attempt, 1))


def _after_verdict(rollout: Rollout, verdict: Verdict) -> Action:
    """A verdict that neither clears (`cleared`) nor fails (`_failed`) the rollout."""
    if verdict.outcome is Outcome.INVALID:
        return _try_again(rollout, verdict.reason)
    return Hold(verdict.reason)


def _try_again(rollout: Rollout, reason: str) -> Action:
    if rollout.attempt >= MAX_ATTEMPTS:
        return Hold(f"no valid measurement in {rollout.attempt} attempts: {reason}")
    return RunGate(rollout.green, rollout.blue, rollout.attempt + 1)


def _overdue(rollout: Rollout, now: datetime) -> bool:
    began = rollout.attempt_at or rollout.started_at
    return now >= began + rollout.green.strategy.gate_within


def _shift(rollout: Rollout, seen: Observation) -> Action:
    steps, strategy = rollout.green.strategy.steps, rollout.green.strategy
    if rollout.step >= 0 and dict(seen.weights) != _split(rollout, steps[rollout.step]):
        return Shift(_split(rollout, steps[rollout.step]), rollout.step)
    if rollout.paused:
        return Wait("paused: `noren resume` goes on")
    watched_until = (rollout.step_at or rollout.started_at) + strategy.step_wait
    if rollout.step >= 0 and seen.now < watched_until and not rollout.rushed:
        return Wait(f"watching {rollout.green.name} at {steps[rollout.step]} %")
    # The first deployment has nobody to share with, and a person in a hurry skips the steps between.
    step = len(steps) - 1 if rollout.rushed or rollout.blue is None or rollout.trusted else rollout.step + 1
    return Shift(_split(rollout, steps[step]), step)


def _settle(rollout: Rollout, switched_at: datetime, seen: Observation) -> Action:
    """Green serves. Keep blue warm for a while, let its last requests end, then stop it."""
    green, blue, strategy = rollout.green, rollout.blue, rollout.green.strategy
    if dict(seen.weights) != _all_on(green):
        return Shift(_all_on(green), len(strategy.steps) - 1)
    hurried = rollout.rushed or rollout.superseded_by is not None or rollout.released
    if blue and not hurried and (rollout.paused or seen.now < switched_at + strategy.bake):
        return Wait("paused: blue stays warm" if rollout.paused else f"baking: {blue.name} stays warm")
    if blue and seen.exists(blue):
        if not seen.idle(blue) and seen.now < switched_at + max(strategy.bake, strategy.drain_within):
            return Wait(f"draining {blue.name}")
        return Stop(blue.name)
    return Finish(succeeded=True)


def _undo(rollout: Rollout, failure: str, seen: Observation) -> Action:
    green, blue = rollout.green, rollout.blue
    if dict(seen.weights) != _all_on(blue):
        if blue and not seen.is_ready(blue):
            return Wait(f"{failure}; {blue.name} is starting") if seen.complete(blue) else Start(blue)
        return Shift(_all_on(blue))
    if seen.gate is GateState.RUNNING:
        return StopGate(failure)
    if seen.exists(green):
        drained_by = (rollout.failed_at or rollout.started_at) + green.strategy.drain_within
        if not seen.idle(green) and seen.now < drained_by:
            return Wait(f"draining {green.name}")
        return Stop(green.name)
    return Finish(succeeded=False)


def _all_on(revision: Revision | None) -> dict[str, int]:
    return {revision.name: 100} if revision else {}


def _split(rollout: Rollout, on_green: int) -> dict[str, int]:
    if rollout.blue is None:
        return _all_on(rollout.green)
    shares = {rollout.green.name: on_green, rollout.blue.name: 100 - on_green}
    return {name: share for name, share in shares.items() if share}


def record(rollout: Rollout, action: Action, seen: Observation) -> Rollout:
    """What must be stored before `action` is carried out, so that a crash right after it is harmless."""
    rollout = _record_progress(rollout, seen)
    now = seen.now
    match action:
        case RunGate(attempt=attempt) if attempt != rollout.attempt:
            return replace(rollout, attempt=attempt, attempt_at=now, verdict=None)
        case Judge(verdict):
            return replace(rollout, verdict=verdict)
        case Hold():
            return replace(rollout, held_at=now)
        case Shift(step=int(step)) if step != rollout.step:
            counted_from = rollout.counted_from or seen.counts.get(rollout.green.name, Counts())
            last = step == len(rollout.green.strategy.steps) - 1
            switched_at = now if last else None
            rollout = replace(rollout, step=step, step_at=now, counted_from=counted_from, switched_at=switched_at)
            return _count_step(rollout, seen)
        case Shift(step=None) if rollout.returned_at is None:
            return replace(rollout, returned_at=now)
        case Stop(name) if rollout.failure is None and rollout.blue and name == rollout.blue.name:
            return replace(rollout, released=True)
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
    green, blue = (seen.counts.get(revision.name, Counts()) for revision in (rollout.green, rollout.blue))
    return replace(rollout, step_green=green, step_blue=blue)


def _record_progress(rollout: Rollout, seen: Observation) -> Rollout:
    if rollout.running_at is None and seen.complete(rollout.green):
        rollout = replace(rollout, running_at=seen.now)
    if rollout.ready_at is None and seen.is_ready(rollout.green):
        rollout = replace(rollout, ready_at=seen.now)
    return rollout
