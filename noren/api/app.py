"""The REST API of the control plane. Reading asks the machine; every command goes through the use cases."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Body, FastAPI, Query
from starlette.middleware.trustedhost import TrustedHostMiddleware

from noren import __version__
from noren.api import PREFIX, problems
from noren.api.schemas import AppliedView, DeploymentView, EventView, RevisionView, StatusView, VerdictView
from noren.control.ports import Memory, Runtime
from noren.control.use_cases import Commands
from noren.control.world import World
from noren.domain.commands import Deployment
from noren.domain.errors import SpecError
from noren.manifests.deployment_file import Request


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the API needs of the control plane."""

    commands: Commands
    store: Memory
    runtime: Runtime
    look: Callable[[], World]
    home: str
    api_url: str
    front_door_url: str
    admin_url: str
    trouble: Callable[[str], str | None]
    allowed_hosts: Sequence[str]

    def view(self, deployment: Deployment, world: World | None = None) -> DeploymentView:
        """The stored deployment beside what is there now."""
        trouble = self.trouble(deployment.name)
        return DeploymentView.of(deployment, world or self.look(), self.front_door_url, trouble)


def make(parts: Parts) -> FastAPI:
    """The application: OpenAPI at /docs, everything else below /noren/v1."""
    app = FastAPI(
        title="Noren", version=__version__, description="Rollouts of Bentos, gated by load tests.", redoc_url=None
    )
    # A page in a browser can make it call loopback under a name of the page's own (DNS rebinding).
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(parts.allowed_hosts))
    problems.install(app)
    _add_status(app, parts)
    _add_deployments(app, parts)
    _add_commands(app, parts)
    _add_history(app, parts)
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
            deployments=[parts.view(deployment, world) for deployment in parts.store.deployments()],
        )


def _add_deployments(app: FastAPI, parts: Parts) -> None:
    @app.get(PREFIX + "/deployments/{name}", summary="One deployment")
    def get(name: str) -> DeploymentView:
        return parts.view(parts.store.load(name))

    @app.put(PREFIX + "/deployments/{name}", summary="Declare a deployment; begins a rollout where it differs")
    def apply(name: str, request: Request) -> AppliedView:
        if name != request.spec.name:
            raise SpecError(f"the address says {name!r}, the body {request.spec.name!r}", fix="use one name")
        applied = parts.commands.apply(request.revision())
        revision = RevisionView.of(applied.revision, applied.deployment)
        return AppliedView(changed=applied.changed, revision=revision, deployment=name)

    @app.delete(PREFIX + "/deployments/{name}", status_code=202, summary="Take a deployment down")
    def delete(name: str) -> DeploymentView:
        return parts.view(parts.commands.remove(name))


def _add_commands(app: FastAPI, parts: Parts) -> None:
    @app.post(PREFIX + "/deployments/{name}/promote", summary="Pass a held rollout, or skip the rest of the steps")
    def promote(name: str) -> DeploymentView:
        return parts.view(parts.commands.promote(name))

    @app.post(PREFIX + "/deployments/{name}/abort", summary="Undo the rollout under way")
    def abort(name: str) -> DeploymentView:
        return parts.view(parts.commands.abort(name))

    @app.post(PREFIX + "/deployments/{name}/pause", summary="Stop moving traffic")
    def pause(name: str) -> DeploymentView:
        return parts.view(parts.commands.pause(name))

    @app.post(PREFIX + "/deployments/{name}/resume", summary="Go on after a pause")
    def resume(name: str) -> DeploymentView:
        return parts.view(parts.commands.resume(name))

    @app.post(PREFIX + "/deployments/{name}/rollback", summary="Back to the previous revision, or to a given one")
    def rollback(name: str, to: Annotated[int | None, Body(embed=True, ge=1)] = None) -> DeploymentView:
        return parts.view(parts.commands.rollback(name, to))


def _add_history(app: FastAPI, parts: Parts) -> None:
    @app.get(PREFIX + "/deployments/{name}/revisions", summary="Every revision, oldest first")
    def revisions(name: str) -> list[RevisionView]:
        deployment = parts.store.load(name)
        return [RevisionView.of(revision, deployment) for revision in parts.store.revisions(name)]

    @app.get(PREFIX + "/deployments/{name}/verdicts", summary="Every verdict, oldest first")
    def verdicts(name: str) -> list[VerdictView]:
        return [VerdictView.of(verdict) for verdict in parts.store.verdicts(name)]

    @app.get(PREFIX + "/deployments/{name}/events", summary="What happened after the event of that id")
    def events(name: str, after: Annotated[int, Query(ge=0)] = 0) -> list[EventView]:
        return [EventView.of(event) for event in parts.store.events(name, after=after)]

    @app.get(PREFIX + "/deployments/{name}/revisions/{number}/logs", summary="The last lines of every replica")
    def logs(name: str, number: int, lines: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[str]:
        parts.store.load(name)
        return list(parts.runtime.logs(f"{name}-{number}", lines=lines))
