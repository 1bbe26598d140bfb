"""Replacing blue by green: what is stored, what is seen, and the one next step.

`decide` and `record` are pure. A tick is: look -> decide -> store what `record` returns -> act.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from noren.domain.actions import Action, Fail, Finish, Hold, Judge, RunGate, Shift, Start, Stop, StopGate, Wait
from noren.domain.deployment import Revision
from noren.domain.guests import suffering, too_many_errors, worse
from noren.domain.observation import Counts, GateState, Observation
from noren.domain.verdict import Outcome, Verdict

MAX_ATTEMPTS = 3  # an INVALID measurement is run again at most twice
_ROOM = 1.2  # times the memory of blue must be free before a copy of it is started


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
    return _too_many_errors(rollout, seen) or _worse_than_blue(rollout, seen) or _without_guests(rollout, seen)


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
    name = rollout.green.name
    return too_many_errors(name, _counts(seen, name).since(rollout.counted_from), rollout.green.slo.error_rate)


def _worse_than_blue(rollout: Rollout, seen: Observation) -> str | None:
    """Whether green has more than its part of the bad answers while both serve."""
    green, blue = rollout.green, rollout.blue
    if blue is None or rollout.step_green is None or rollout.step_blue is None:
        return None
    share = green.strategy.steps[rollout.step]
    if share == 100 or dict(seen.weights) != _split(rollout, share):
        return None  # the step has not begun, or there is nobody to compare with
    return worse(
        (green.name, blue.name),
        _counts(seen, green.name).since(rollout.step_green),
        _counts(seen, blue.name).since(rollout.step_blue),
        share=share,
        slow_ms=rollout.slow_ms,
        looks=len(green.strategy.steps) - 1,
    )


def _without_guests(rollout: Rollout, seen: Observation) -> str | None:
    """Whether green's step has waited for guests as long as a held rollout waits for a person."""
    patience, missing = rollout.green.strategy.hold_within, _missing_guests(rollout, seen)
    if missing is None or rollout.paused or rollout.unvisited_at is None:
        return None
    late = seen.now >= rollout.unvisited_at + patience
    return f"{missing}, and nobody decided within {patience}" if late else None


def _missing_guests(rollout: Rollout, seen: Observation) -> str | None:
    """What too few guests green has met in its step to say that they are served well, or None."""
    strategy = rollout.green.strategy
    if rollout.step < 0 or rollout.step_green is None or rollout.rushed:
        return None
    met = _counts(seen, rollout.green.name).since(rollout.step_green).requests
    if met >= strategy.step_requests:
        return None
    return f"{rollout.green.name} has met {met} of {strategy.step_requests} guests at {strategy.steps[rollout.step]} %"


def _advance(rollout: Rollout, seen: Observation) -> Action:
    green, twin = rollout.green, rollout.twin
    if not seen.complete(green):
        return Start(green)
    if not seen.is_ready(green):
        # Beside green, so that both are equally fresh when they are compared.
        early = twin and not rollout.cleared and not seen.complete(twin) and not _without_twin(rollout, seen)
        return Start(twin) if twin and early else Wait(f"{green.name} is starting")
    if not rollout.cleared or _void(rollout, seen):
        return _pass_gate(rollout, seen)
    if twin and seen.exists(twin):
        return Stop(twin.name)
    return _shift(rollout, seen)


def _void(rollout: Rollout, seen: Observation) -> bool:
    """Whether green's replicas are not those that passed. Once it has guests, these tell more than a new verdict."""
    judged = rollout.verdict.replicas if rollout.verdict else ()
    if not judged or rollout.step >= 0 or rollout.approved or rollout.trusted:
        return False
    return judged != seen.identities.get(rollout.green.name, ())


def _pass_gate(rollout: Rollout, seen: Observation) -> Action:
    if rollout.held_at:
        return _held(rollout, seen)
    if rollout.verdict:
        return _after_verdict(rollout, rollout.verdict, seen)
    match seen.gate:
        case Verdict() as verdict:
            return Judge(verdict)
        case GateState.RUNNING if reason := _brake(rollout, seen):
            return Judge(_stopped(rollout, reason, seen.now))
        case GateState.RUNNING if not _overdue(rollout, seen.now):
            return Wait("the gate is running")
        case GateState.RUNNING:
            return StopGate(f"no verdict within {rollout.green.strategy.gate_within}")
        case GateState.LOST if rollout.attempt:
            return _try_again(rollout, "the gate ended without a verdict", seen)
        case GateState.ABSENT if rollout.attempt and _overdue(rollout, seen.now):
            late = f"the gate could not be started within {rollout.green.strategy.gate_within}"
            return _try_again(rollout, late, seen)
        case _:  # the first attempt, or a crash between storing it and starting it: names are the same
            return _run_gate(rollout, seen, max(rollout.attempt, 1))


def _held(rollout: Rollout, seen: Observation) -> Action:
    if seen.gate is GateState.RUNNING:
        return StopGate("nobody waits for its verdict any more")
    if rollout.twin and seen.exists(rollout.twin):
        return Stop(rollout.twin.name)
    return Wait("held: `noren promote` or `noren abort` decides")


def _run_gate(rollout: Rollout, seen: Observation, attempt: int) -> Action:
    """Begin an attempt, as soon as there is something to compare with."""
    green, twin = rollout.green, rollout.twin
    degraded = _without_twin(rollout, seen)
    if twin is None or degraded:
        return RunGate(green, rollout.blue, attempt, degraded)
    if not seen.complete(twin):
        return Start(twin)
    if not seen.is_ready(twin):
        return Wait(f"{twin.name}, the copy to compare with, is starting")
    return RunGate(green, twin, attempt)


def _without_twin(rollout: Rollout, seen: Observation) -> str:
    """Why green is compared with blue itself, which serves guests meanwhile; "" where there is no such reason."""
    twin, blue, load = rollout.twin, rollout.blue, rollout.green.gates.load
    if blue is None or rollout.trusted or not load.enabled:
        return ""
    if twin is None:
        return "gates.load.twin is off"
    if why := seen.broken.get(twin.name):
        return f"a copy of it keeps crashing: {why}"
    needed = _ROOM * seen.memory_bytes.get(blue.name, 0)
    if not seen.exists(twin) and seen.spare_bytes is not None and seen.spare_bytes < needed:
        return f"{seen.spare_bytes / 1e6:.0f} MB of memory are to spare, and a copy of it asks for {needed / 1e6:.0f}"
    patience = rollout.green.strategy.ready_within
    if rollout.ready_at and not seen.is_ready(twin) and seen.now >= rollout.ready_at + patience:
        return f"a copy of it was not ready within {patience}"
    return ""


def _brake(rollout: Rollout, seen: Observation) -> str | None:
    """Why the load test must not go on: blue's guests notice it."""
    blue = rollout.blue
    if blue is None or rollout.attempt_blue is None:
        return None
    during = _counts(seen, blue.name).since(rollout.attempt_blue)
    return suffering(blue.name, rollout.attempt_blue, during, blue.slo)


def _stopped(rollout: Rollout, reason: str, now: datetime) -> Verdict:
    began = rollout.attempt_at or rollout.started_at
    return Verdict(
        revision=rollout.green.name,
        attempt=rollout.attempt,
        outcome=Outcome.HOLD,
        reason=f"the load test was stopped: {reason}",
        started_at=began,
        ended_at=now,
    )


def _after_verdict(rollout: Rollout, verdict: Verdict, seen: Observation) -> Action:
    """A verdict that neither fails the rollout (`_failed`) nor clears it (`cleared`), or is void."""
    if verdict.outcome is Outcome.PASS:
        return _try_again(rollout, f"{rollout.green.name} was started again after it was judged", seen)
    if verdict.outcome is Outcome.INVALID:
        return _try_again(rollout, verdict.reason, seen)
    return Hold(verdict.reason)


def _try_again(rollout: Rollout, reason: str, seen: Observation) -> Action:
    if rollout.attempt >= MAX_ATTEMPTS:
        return Hold(f"no valid measurement in {rollout.attempt} attempts: {reason}")
    return _run_gate(rollout, seen, rollout.attempt + 1)


def _overdue(rollout: Rollout, now: datetime) -> bool:
    began = rollout.attempt_at or rollout.started_at
    return now >= began + rollout.green.strategy.gate_within


def _shift(rollout: Rollout, seen: Observation) -> Action:
    steps = rollout.green.strategy.steps
    if rollout.step >= 0 and dict(seen.weights) != _split(rollout, steps[rollout.step]):
        return Shift(_split(rollout, steps[rollout.step]), rollout.step)
    if rollout.paused:
        return Wait("paused: `noren resume` goes on")
    if rollout.step >= 0 and not _watched(rollout, seen.now) and not rollout.rushed:
        return Wait(f"watching {rollout.green.name} at {steps[rollout.step]} %")
    if missing := _missing_guests(rollout, seen):
        return Wait(f"{missing}: `noren promote` goes on without them")
    # The first deployment has nobody to share with, and a person in a hurry skips the steps between.
    step = len(steps) - 1 if rollout.rushed or rollout.blue is None or rollout.trusted else rollout.step + 1
    return Shift(_split(rollout, steps[step]), step)


def _watched(rollout: Rollout, now: datetime) -> bool:
    """Whether the time of the current step is over."""
    began = rollout.step_at or rollout.started_at
    return rollout.step >= 0 and now >= began + rollout.green.strategy.step_wait


def _unvisited(rollout: Rollout, seen: Observation) -> bool:
    """Whether all that the current step waits for are guests."""
    waits = not rollout.paused and not rollout.failure and _watched(rollout, seen.now)
    return waits and _missing_guests(rollout, seen) is not None


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
    if rollout.twin and seen.exists(rollout.twin):
        return Stop(rollout.twin.name)
    if seen.exists(green):
        drained_by = (rollout.failed_at or rollout.started_at) + green.strategy.drain_within
        if not seen.idle(green) and seen.now < drained_by:
            return Wait(f"draining {green.name}")
        return Stop(green.name)
    return Finish(succeeded=False)


def _counts(seen: Observation, name: str) -> Counts:
    return seen.counts.get(name, Counts())


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
            blue = _counts(seen, rollout.blue.name) if rollout.blue else None
            return replace(rollout, attempt=attempt, attempt_at=now, attempt_blue=blue, verdict=None)
        case Judge(verdict):
            return replace(rollout, verdict=verdict)
        case Hold():
            return replace(rollout, held_at=now)
        case Shift(step=int(step)) if step != rollout.step:
            counted_from = rollout.counted_from or _counts(seen, rollout.green.name)
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
    green, blue = _counts(seen, rollout.green.name), _counts(seen, rollout.blue.name)
    return replace(rollout, step_green=green, step_blue=blue)


def _record_progress(rollout: Rollout, seen: Observation) -> Rollout:
    if rollout.running_at is None and seen.complete(rollout.green):
        rollout = replace(rollout, running_at=seen.now)
    if rollout.ready_at is None and seen.is_ready(rollout.green):
        rollout = replace(rollout, ready_at=seen.now)
    return rollout
