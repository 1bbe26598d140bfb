"""What a person may ask of a deployment, as pure functions: the deployment before -> the deployment after.

Every function raises Conflict, with the step that helps, where the state does not allow it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from noren.domain.deployment import Revision, digest
from noren.domain.errors import Conflict, NotFound
from noren.domain.rollout import Rollout
from noren.domain.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything about a deployment that changes, stored as one version-guarded row."""

    name: str
    live: Revision | None = None  # what the last successful rollout left serving
    previous: Revision | None = None  # what served before it
    promoted: tuple[int, ...] = ()  # numbers of the revisions that ever got through a rollout
    rollout: Rollout | None = None  # the current one, or the last one that ended
    last_verdict: Verdict | None = None
    queued: Revision | None = None  # applied during a rollout: it begins when that one has ended
    queued_emergency: bool = False  # ... and it was said that blue is broken
    removed: bool = False  # being taken down; the row goes when nothing of it runs
    revisions: int = 0  # how many were made: the number of the newest
    version: int = 0  # of the row; the store guards writes with it

    @property
    def active(self) -> Rollout | None:
        """The rollout under way, if there is one."""
        return self.rollout if self.rollout and self.rollout.active else None

    @property
    def newest(self) -> Revision | None:
        """The revision the user asked for last, unless its rollout failed."""
        active = self.active
        if active and active.failure is None:
            return self.queued or active.green
        return self.queued or self.live

    @property
    def serving(self) -> Revision | None:
        """The revision beside which the next one will start: green once it has all traffic, else what is live."""
        active = self.active
        return active.green if active and active.switched_at and not active.failure else self.live


def upheld(deployment: Deployment) -> tuple[Revision, ...]:
    """The revisions that must run at full strength now, whatever the rollout waits for."""
    active = deployment.active
    if active is None:
        return (deployment.live,) if deployment.live else ()
    blue = (active.blue,) if active.blue and not active.released else ()
    green = (active.green,) if active.step >= 0 and not active.failure else ()
    return blue + green


def in_use(deployment: Deployment) -> tuple[Revision, ...]:
    """The revisions that are needed now, or will be at once: live, on their way, queued, and the one to go back to."""
    active = deployment.active
    rolling = (active.green, active.blue) if active else ()
    return tuple(r for r in (deployment.live, deployment.previous, deployment.queued, *rolling) if r)


def apply(deployment: Deployment, revision: Revision, now: datetime, *, emergency: bool = False) -> Deployment:
    """Ask for a new revision. A rollout under way is superseded; a queued revision is replaced.

    emergency  see `promote`
    """
    newest = max(deployment.revisions, revision.number)
    deployment = replace(deployment, queued=revision, queued_emergency=emergency, revisions=newest)
    if active := deployment.active:
        return replace(deployment, rollout=replace(active, superseded_by=revision.number))
    return begin_queued(deployment, now)


def begin_queued(deployment: Deployment, now: datetime) -> Deployment:
    """Turn the queued revision into a rollout, if nothing is under way."""
    if deployment.queued is None or deployment.active:
        return deployment
    emergency = 1 if deployment.queued_emergency and deployment.live else None
    rollout = Rollout(green=deployment.queued, blue=deployment.live, started_at=now, emergency=emergency)
    return replace(deployment, queued=None, queued_emergency=False, rollout=rollout)


def may_stay(deployment: Deployment, wanted: Revision) -> bool:
    """Whether what is wanted is live already, and nothing but a rollout that can be called off is in its way."""
    active, live = deployment.active, deployment.live
    return live is not None and digest(live) == digest(wanted) and not (active and active.released)


def stay(deployment: Deployment, now: datetime) -> Deployment:
    """Ask for what is live: what is on its way to take its place is called off, what is queued is forgotten."""
    deployment = replace(deployment, queued=None, queued_emergency=False)
    if deployment.active is None or deployment.active.failure or deployment.live is None:
        return deployment
    return _with(deployment, failure=f"{deployment.live.name} was applied again", failed_at=now)


def ended(deployment: Deployment, *, succeeded: bool) -> Deployment:
    """Draw the conclusion of a rollout that has just ended."""
    if not succeeded or deployment.rollout is None:
        return deployment
    green = deployment.rollout.green
    promoted = tuple(sorted({*deployment.promoted, green.number}))
    return replace(deployment, live=green, previous=deployment.live, promoted=promoted)


def promote(deployment: Deployment, *, emergency: bool = False) -> Deployment:
    """Let a held rollout pass, or skip the waiting that is left of one that passed.

    emergency  blue is broken: green is not compared with it any more. Absolute limits decide, and a green that keeps
               them gets all traffic at once; blue stays warm all the same
    """
    active = _under_way(deployment, "promote")
    if active.failure:
        raise Conflict(f"{active.green.name} is being undone: {active.failure}", fix="apply it again")
    if emergency:
        return _in_emergency(deployment, active)
    if active.held_at and not active.approved:
        return _with(deployment, approved=True, paused=False)
    if active.cleared and active.ready_at:
        return _with(deployment, rushed=True, paused=False, unvisited_at=None)
    raise Conflict(
        f"{active.green.name} has not been judged yet ({active.phase})",
        fix="wait for its verdict (`noren watch`); a held rollout can be promoted in spite of it",
    )


def _in_emergency(deployment: Deployment, active: Rollout) -> Deployment:
    if active.blue is None:
        raise Conflict(
            f"{active.green.name} is the first revision: there is no blue that could be broken",
            fix=f"wait for its verdict (`noren watch {deployment.name}`)",
        )
    if active.switched_at:
        raise Conflict(
            f"{active.green.name} has all traffic already ({active.phase})", fix=f"`noren status {deployment.name}`"
        )
    judged = active.held_at is not None or active.verdict is not None
    if active.emergency and not judged:
        return deployment  # the attempt that is due, or runs, is one without blue
    if active.cleared:  # what is left is to give it all traffic
        return _with(deployment, emergency=active.emergency or active.attempt + 1, paused=False, unvisited_at=None)
    return _with(deployment, emergency=active.attempt + 1, paused=False, held_at=None)


def abort(deployment: Deployment, now: datetime, *, reason: str = "aborted by a person") -> Deployment:
    """Undo the rollout under way; blue keeps or gets back all traffic."""
    active = _under_way(deployment, "abort")
    if active.released:
        raise Conflict(
            f"{active.green.name} is promoted and blue is being stopped",
            fix=f"wait a moment, then `noren rollback {deployment.name}`",
        )
    if active.switched_at and active.blue is None:
        raise Conflict(
            f"{active.green.name} is the first revision: there is nothing to go back to",
            fix=f"apply a better one, or remove the deployment with `noren delete {deployment.name}`",
        )
    if active.failure:
        return deployment
    return _with(deployment, failure=reason, failed_at=now)


def pause(deployment: Deployment) -> Deployment:
    """Stop moving traffic; failures are still acted on."""
    _under_way(deployment, "pause")
    return _with(deployment, paused=True)


def resume(deployment: Deployment) -> Deployment:
    """Go on after a pause."""
    _under_way(deployment, "resume")
    return _with(deployment, paused=False, unvisited_at=None)


def rollback(
    deployment: Deployment,
    now: datetime,
    *,
    revisions: Mapping[int, Revision],
    to: int | None = None,
    reason: str = "rolled back by a person",
) -> Deployment:
    """Go back to the previous revision, or to number `to`: by weights alone while it is warm.

    revisions  every revision ever made of the deployment, by number
    Only what was promoted once, and differs from what is live, may come back without asking the gate again.
    Raises NotFound when there is no revision `to`, Conflict when there is nothing to go back to.
    """
    active = deployment.active
    if active and active.trusted:
        raise Conflict(
            f"{deployment.name} is going back to {active.green.name} already ({active.phase})",
            fix=f"`noren watch {deployment.name}` follows it; `noren abort {deployment.name}` calls it off",
        )
    if active and not active.released and (to is None or (active.blue and active.blue.number == to)):
        return abort(deployment, now, reason=reason)
    target = _target(deployment, revisions, to)
    if active:
        raise Conflict(
            f"a rollout of {active.green.name} is under way ({active.phase})",
            fix=f"`noren abort {deployment.name}` first",
        )
    rollout = Rollout(green=target, blue=deployment.live, started_at=now, trusted=True)
    return replace(deployment, rollout=rollout)


def _target(deployment: Deployment, revisions: Mapping[int, Revision], to: int | None) -> Revision:
    see, live = f"see `noren revisions {deployment.name}`", deployment.live
    if to is not None and to not in revisions:
        raise NotFound(f"{deployment.name} has no revision {to}", fix=see)
    target = revisions[to] if to is not None else deployment.previous
    if target is None:
        raise Conflict(f"{deployment.name} has no previous revision", fix=see)
    if target.number not in deployment.promoted:
        raise Conflict(
            f"{target.name} was never promoted, so nothing speaks for it",
            fix=f"apply it again to have it judged; `noren revisions {deployment.name}` shows the promoted ones",
        )
    if live and target.number == live.number:
        raise Conflict(f"{target.name} is the live revision", fix=see)
    if live and digest(target) == digest(live):
        # Or a rollback would change nothing, and the next one would come back here.
        raise Conflict(f"{target.name} is the same as {live.name}, which is live: {target.bento}", fix=see)
    return target


def remove(deployment: Deployment, now: datetime, *, reason: str = "removed by a person") -> Deployment:
    """Take the deployment down: no traffic, no replicas, no gate, then no row."""
    if deployment.active:
        deployment = _with(deployment, failure=reason, failed_at=now, ended_at=now)
    return replace(deployment, removed=True, live=None, queued=None, queued_emergency=False)


def _under_way(deployment: Deployment, verb: str) -> Rollout:
    if deployment.active is None:
        raise Conflict(
            f"no rollout of {deployment.name} is under way, so there is nothing to {verb}",
            fix=f"see `noren status {deployment.name}`",
        )
    return deployment.active


def _with(deployment: Deployment, **changes: object) -> Deployment:
    assert deployment.rollout
    return replace(deployment, rollout=replace(deployment.rollout, **changes))  # type: ignore[arg-type]
