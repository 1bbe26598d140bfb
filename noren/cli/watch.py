"""noren watch: follow a rollout live."""

import time
from collections.abc import Mapping

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noren.api.schemas import DeploymentView, EventView
from noren.cli.console import OptionalName, awaited, client, only_name, out, state
from noren.cli.status import weights
from noren.cli.verdict import evidence
from noren.client import Client
from noren.domain.errors import DriverUnavailable

_EVERY_S = 0.5
_PATIENCE_S = 60.0  # for a control plane that is being restarted


def watch(name: OptionalName = None) -> None:
    """Follow a rollout until it ends or is held: live in a terminal, plain lines elsewhere. Exit code 1 if not done."""
    control = client()
    if not follow(control, {only_name(name, control): None}):
        raise typer.Exit(1)


def follow(control: Client, wanted: Mapping[str, str | None], *, quiet: bool = False) -> bool:
    """Print the history of rollouts as it happens, until each has ended or is held; return whether all succeeded.

    wanted  deployment -> the revision that must be live in the end, since the rollout that is followed may be
            superseded by another's; None: whichever it is
    """
    last = {name: _before_rollout(control, name) for name in wanted}
    told: dict[str, str] = {}
    ended: dict[str, DeploymentView] = {}
    with Live(console=out, refresh_per_second=4, transient=True, auto_refresh=False) as live:
        while under_way := [name for name in wanted if name not in ended]:
            seen = {name: _ask(control, name, last[name]) for name in under_way}
            # A held rollout waits for a person, who is needed here and not in this loop.
            ended |= {name: view for name, (view, _) in seen.items() if not _moves(view)}
            last |= {name: events[-1].id for name, (_, events) in seen.items() if events}
            if not quiet:
                for event in sorted((e for _, events in seen.values() for e in events), key=lambda e: e.id):
                    live.console.print(_line(event, named=len(wanted) > 1), soft_wrap=True, markup=False)
                for name, (view, _) in seen.items():
                    if name in ended:
                        _print_end(live.console, view)
                    elif not out.is_terminal and awaited(view) != told.get(name, ""):
                        told[name] = awaited(view)
                        _print_awaited(live.console, view)
            if out.is_terminal and not quiet:
                live.update(Group(*(_now(seen[name][0]) for name in under_way if name not in ended)), refresh=True)
            if len(ended) < len(wanted):
                time.sleep(_EVERY_S * len(under_way))  # who asks often takes from what a gate measures
    return all(_is_done(ended[name], revision) for name, revision in wanted.items())


def _moves(view: DeploymentView) -> bool:
    return view.rollout is not None and view.rollout.active and view.rollout.state != "held"


def _is_done(view: DeploymentView, revision: str | None) -> bool:
    if revision:
        return view.live is not None and view.live.name == revision
    return bool(view.rollout and not view.rollout.active and not view.rollout.failure)


def _print_awaited(console: Console, view: DeploymentView) -> None:
    """For who sees lines only: minutes may pass until the next one. A terminal shows it all the time."""
    if awaited(view):
        console.print(f"{view.name}: {state(view)}", soft_wrap=True, markup=False)


def _print_end(console: Console, view: DeploymentView) -> None:
    console.print(f"{view.name}: {state(view)}", markup=False)
    if view.rollout and view.last_verdict and view.last_verdict.revision == view.rollout.green:
        console.print(evidence(view.last_verdict), soft_wrap=True, markup=False)


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


def _line(event: EventView, *, named: bool) -> str:
    whose = f"{event.deployment:14}  " if named else ""
    return f"{event.at.astimezone():%H:%M:%S}  {whose}{event.kind:9} {event.message}"


def _now(view: DeploymentView) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(view.name, Text(state(view)))  # a failure may quote what looks like markup
    table.add_row("traffic", weights(view) or "none")
    for replica in view.replicas:
        table.add_row("replica", f"{replica.revision}/{replica.index} {replica.state} {replica.address}")
    return table
