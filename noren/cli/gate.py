"""noren gate: what the gate said, and on what evidence."""

from typing import Annotated

import typer
from rich.table import Table

from noren.api.schemas import VerdictView
from noren.cli.console import AsJson, OptionalName, client, only_name, out, outcome, print_json


def gate(
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
    for verdict in shown:
        _print(verdict)
    return None


def _print(verdict: VerdictView) -> None:
    seconds = (verdict.ended_at - verdict.started_at).total_seconds()
    out.print(
        outcome(verdict.outcome), f"{verdict.revision}, attempt {verdict.attempt}, {seconds:.1f} s:", verdict.reason
    )
    table = Table("check", "outcome", "what it found", "figures", box=None)
    for check in verdict.checks:
        figures = "  ".join(f"{key}={value:.4g}" for key, value in check.figures.items())
        table.add_row(check.name, outcome(check.outcome), check.detail, figures)
    out.print(table)
    out.print(f"evidence: {verdict.evidence}\n", soft_wrap=True)
