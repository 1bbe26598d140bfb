"""What every verb prints with, and how it reaches the control plane."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from noren import settings
from noren.api.schemas import DeploymentView
from noren.client import Client
from noren.domain.errors import SpecError
from noren.domain.verdict import Outcome

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Name = Annotated[str, typer.Argument(help="the deployment", show_default=False)]
OptionalName = Annotated[str | None, typer.Argument(help="the deployment; may be left out when there is just one")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document instead")]

_COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "red", Outcome.HOLD: "yellow", Outcome.INVALID: "magenta"}


def client() -> Client:
    """The control plane of this home. Raises DriverError when that of another home has our port."""
    chosen = settings.load()
    control = Client(chosen.api_url)
    control.require_home(chosen.home)
    return control


def only_name(name: str | None, chosen: Client) -> str:
    """The name given, or that of the only deployment. Raises SpecError when there is not just one."""
    if name:
        return name
    names = [deployment.name for deployment in chosen.status().deployments]
    if len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none yet"
    raise SpecError(f"which deployment? ({known})", fix="name one; `noren apply` makes one")


def print_json(value: BaseModel | Sequence[BaseModel] | Mapping[str, object]) -> None:
    """One JSON document on standard output, never wrapped."""
    if isinstance(value, BaseModel):
        document: object = value.model_dump(mode="json")
    elif isinstance(value, Mapping):
        document = dict(value)
    else:
        document = [one.model_dump(mode="json") for one in value]
    typer.echo(json.dumps(document, indent=2))


def outcome(value: Outcome) -> Text:
    """The outcome in its colour."""
    return Text(value.value, style=_COLOURS[value])


def state(view: DeploymentView) -> str:
    """Where the deployment stands, in a few words."""
    rollout = view.rollout
    if rollout is None:
        return "nothing applied"
    paused = ", paused" if rollout.paused and rollout.active else ""
    reason = rollout.failure or awaited(view)
    return f"{rollout.green} {rollout.state}{paused}{reason and f': {reason}'}"


def awaited(view: DeploymentView) -> str:
    """What the rollout waits for, where that is not machinery but guests, a person or a clock; "" elsewhere."""
    rollout = view.rollout
    if rollout is None or not rollout.active:
        return ""
    if rollout.state == "held":
        return "`noren promote` or `noren abort` decides"
    if rollout.paused:
        return "`noren resume` goes on"
    if rollout.state.startswith("unvisited"):
        return "waits for guests; `noren promote` sends it all traffic without them"
    if rollout.state == "baking" and rollout.warm_until:
        until = f"{rollout.warm_until.astimezone():%H:%M:%S}"
        return f"serves all guests; {rollout.blue} stays warm until {until}, or until `noren promote`"
    return ""
