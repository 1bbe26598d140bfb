"""Who asked for what, and what a deployment was before a step and after it, for its history. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from noren.control.ports import Event
from noren.domain.commands import Deployment

ANYONE = "anonymous"
_MARKS = ("paused", "approved", "rushed", "trusted", "emergency", "released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks for something, and why, in their own words."""

    who: str = ANYONE
    reason: str = ""
    claimed: bool = True  # nobody checked who it is


ANYBODY = Asker()


def snapshot(deployment: Deployment) -> dict[str, object]:
    """How traffic is to be split, and how far the rollout is. No value of an environment variable is in it."""
    active, rollout = deployment.active, deployment.rollout
    found: dict[str, object] = {
        "live": deployment.live.name if deployment.live else None,
        "weights": _weights(deployment),
        "rollout": rollout.green.name if rollout else None,
        "phase": rollout.phase if rollout else None,
        "step": active.step if active and active.step >= 0 else None,
    }
    if deployment.queued:
        found["queued"] = deployment.queued.name
    if deployment.removed:
        found["removed"] = True
    if marks := [mark for mark in _MARKS if active and getattr(active, mark)]:
        found["marks"] = marks
    return found


def audited(events: Iterable[Event], before: Deployment | None, after: Deployment | None) -> list[Event]:
    """The same lines with the state that they led from and to. None: there is no such deployment."""
    was, now = snapshot(before) if before else {}, snapshot(after) if after else {}
    return [replace(event, before=was, after=now) for event in events]


def _weights(deployment: Deployment) -> dict[str, int]:
    """As the step wants it. What the front door does now, the machine knows."""
    active, live = deployment.active, deployment.live
    if active is None:
        return {live.name: 100} if live else {}
    green, blue = active.green, active.blue
    share = green.strategy.steps[active.step] if active.step >= 0 and not active.returned_at else 0
    if blue is None:
        return {green.name: 100} if share else {}
    return {name: part for name, part in ((green.name, share), (blue.name, 100 - share)) if part}
