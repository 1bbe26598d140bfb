"""noren apply: declare deployments."""

from pathlib import Path
from typing import Annotated

import typer

from noren import settings
from noren.api.schemas import AppliedView, ResourcesView
from noren.cli.commands import Emergency, Reason
from noren.cli.console import AsJson, client, errors, out, print_json
from noren.cli.watch import follow
from noren.client import Client
from noren.manifests.deployment_file import read_all


def apply(
    files: Annotated[list[Path], typer.Argument(help="deployment files, or folders of them", show_default=False)],
    wait: Annotated[
        bool, typer.Option("--wait", help="watch until the rollouts end; exit code 1 if one is not done")
    ] = False,
    emergency: Emergency = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Declare deployments: a rollout begins where something changed. Nothing is sent unless every file is right.

    With --emergency green is not compared with blue: smoke and absolute limits decide, and if it keeps them it gets all
    traffic at once.
    """
    requests, control = read_all(files), client()
    applied = [control.apply(request, reason=reason, emergency=emergency) for request in requests]
    if as_json:
        print_json(applied)
    for one in applied:
        if not as_json:
            out.print(_sentence(one))
        for note in one.notes:
            errors.print(f"note: {note}", markup=False)
        if emergency and not one.changed:
            errors.print(f"note: if it is on its way, `noren promote {one.deployment} --emergency` hurries it on")
    if any(_unheld(one) for one in applied):
        errors.print("note: replicas are processes here, which `resources` does not hold; containers are held to it")
    if wait:
        rolling = {one.deployment: one.revision.name for one in applied if _rolls(control, one)}
        if not follow(control, rolling, quiet=as_json):
            raise typer.Exit(1)
    if not wait and not as_json and any(one.changed for one in applied):
        out.print(f"`noren watch {applied[0].deployment}` follows the rollout")


def _rolls(control: Client, one: AppliedView) -> bool:
    """Whether there is a rollout to wait for. A revision that is live already has none."""
    rollout = control.deployment(one.deployment).rollout
    return one.changed or bool(rollout and rollout.active)


def _unheld(one: AppliedView) -> bool:
    """Whether it has limits that this home's runtime cannot enforce."""
    return settings.load().runtime is settings.Runtime.PROCESS and one.revision.resources != ResourcesView()


def _sentence(one: AppliedView) -> str:
    revision = one.revision
    if not one.changed:
        return f"{one.deployment}: unchanged, {revision.name} is {revision.bento}"
    if one.called_off:
        return f"{one.deployment}: {revision.name} ({revision.bento}) stays, {one.called_off} is called off"
    return f"{one.deployment}: rolling out {revision.name} ({revision.bento})"
