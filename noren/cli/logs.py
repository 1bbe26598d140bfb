"""noren logs: what the replicas wrote."""

import time
from itertools import groupby
from typing import Annotated

import typer

from noren import settings
from noren.api.schemas import DeploymentView
from noren.cli.console import OptionalName, client, errors, only_name
from noren.domain.errors import NotFound
from noren.machine import tail


def logs(
    name: OptionalName = None,
    revision: Annotated[
        int | None, typer.Option(help="its number; by default that of the rollout under way, or the live one")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=10_000, help="how many of each replica")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until Ctrl-C")] = False,
    server: Annotated[bool, typer.Option("--server", help="the control plane's own log")] = False,
) -> None:
    """Show the logs of a revision's replicas, each line behind the replica's number."""
    if server:
        home = settings.load().home
        typer.echo("\n".join([*tail(home / "logs" / "server.out", lines), *tail(home / "logs" / "server.log", lines)]))
        return
    control = client()
    name = only_name(name, control)
    number = revision or _current(control.deployment(name))
    errors.print(f"{name}-{number}:", style="bold")
    shown: list[str] = []
    while True:
        now = control.logs(name, number, lines=lines)
        fresh = now if not shown else _added(shown, now)
        if fresh:
            typer.echo("\n".join(fresh))
        shown = now
        if not follow:
            return
        time.sleep(0.5)


def _current(view: DeploymentView) -> int:
    """The revision that a person asks about: green while it is on its way, else what serves, else what failed."""
    rollout = view.rollout
    if view.live and not (rollout and rollout.active):
        return view.live.number
    if rollout is None:
        raise NotFound(f"{view.name} has no revision", fix="`noren apply` makes one")
    return int(rollout.green.rpartition("-")[2])


def _added(before: list[str], now: list[str]) -> list[str]:
    """The lines of `now` that came after those of `before`, replica by replica."""
    old, new = _by_replica(before), _by_replica(now)
    return [line for replica, lines in new.items() for line in lines[_overlap(old.get(replica, []), lines) :]]


def _by_replica(lines: list[str]) -> dict[str, list[str]]:
    return {replica: list(its) for replica, its in groupby(lines, lambda line: line.partition(" | ")[0])}


def _overlap(before: list[str], now: list[str]) -> int:
    """How many of the first lines of `now` were the last ones of `before`."""
    # The very last line may have been half written.
    for seen in (before, before[:-1]):
        for start in range(len(seen)):
            if seen[start:] == now[: len(seen) - start]:
                return len(seen) - start
    return 0
