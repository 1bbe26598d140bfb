"""The verbs that steer a rollout."""

from typing import Annotated

import typer

from noren.api.schemas import DeploymentView
from noren.cli.console import AsJson, Name, OptionalName, client, only_name, out, print_json, state


def promote(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Let a held rollout pass in spite of its gate, or skip the waiting that is left of one that passed."""
    _steer("promote", name, as_json)


def abort(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Undo the rollout under way: blue keeps, or gets back, all traffic."""
    _steer("abort", name, as_json)


def pause(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Stop moving traffic. A failing green is still undone."""
    _steer("pause", name, as_json)


def resume(name: OptionalName = None, as_json: AsJson = False) -> None:
    """Go on after a pause."""
    _steer("resume", name, as_json)


def rollback(
    name: OptionalName = None,
    to: Annotated[int | None, typer.Option(min=1, help="number of the revision; the previous one by default")] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the previous revision: at once while it is warm, else it is started first."""
    _steer("rollback", name, as_json, **({"to": to} if to else {}))


def delete(name: Name, as_json: AsJson = False) -> None:
    """Take a deployment down and forget it, its history included."""
    _print(client().delete(name), as_json)


def _steer(verb: str, name: str | None, as_json: bool, **arguments: int) -> None:
    control = client()
    _print(control.command(verb, only_name(name, control), **arguments), as_json)


def _print(view: DeploymentView, as_json: bool) -> None:
    if as_json:
        return print_json(view)
    out.print(f"{view.name}: {state(view)}", markup=False)
    return None
