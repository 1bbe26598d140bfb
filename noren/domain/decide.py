"""The one next step of a deployment. Pure; a repeated or late call is harmless."""

from datetime import datetime

from noren.domain.actions import Action, Fail, Finish, Shift, Start, Stop, StopGate, Wait
from noren.domain.deployment import Revision
from noren.domain.gating import end_twin, is_void, pass_gate, without_twin
from noren.domain.guests import too_many_errors, worse
from noren.domain.observation import GateState, Observation
from noren.domain.recovery import is_recovering, recover
from noren.domain.rollout import Rollout, missing_guests, watched
from noren.domain.verdict import Outcome


def decide(rollout: Rollout, seen: Observation) -> Action:
    """Choose the one next step. Pure; a repeated or late call is harmless."""
    if rollout.failure:
        return _undo(rollout, rollout.failure, seen)
    if rollout.blue and is_recovering(rollout, seen):
        return recover(rollout, rollout.blue, seen)
    if reason := _failed(rollout, seen):
        return Fail(reason)
    if rollout.baking_from:
        return _settle(rollout, rollout.baking_from, seen)
    return _advance(rollout, seen)


def uphold(live: Revision | None, seen: Observation) -> Action:
    """Choose the next step where no rollout is under way: the live revision gets all traffic, others go.

    `live` None: nothing was ever promoted, or the deployment is being removed.
    """
    home = _all_on(live)
    if dict(seen.weights) != home and (live is None or seen.answers(live)):
        return Shift(home)
    if live and not seen.complete(live):
        return Start(live)
    if live and not seen.is_ready(live):
        return Wait(seen.broken.get(live.name) or f"{live.name} is starting")
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
    if rollout.released or blue is None or not seen.answers(blue):
        return None  # nowhere better to go: the runtime restarts green
    # A part of blue is better than a green that fails, but not than a part of green.
    if not seen.is_ready(green) and (seen.is_ready(blue) or not seen.answers(green)):
        return f"{green.name} became unhealthy after the switch"
    return _too_many_errors(rollout, seen)


def _too_many_errors(rollout: Rollout, seen: Observation) -> str | None:
    since = rollout.recounted or rollout.counted_from
    if since is None:
        return None
    name = rollout.green.name
    return too_many_errors(name, seen.counted(name).since(since), rollout.green.slo.error_rate)


def _worse_than_blue(rollout: Rollout, seen: Observation) -> str | None:
    """Whether green has more than its part of the bad answers while both serve."""
    green, blue = rollout.green, rollout.blue
    if blue is None or rollout.step_green is None or rollout.step_blue is None or rollout.emergency:
        return None
    share = green.strategy.steps[rollout.step]
    if share == 100 or dict(seen.weights) != _split(rollout, share):
        return None  # the step has not begun, or there is nobody to compare with
    return worse(
        (green.name, blue.name),
        seen.counted(green.name).since(rollout.step_green),
        seen.counted(blue.name).since(rollout.step_blue),
        share=share,
        slow_ms=rollout.slow_ms,
        looks=len(green.strategy.steps) - 1,
    )


def _without_guests(rollout: Rollout, seen: Observation) -> str | None:
    """Whether green's step has waited for guests as long as a held rollout waits for a person."""
    patience, missing = rollout.green.strategy.hold_within, missing_guests(rollout, seen)
    if missing is None or rollout.paused or rollout.unvisited_at is None:
        return None
    late = seen.now >= rollout.unvisited_at + patience
    return f"{missing}, and nobody decided within {patience}" if late else None


def _advance(rollout: Rollout, seen: Observation) -> Action:
    green, twin = rollout.green, rollout.twin
    if not seen.complete(green):
        return Start(green)
    if not seen.is_ready(green):
        # Beside green, so that both are equally fresh when they are compared.
        early = twin and not rollout.cleared and not seen.complete(twin) and not without_twin(rollout, seen)
        return Start(twin) if twin and early else Wait(f"{green.name} is starting")
    if not rollout.cleared or is_void(rollout, seen):
        return pass_gate(rollout, seen)
    if seen.gate is GateState.RUNNING:  # a person was faster than the end of a load test that guests suffered from
        return StopGate("nobody waits for its verdict any more")
    judged_at = rollout.verdict.ended_at if rollout.verdict else rollout.held_at
    return end_twin(rollout, seen, judged_at) or _shift(rollout, seen)


def _shift(rollout: Rollout, seen: Observation) -> Action:
    steps, hurried = rollout.green.strategy.steps, rollout.rushed or rollout.emergency is not None
    if rollout.step >= 0 and dict(seen.weights) != _split(rollout, steps[rollout.step]):
        return Shift(_split(rollout, steps[rollout.step]), rollout.step)
    if rollout.paused:
        return Wait("paused: `noren resume` goes on")
    if rollout.step >= 0 and not watched(rollout, seen.now) and not hurried:
        return Wait(f"watching {rollout.green.name} at {steps[rollout.step]} %")
    if not hurried and (missing := missing_guests(rollout, seen)):
        return Wait(f"{missing}: `noren promote` sends it all traffic without them")
    # The first deployment has nobody to share with, and a person in a hurry skips the steps between.
    step = len(steps) - 1 if hurried or rollout.blue is None or rollout.trusted else rollout.step + 1
    return Shift(_split(rollout, steps[step]), step)


def _settle(rollout: Rollout, baking_from: datetime, seen: Observation) -> Action:
    """Green serves. Keep blue warm for a while, let its last requests end, then stop it."""
    green, blue, strategy = rollout.green, rollout.blue, rollout.green.strategy
    if dict(seen.weights) != _all_on(green):
        return Shift(_all_on(green), len(strategy.steps) - 1)
    if blue and rollout.warm_until and (rollout.paused or seen.now < rollout.warm_until):
        return Wait("paused: blue stays warm" if rollout.paused else f"baking: {blue.name} stays warm")
    if blue and seen.exists(blue):
        if not seen.idle(blue) and seen.now < baking_from + max(strategy.bake, strategy.drain_within):
            return Wait(f"draining {blue.name}")
        return Stop(blue.name)
    return Finish(succeeded=True)


def _undo(rollout: Rollout, failure: str, seen: Observation) -> Action:
    green, blue = rollout.green, rollout.blue
    if dict(seen.weights) != _all_on(blue):
        # Guests do not wait for the last replica of blue: what answers of it is better than a green that failed.
        if blue and not seen.answers(blue) and not _gives_blue_up(rollout, blue, seen):
            return Wait(f"{failure}; {blue.name} is starting") if seen.complete(blue) else Start(blue)
        return Shift(_all_on(blue))
    if seen.gate is GateState.RUNNING:
        return StopGate(failure)
    if stop := end_twin(rollout, seen, rollout.failed_at):
        return stop
    if seen.exists(green):
        drained_by = (rollout.returned_at or rollout.failed_at or rollout.started_at) + green.strategy.drain_within
        if not seen.idle(green) and seen.now < drained_by:
            return Wait(f"draining {green.name}")
        return Stop(green.name)
    return Finish(succeeded=False)


def _gives_blue_up(rollout: Rollout, blue: Revision, seen: Observation) -> bool:
    """Whether the rollout ends although nothing of blue answers: the time for that is over, and green does not answer
    either, or a newer revision waits for the end.
    """
    late = rollout.failed_at is not None and seen.now >= rollout.failed_at + blue.strategy.ready_within
    return late and (rollout.superseded_by is not None or not seen.answers(rollout.green))


def _all_on(revision: Revision | None) -> dict[str, int]:
    return {revision.name: 100} if revision else {}


def _split(rollout: Rollout, on_green: int) -> dict[str, int]:
    if rollout.blue is None:
        return _all_on(rollout.green)
    shares = {rollout.green.name: on_green, rollout.blue.name: 100 - on_green}
    return {name: share for name, share in shares.items() if share}
