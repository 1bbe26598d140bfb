"""noren gate: what the gate said, and on what evidence."""

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

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
        outcome(verdict.outcome),
        f"[bold]{verdict.revision}[/], attempt {verdict.attempt}, {seconds:.1f} s",
    )
    table = Table(box=None, show_header=False)
    for check in verdict.checks:
        table.add_row(Text("  "), outcome(check.outcome), Text(check.name), Text(check.detail))
    out.print(table)
    # Several faults of one measurement carry the same figures.
    measured = next((c.figures for c in verdict.checks if "green_requests" in c.figures), {})
    _print_arms(measured)
    out.print(f"   evidence: {verdict.evidence}\n", soft_wrap=True, markup=False)


def _print_arms(figures: Mapping[str, float]) -> None:
    """Green beside blue, where a check measured both; then how the load generator did."""
    names = [key.removeprefix("green_") for key in figures if key.startswith("green_")]
    if not names:
        return
    table = Table("  ", "green", "blue", "ratio", box=None)
    for name in names:
        ratio = figures.get(f"{name.removesuffix('_ms')}_ratio")
        cells = [figures.get(f"green_{name}"), figures.get(f"blue_{name}")]
        shown = ["" if value is None else f"{value:.1f}".removesuffix(".0") for value in cells]
        table.add_row(f"   {name}", *shown, "" if ratio is None else f"{ratio:.2f}x")
    out.print(table)
    if {"generator_cpu", "dispatch_lag_p99_ms"} <= figures.keys():
        cpu, lag_ms = figures["generator_cpu"], figures["dispatch_lag_p99_ms"]
        out.print(f"   the load generator used {cpu:.0%} of a core and sent at most {lag_ms:.1f} ms late (p99)")
