"""Train the bundles of the shop, one after the other, and show what they reached.

python -m training                                  # all, on the data that are built in
python -m training churn forecast --data path/to/data
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from training import trainer
from training.datasets import DataError
from training.trainer import DataOption, ForceOption, JsonOption

FOLDER = Path(__file__).resolve().parent
SCRIPT = 'if __name__ == "__main__":'  # who has this line can be run; the other modules help


class Failed(Exception):  # noqa: N818 - a result, not a mistake of this program
    """A bundle that was not trained. Its own words are on standard error."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which bundles. [default: all]", show_default=False)] = None,
    data: DataOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train bundles, each in a process of its own. Exit code 1 if one fails; the others are trained all the same."""
    progress = Console(stderr=True, highlight=False, markup=False)
    options = [*(["--data", str(data)] if data else []), *(["--force"] if force else [])]
    reports: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with trainer.exits():
        chosen = _chosen(names or [])
        for number, name in enumerate(chosen, start=1):
            progress.print(f"[{number}/{len(chosen)}] {name}", style="bold")
            try:
                reports[name] = _train(name, options)
            except Failed as failure:
                failed[name] = str(failure)
    if as_json:
        print(json.dumps({"trained": reports, "failed": failed}))
    else:
        Console(highlight=False).print(_table(reports))
    for name, reason in failed.items():
        progress.print(f"{name} was not trained: {reason}", style="red")
    raise typer.Exit(1 if failed else 0)


def bundles() -> list[str]:
    """What can be trained: the scripts beside this file."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py") if SCRIPT in path.read_text())


def _chosen(names: Sequence[str]) -> list[str]:
    known = bundles()
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"there is no bundle {', '.join(unknown)}", fix=f"name some of {', '.join(known)}")
    return list(dict.fromkeys(names)) or known


def _train(name: str, options: Sequence[str]) -> Mapping[str, Any]:
    """Run its script and return its report. Raises Failed."""
    argv = [sys.executable, "-m", f"training.{name}", "--json", *options]
    # In a session of its own: Ctrl-C reaches only us, and is passed on just once.
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, _ = process.communicate()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise typer.Exit(130) from None  # it said itself that it saved nothing
    if process.returncode:
        raise Failed(f"exit code {process.returncode}")
    try:
        report: Mapping[str, Any] = json.loads(said)
    except ValueError:
        raise Failed("--json did not print one JSON object") from None
    return report


def _table(reports: Mapping[str, Any]) -> Table:
    table = Table(title="Scores on held-out data", title_justify="left")
    for column in ("metric", "value", "naive", "to beat", ""):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, report in reports.items():
        table.add_row(f"[bold]{name}[/] on {report['data']['name']}")
        for row in trainer.score_rows(report):
            table.add_row(*row)
        table.add_section()
    return table


if __name__ == "__main__":
    typer.run(main)
