"""noren verdict: what the gate said, and on what evidence."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from noren.api.schemas import VerdictView
from noren.cli.console import AsJson, OptionalName, client, only_name, out, outcome, print_json


def verdict(
    name: OptionalName = None,
    every: Annotated[bool, typer.Option("--all", help="every verdict, not only the last")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the last verdict of a deployment: each check, its outcome and its numbers."""
    control = client()
    verdicts = control.verdicts(only_name(name, control))
    shown = verdicts if every else verdicts[-1:]
    if as_json:
        return print_json(shown)
    if not shown:
        out.print("no verdict yet")
    for view in shown:
        print_verdict(view)
    return None


def print_verdict(view: VerdictView) -> None:
    """Every check with its outcome, and where the evidence is."""
    seconds = (view.ended_at - view.started_at).total_seconds()
    out.print(outcome(view.outcome), f"[bold]{view.revision}[/], attempt {view.attempt}, {seconds:.1f} s")
    table = Table(box=None, show_header=False)
    for check in view.checks:
        table.add_row(Text("  "), outcome(check.outcome), Text(check.name), Text(check.detail))
    out.print(table)
    if view.degraded:
        out.print(f"   degraded: the baseline served guests meanwhile: {view.degraded}", markup=False)
    out.print(f"   {evidence(view)}\n", soft_wrap=True, markup=False)


def evidence(view: VerdictView) -> str:
    """Where a person finds what was measured. The report is drawn once the verdict stands, and there a second later."""
    return f"report: {Path(view.evidence) / 'report.html'}" if view.evidence else "nothing was measured"
