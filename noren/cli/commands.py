"""The verbs that steer a rollout."""

from typing import Annotated

import typer

from noren.api.schemas import DeploymentView
from noren.cli.console import AsJson, Name, OptionalName, client, only_name, out, print_json, state

Reason = Annotated[str, typer.Option("--reason", help="why: kept in `noren history`", show_default=False)]
Emergency = Annotated[
    bool, typer.Option("--emergency", help="blue is broken: only absolute limits decide; needs a --reason")
]


def promote(
    name: OptionalName = None, emergency: Emergency = False, reason: Reason = "", as_json: AsJson = False
) -> None:
    """Let a held rollout pass in spite of its gate, or skip the waiting that is left of one that passed.

    With --emergency green is not compared with blue any more: smoke and absolute limits decide, and if it keeps them
    it gets all traffic at once.
    """
    _steer("promote", name, as_json, reason=reason, emergency=emergency)


def abort(name: OptionalName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Undo the rollout under way: blue keeps, or gets back, all traffic."""
    _steer("abort", name, as_json, reason=reason)


def pause(name: OptionalName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Stop moving traffic. A failing green is still undone."""
    _steer("pause", name, as_json, reason=reason)


def resume(name: OptionalName = None, reason: Reason = "", as_json: AsJson = False) -> None:
    """Go on after a pause."""
    _steer("resume", name, as_json, reason=reason)


def rollback(
    name: OptionalName = None,
    to: Annotated[int | None, typer.Option(min=1, help="number of the revision; the previous one by default")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the previous revision: at once while it is warm, else it is started first."""
    _steer("rollback", name, as_json, reason=reason, to=to)


def delete(name: Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Take a deployment down and forget it. What happened to it stays in `noren history`."""
    _print(client().delete(name, reason=reason), as_json)


def _steer(
    verb: str, name: str | None, as_json: bool, *, reason: str, emergency: bool = False, **arguments: int | None
) -> None:
    control = client()
    view = control.command(verb, only_name(name, control), reason=reason, emergency=emergency, **arguments)
    _print(view, as_json)


def _print(view: DeploymentView, as_json: bool) -> None:
    if as_json:
        return print_json(view)
    out.print(f"{view.name}: {state(view)}", markup=False)
    return None
