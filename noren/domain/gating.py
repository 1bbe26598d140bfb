"""How green gets past the gate: with what it is compared, when it is judged again, and when it is left to a person."""

from datetime import datetime, timedelta

from noren.domain.actions import Action, Hold, Judge, RunGate, Start, Stop, StopGate, Wait
from noren.domain.deployment import Revision
from noren.domain.guests import suffering
from noren.domain.observation import GateState, Lost, Observation
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome, Verdict

MAX_ATTEMPTS = 3  # an INVALID measurement is run again at most twice
ROOM = 1.2  # times the memory of blue must be free before a copy of it is started
_BRAKES_AFTER = timedelta(seconds=5)  # the start of the generator is a stir that passes
_GONE_WITHIN = timedelta(minutes=1)  # a twin that does not end then is left behind: it is ended after the rollout


def pass_gate(rollout: Rollout, seen: Observation) -> Action:
    """The next step of a green that is ready and has no valid verdict that clears it."""
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
        case Lost(last_words) if rollout.attempt:
            return _try_again(rollout, f"the gate ended without a verdict: {last_words}", seen)
        case GateState.ABSENT if rollout.attempt and _overdue(rollout, seen.now):
            late = f"the gate could not be started within {rollout.green.strategy.gate_within}"
            return _try_again(rollout, late, seen)
        case _:  # the first attempt, or a crash between storing it and starting it: names are the same
            return _run_gate(rollout, seen, max(rollout.attempt, 1))


def is_void(rollout: Rollout, seen: Observation) -> bool:
    """Whether green's replicas are not those that passed. Once it has guests, these tell more than a new verdict."""
    judged = rollout.verdict.replicas if rollout.verdict else ()
    if not judged or rollout.step >= 0 or rollout.approved or rollout.trusted:
        return False
    return judged != seen.identities.get(rollout.green.name, ())


def _held(rollout: Rollout, seen: Observation) -> Action:
    if seen.gate is GateState.RUNNING:
        return StopGate("nobody waits for its verdict any more")
    if stop := end_twin(rollout, seen, rollout.held_at):
        return stop
    return Wait("held: `noren promote` or `noren abort` decides")


def _run_gate(rollout: Rollout, seen: Observation, attempt: int) -> Action:
    """Begin an attempt, as soon as there is something to compare with."""
    green, twin = rollout.green, rollout.twin
    if green.gates.load.enabled and seen.gate_busy:
        return Wait("another load test is running; two at once would measure each other")
    degraded = without_twin(rollout, seen)
    if twin is None or degraded:
        return RunGate(green, rollout.blue, attempt, degraded)
    if not seen.complete(twin):
        return Start(twin)
    if not seen.is_ready(twin):
        return Wait(f"{twin.name}, the copy to compare with, is starting")
    return RunGate(green, twin, attempt)


def end_twin(rollout: Rollout, seen: Observation, since: datetime | None) -> Stop | None:
    """Stop the twin that nobody needs `since` then, if it still runs."""
    twin = rollout.twin
    if twin is None or not seen.exists(twin) or seen.now >= (since or seen.now) + _GONE_WITHIN:
        return None
    return Stop(twin.name)


def without_twin(rollout: Rollout, seen: Observation) -> str:
    """Why green is compared with blue itself, which serves guests meanwhile; "" where there is no such reason."""
    twin, blue, load = rollout.twin, rollout.blue, rollout.green.gates.load
    if blue is None or rollout.trusted or not load.enabled:
        return ""
    if twin is None:
        return "gates.load.twin is off"
    if why := seen.broken.get(twin.name):
        return f"a copy of it keeps crashing: {why}"
    if not seen.exists(twin) and (reason := _no_room(rollout.green, blue, seen)):
        return reason
    patience = rollout.green.strategy.ready_within
    began = [at for at in (rollout.ready_at, rollout.verdict and rollout.verdict.ended_at) if at]
    if began and not seen.is_ready(twin) and seen.now >= max(began) + patience:
        return f"a copy of it was not ready within {patience}"
    return ""


def _no_room(green: Revision, blue: Revision, seen: Observation) -> str:
    """Why a copy of blue cannot be had beside blue and green, or ""."""
    if seen.spare_bytes is None:
        return ""
    takes = seen.memory_bytes.get(blue.name) or blue.replicas * (blue.resources.memory_bytes or 0)
    if not takes:
        return "what memory it takes is not known"
    needed = ROOM * takes
    if not seen.is_ready(green):  # it is still loading, and will take about as much as blue
        needed += max(0, takes - seen.memory_bytes.get(green.name, 0))
    if seen.spare_bytes >= needed:
        return ""
    return f"{seen.spare_bytes / 1e6:.0f} MB of memory are to spare, and a copy of it asks for {needed / 1e6:.0f}"


def _brake(rollout: Rollout, seen: Observation) -> str | None:
    """Why the load test must not go on: blue's guests notice it."""
    blue = rollout.blue
    if not rollout.green.gates.load.enabled or blue is None or rollout.attempt_blue is None:
        return None
    if seen.now < (rollout.attempt_at or seen.now) + _BRAKES_AFTER:
        return None
    during = seen.counted(blue.name).since(rollout.attempt_blue)
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
