"""noren logs: what the replicas wrote."""

import time
from typing import Annotated

import typer

from noren import settings
from noren.api.schemas import RevisionView
from noren.cli.console import OptionalName, client, only_name
from noren.domain.errors import NotFound
from noren.machine import tail


def logs(
    name: OptionalName = None,
    revision: Annotated[int | None, typer.Option(help="its number; the newest by default")] = None,
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
    number = revision or _newest(control.revisions(name)[-1:], name)
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


def _newest(revisions: list[RevisionView], name: str) -> int:
    if not revisions:
        raise NotFound(f"{name} has no revision", fix="`noren apply` makes one")
    return revisions[0].number


def _added(before: list[str], now: list[str]) -> list[str]:
    """The lines of `now` that were not there `before`, replica by replica."""
    return [line for line in now if line not in set(before)]
