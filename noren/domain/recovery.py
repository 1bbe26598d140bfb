"""A rollout after everything of it ended at once, as in a reboot: that says nothing of green, so it goes on. Pure."""

from noren.domain.actions import Action, Shift, Start, Wait
from noren.domain.deployment import Revision
from noren.domain.observation import Observation
from noren.domain.rollout import Rollout, all_ended


def is_recovering(rollout: Rollout, seen: Observation) -> bool:
    """Whether both are on their way back. Once in a rollout, and not for ever: the next time green may be why."""
    if rollout.recovered_at or (rollout.superseded_by and not rollout.switched_at):
        return False
    if seen.broken.get(rollout.green.name):
        return False
    since = rollout.outage_at or (seen.now if all_ended(rollout, seen) else None)
    return since is not None and seen.now < since + rollout.green.strategy.ready_within


def recover(rollout: Rollout, blue: Revision, seen: Observation) -> Action:
    """The next step until blue and green are both back: guests go to blue as soon as it answers.

    That they are back is stored before anything else is decided, because counts begin anew with that.
    """
    green, only_blue = rollout.green, {blue.name: 100}
    if seen.is_ready(green) and seen.is_ready(blue):
        return Wait(f"{green.name} and {blue.name} are back")
    if rollout.step >= 0 and seen.answers(blue) and dict(seen.weights) != only_blue:
        return Shift(only_blue, rollout.step)
    for revision in (blue, green):
        if not seen.complete(revision):
            return Start(revision)
    return Wait(f"{green.name} and {blue.name} ended at once, and start again")
