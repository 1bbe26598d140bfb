"""The REST API of the control plane. Reading asks the machine; every command goes through the use cases."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Body, FastAPI, Path, Query

from noren import __version__
from noren.api import PREFIX, problems
from noren.api.asker import By
from noren.api.edge import Edge
from noren.api.schemas import (
    AppliedView,
    DeploymentView,
    EventView,
    LeftoverView,
    RevisionView,
    StatusView,
    VerdictView,
)
from noren.control.ports import DoorView, Memory, Runtime
from noren.control.retention import Sweeper
from noren.control.use_cases import Commands
from noren.control.world import World
from noren.domain.commands import Deployment
from noren.domain.errors import DriverError, NotFound, SpecError
from noren.manifests.deployment_file import LONGEST_NAME, NAME, Request

_MOST_REVISIONS, _MOST_EVENTS = 2**31 - 1, 2**63 - 1  # that a database can count
Name = Annotated[str, Path(pattern=NAME, max_length=LONGEST_NAME, description="of the deployment")]
Emergency = Annotated[
    bool, Query(description="blue is broken: green is not compared with it, absolute limits decide; needs a reason")
]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the API needs of the control plane."""

    commands: Commands
    store: Memory
    runtime: Runtime
    sweeper: Sweeper
    look: Callable[[], World]
    home: str
    api_url: str
    front_door_url: str
    admin_url: str
    trouble: Callable[[str], str | None]
    lately: Callable[[], World | None] = lambda: None
    allowed_hosts: Sequence[str]
    leads: Callable[[], bool] = lambda: True
    leader: Callable[[], str] = lambda: ""

    def view(self, deployment: Deployment, world: World | None = None) -> DeploymentView:
        """The stored deployment beside what is there now."""
        trouble = self.trouble(deployment.name)
        return DeploymentView.of(deployment, world or self.look(), self.front_door_url, trouble)

    def told(self, deployment: Deployment) -> DeploymentView:
        """What a command led to. It is stored: who is told of an error asks again, and for more than they want.

        What was seen lately is good enough: the loop, which carries it out, does not have to wait for another look.
        """
        try:
            return self.view(deployment, self.lately())
        except DriverError as error:
            unseen = World(now=datetime.now(UTC), replicas=(), door=DoorView())
            return DeploymentView.of(deployment, unseen, self.front_door_url, str(error))


def make(parts: Parts) -> FastAPI:
    """The application: OpenAPI at /docs, everything else below /noren/v1."""
    app = FastAPI(
        title="Noren",
        version=__version__,
        description="Rollouts of Bentos, gated by load tests.",
        redoc_url=None,
        responses=problems.DESCRIBED,
    )
    app.add_middleware(Edge, allowed_hosts=parts.allowed_hosts)
    problems.install(app)
    _add_status(app, parts)
    _add_deployments(app, parts)
    _add_commands(app, parts)
    _add_history(app, parts)
    _add_home(app, parts)
    return app


def _add_status(app: FastAPI, parts: Parts) -> None:
    @app.get("/livez", summary="Whether the control plane runs")
    def livez() -> dict[str, str]:
        return {"status": "ok", "home": parts.home}

    @app.get(PREFIX + "/status", summary="Everything at once")
    def status() -> StatusView:
        world = parts.look()
        return StatusView(
            version=__version__,
            home=parts.home,
            api=parts.api_url,
            front_door=parts.front_door_url,
            admin=parts.admin_url,
            pid=os.getpid(),
            leads=parts.leads(),
            leader=parts.leader(),
            deployments=[parts.view(deployment, world) for deployment in parts.store.deployments()],
        )


def _add_deployments(app: FastAPI, parts: Parts) -> None:
    @app.get(PREFIX + "/deployments/{name}", summary="One deployment")
    def get(name: Name) -> DeploymentView:
        return parts.view(parts.store.load(name))

    @app.put(PREFIX + "/deployments/{name}", summary="Declare a deployment; begins a rollout where it differs")
    def apply(name: Name, request: Request, by: By, emergency: Emergency = False) -> AppliedView:
        if name != request.spec.name:
            raise SpecError(f"the address says {name!r}, the body {request.spec.name!r}", fix="use one name")
        applied = parts.commands.apply(request.revision(), by, emergency=emergency)
        return AppliedView(
            changed=applied.changed,
            revision=RevisionView.of(applied.revision, applied.deployment),
            deployment=name,
            called_off=applied.called_off,
            notes=list(applied.notes),
        )

    @app.delete(PREFIX + "/deployments/{name}", status_code=202, summary="Take a deployment down")
    def delete(name: Name, by: By) -> DeploymentView:
        return parts.told(parts.commands.remove(name, by))


def _add_commands(app: FastAPI, parts: Parts) -> None:
    @app.post(PREFIX + "/deployments/{name}/promote", summary="Pass a held rollout, or skip the rest of the steps")
    def promote(name: Name, by: By, emergency: Emergency = False) -> DeploymentView:
        return parts.told(parts.commands.promote(name, by, emergency=emergency))

    @app.post(PREFIX + "/deployments/{name}/abort", summary="Undo the rollout under way")
    def abort(name: Name, by: By) -> DeploymentView:
        return parts.told(parts.commands.abort(name, by))

    @app.post(PREFIX + "/deployments/{name}/pause", summary="Stop moving traffic")
    def pause(name: Name, by: By) -> DeploymentView:
        return parts.told(parts.commands.pause(name, by))

    @app.post(PREFIX + "/deployments/{name}/resume", summary="Go on after a pause")
    def resume(name: Name, by: By) -> DeploymentView:
        return parts.told(parts.commands.resume(name, by))

    @app.post(PREFIX + "/deployments/{name}/rollback", summary="Back to the previous revision, or to a given one")
    def rollback(
        name: Name, by: By, to: Annotated[int | None, Body(embed=True, ge=1, le=_MOST_REVISIONS)] = None
    ) -> DeploymentView:
        return parts.told(parts.commands.rollback(name, to, by))


def _add_history(app: FastAPI, parts: Parts) -> None:
    @app.get(PREFIX + "/deployments/{name}/revisions", summary="Every revision, oldest first")
    def revisions(name: Name) -> list[RevisionView]:
        deployment = parts.store.load(name)
        return [RevisionView.of(revision, deployment) for revision in parts.store.revisions(name)]

    @app.get(PREFIX + "/deployments/{name}/verdicts", summary="Every verdict, oldest first")
    def verdicts(name: Name) -> list[VerdictView]:
        return [VerdictView.of(verdict) for verdict in parts.store.verdicts(name)]

    @app.get(PREFIX + "/deployments/{name}/events", summary="What happened after the event of that id")
    def events(name: Name, after: Annotated[int, Query(ge=0, le=_MOST_EVENTS)] = 0) -> list[EventView]:
        return [EventView.of(event) for event in parts.store.events(name, after=after)]

    @app.get(PREFIX + "/deployments/{name}/revisions/{number}/logs", summary="The last lines of every replica")
    def logs(
        name: Name,
        number: Annotated[int, Path(ge=1, le=_MOST_REVISIONS)],
        lines: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> list[str]:
        parts.store.load(name)
        return list(parts.runtime.logs(f"{name}-{number}", lines=lines))


def _add_home(app: FastAPI, parts: Parts) -> None:
    @app.get(PREFIX + "/history", summary="Who asked for what and why, and what became of it; also of what was deleted")
    def history(
        name: Annotated[str | None, Query(pattern=r"^[a-z0-9-]+$", max_length=63, description="one deployment")] = None,
        since: Annotated[datetime | None, Query(description="UTC where it names no zone")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="of the newest lines")] = 100,
    ) -> list[EventView]:
        lines = parts.store.history(name, since=_utc(since), limit=limit)
        if name and not lines and not parts.store.history(name, limit=1):
            raise NotFound(f"nothing is known of a deployment named {name!r}", fix="`noren history` has all of them")
        return [EventView.of(line) for line in lines]

    @app.post(PREFIX + "/prune", summary="Remove what old revisions left and nobody needs")
    def prune(
        by: By,
        bentos: Annotated[bool, Query(description="also Bentos that nothing else here used")] = False,
        dry_run: Annotated[bool, Query(description="remove nothing")] = False,
    ) -> list[LeftoverView]:
        return [LeftoverView.of(one) for one in parts.sweeper.sweep(bentos=bentos, dry_run=dry_run, by=by)]


def _utc(at: datetime | None) -> datetime | None:
    if at is None or at.tzinfo is None:
        return at and at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise SpecError(f"since: {at.isoformat()} is no time that there was", fix="name a later one") from error
