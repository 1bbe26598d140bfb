"""What the API answers. The same documents are printed by `--json` on the command line."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, field_validator

from noren.control.ports import Event, Leftover, LeftoverKind, Replica, ReplicaState
from noren.control.world import World
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Server
from noren.domain.rollout import Rollout
from noren.domain.verdict import Outcome, Verdict


class ResourcesView(BaseModel):
    """Limits of each replica; null: not limited."""

    cpu: float | None = None
    memory_bytes: int | None = None


class RevisionView(BaseModel):
    """A revision. Values of environment variables may be secrets and are not shown."""

    name: str
    number: int
    bento: str
    replicas: int
    workers: int
    server: Server = Server.NOREN
    resources: ResourcesView = ResourcesView()
    env: list[str]
    steps: list[int]
    promoted: bool  # whether it ever got through a rollout

    @classmethod
    def of(cls, revision: Revision, deployment: Deployment) -> "RevisionView":
        """From the domain."""
        return cls(
            name=revision.name,
            number=revision.number,
            bento=revision.bento,
            replicas=revision.replicas,
            workers=revision.workers,
            server=revision.server,
            resources=ResourcesView.model_validate(revision.resources, from_attributes=True),
            env=sorted(revision.env),
            steps=list(revision.strategy.steps),
            promoted=revision.number in deployment.promoted,
        )


class CheckView(BaseModel):
    """One check of a verdict, with the numbers behind it."""

    name: str
    outcome: Outcome
    detail: str
    figures: dict[str, float]

    @field_validator("figures")
    @classmethod
    def _numbers(cls, figures: dict[str, float]) -> dict[str, float]:
        # What could not be measured is NaN, and JSON has no word for that.
        return {name: value for name, value in figures.items() if math.isfinite(value)}


class VerdictView(BaseModel):
    """What the gate said."""

    revision: str
    attempt: int
    outcome: Outcome
    reason: str
    checks: list[CheckView]
    started_at: datetime
    ended_at: datetime
    evidence: str
    replicas: tuple[str, ...] = ()
    configuration: str = ""
    degraded: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictView":
        """From the domain."""
        return cls.model_validate(verdict, from_attributes=True)


class RolloutView(BaseModel):
    """A rollout under way, or the last one that ended."""

    green: str
    blue: str | None
    state: str
    active: bool
    paused: bool
    emergency: bool = False  # blue is said to be broken: nothing is compared with it
    attempt: int
    failure: str | None
    started_at: datetime
    ready_at: datetime | None
    switched_at: datetime | None
    warm_until: datetime | None = None  # blue is kept until then, in case somebody wants to go back
    ended_at: datetime | None

    @classmethod
    def of(cls, rollout: Rollout) -> "RolloutView":
        """From the domain."""
        return cls(
            green=rollout.green.name,
            blue=rollout.blue.name if rollout.blue else None,
            state=rollout.phase,
            active=rollout.active,
            paused=rollout.paused,
            emergency=rollout.emergency is not None,
            attempt=rollout.attempt,
            failure=rollout.failure,
            started_at=rollout.started_at,
            ready_at=rollout.ready_at,
            switched_at=rollout.switched_at,
            warm_until=rollout.warm_until,
            ended_at=rollout.ended_at,
        )


class ReplicaView(BaseModel):
    """A replica as the machine has it now."""

    revision: str
    index: int
    state: ReplicaState
    address: str
    pid: int | None
    started_at: datetime | None
    restarts: int
    detail: str
    memory_bytes: int

    @classmethod
    def of(cls, replica: Replica) -> "ReplicaView":
        """From the driver's report."""
        return cls.model_validate(replica, from_attributes=True)


class EventView(BaseModel):
    """One line of history: what happened, who asked for it (nobody: Noren itself) and why."""

    id: int
    at: datetime
    kind: str
    message: str
    deployment: str = ""  # "": the whole home
    who: str = ""
    claimed: bool = False  # by their own word: nobody checked it
    reason: str = ""
    before: dict[str, Any] = {}  # live, weights, rollout, phase and step, as they were told
    after: dict[str, Any] = {}

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """From the store."""
        return cls.model_validate(event, from_attributes=True)


class DeploymentView(BaseModel):
    """A deployment: `live` and `weights` are what the front door does now, not what was asked of it."""

    name: str
    live: RevisionView | None
    previous: str | None
    weights: dict[str, int]
    rollout: RolloutView | None
    queued: str | None
    replicas: list[ReplicaView]
    ready: bool  # whether every replica of the live revision answers, also to the front door
    last_verdict: VerdictView | None
    trouble: str | None  # what the machinery complains of now, and what to do
    urls: list[str]

    @classmethod
    def of(cls, deployment: Deployment, world: World, front_door_url: str, trouble: str | None) -> "DeploymentView":
        """The stored deployment beside what is there now."""
        weights = dict(world.door.weights.get(deployment.name, {}))
        live = _live(deployment, weights)
        shown = live or (deployment.rollout.green if deployment.rollout else None)
        return cls(
            name=deployment.name,
            live=RevisionView.of(live, deployment) if live else None,
            previous=deployment.previous.name if deployment.previous else None,
            weights=weights,
            rollout=RolloutView.of(deployment.rollout) if deployment.rollout else None,
            queued=deployment.queued.name if deployment.queued else None,
            replicas=[ReplicaView.of(replica) for replica in world.of(deployment.name)],
            ready=bool(live and world.observation(deployment.name).is_ready(live)),
            last_verdict=VerdictView.of(deployment.last_verdict) if deployment.last_verdict else None,
            trouble=trouble,
            urls=_urls(shown, front_door_url) if shown else [],
        )


class StatusView(BaseModel):
    """Everything at once."""

    version: str
    home: str
    api: str
    front_door: str
    admin: str
    pid: int
    leads: bool = True  # whether this control plane acts, and not another one that shares its store
    leader: str = ""  # which one acts, as far as is known here; "": none
    deployments: list[DeploymentView]


class AppliedView(BaseModel):
    """What `apply` did. `changed` false: exactly this is live or on its way already."""

    changed: bool
    revision: RevisionView
    deployment: str
    called_off: str | None = None  # the revision that makes room for `revision`, which is live and wanted again
    notes: list[str] = []  # what a person should know


class LeftoverView(BaseModel):
    """Something that old revisions left."""

    kind: LeftoverKind
    name: str
    used_at: datetime
    users: list[str]  # revisions
    size_bytes: int

    @classmethod
    def of(cls, leftover: Leftover) -> "LeftoverView":
        """From the driver's report."""
        return cls(
            kind=leftover.kind,
            name=leftover.name,
            used_at=leftover.used_at,
            users=sorted(leftover.users),
            size_bytes=leftover.size_bytes,
        )


def _live(deployment: Deployment, weights: dict[str, int]) -> Revision | None:
    """The revision with most of the traffic; blue when it is a tie."""
    active = deployment.active
    known = [deployment.live, *([active.blue, active.green] if active else [])]
    served = [revision for revision in known if revision and weights.get(revision.name)]
    return max(served, key=lambda revision: weights[revision.name], default=deployment.live)


def _urls(revision: Revision, front_door_url: str) -> Sequence[str]:
    scheme, _, address = front_door_url.partition("://")
    port = address.rpartition(":")[2]
    return [f"{front_door_url}{revision.route.prefix}", f"{scheme}://{revision.route.host}:{port}"]
