"""noren watch: follow a rollout live."""

import time

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noren.api.schemas import DeploymentView, EventView
from noren.cli.console import OptionalName, client, only_name, out, state
from noren.cli.status import weights
from noren.cli.verdict import evidence
from noren.client import Client
from noren.domain.errors import DriverUnavailable

_EVERY_S = 0.5
_PATIENCE_S = 60.0  # for a control plane that is being restarted


def watch(name: OptionalName = None) -> None:
    """Follow a rollout until it ends or is held: live in a terminal, plain lines elsewhere. Exit code 1 if not done."""
    control = client()
    if not follow(control, only_name(name, control)):
        raise typer.Exit(1)


def follow(control: Client, name: str, *, revision: str | None = None, quiet: bool = False) -> bool:
    """Print the history of the rollout as it happens; return whether it succeeded. Ends when it is held, too.

    revision  who must be live in the end: the rollout that is followed may be superseded by another's
    """
    last = _before_rollout(control, name)
    with Live(console=out, refresh_per_second=4, transient=True, auto_refresh=False) as live:
        while True:
            view, events = _ask(control, name, last)
            for event in events:
                last = event.id
                if not quiet:
                    live.console.print(_line(event), markup=False)
            rollout = view.rollout
            # A held rollout waits for a person, who is needed here and not in this loop.
            if rollout is None or not rollout.active or rollout.state == "held":
                break
            if out.is_terminal and not quiet:
                live.update(_now(view), refresh=True)
            time.sleep(_EVERY_S)
    if not quiet:
        out.print(f"{name}: {state(view)}", markup=False)
        if rollout and view.last_verdict and view.last_verdict.revision == rollout.green:
            out.print(evidence(view.last_verdict), soft_wrap=True, markup=False)
    if revision:
        return view.live is not None and view.live.name == revision
    return bool(rollout and not rollout.active and not rollout.failure)


def _ask(control: Client, name: str, last: int) -> tuple[DeploymentView, list[EventView]]:
    """State first, then events: an end that is seen has its last line seen too. Waits for a restart."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return control.deployment(name), control.events(name, after=last)
        except DriverUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_EVERY_S)


def _before_rollout(control: Client, name: str) -> int:
    """The id of the last event before the current rollout was asked for."""
    last, begun = 0, 1
    while events := control.events(name, after=last):  # a page at a time
        last, begun = events[-1].id, max([begun, *(e.id for e in events if e.kind in ("apply", "rollback"))])
    return begun - 1


def _line(event: EventView) -> str:
    return f"{event.at.astimezone():%H:%M:%S}  {event.kind:9} {event.message}"


def _now(view: DeploymentView) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("state", Text(state(view)))  # a failure may quote what looks like markup
    table.add_row("traffic", weights(view) or "none")
    for replica in view.replicas:
        table.add_row("replica", f"{replica.revision}/{replica.index} {replica.state} {replica.address}")
    return table
