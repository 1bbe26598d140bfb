"""How a benchmark reports: a table for people, and rows that `make bench-report` can judge.

A row is {name, value, unit, goal, holds}. Absolute figures depend on the machine, so its description and the
date stand beside them, and comparisons are ratios measured in one run.
"""

import json
import operator
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
_COMPARE = {"<=": operator.le, ">=": operator.ge, "=": operator.eq}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `goal` is "<= 240", ">= 0.8" or "= 0"; "" when there is none."""

    name: str
    value: float
    unit: str
    goal: str = ""
    date: str = ""  # when it was measured; "" for today

    @property
    def holds(self) -> bool:
        """Whether the goal is met. Raises KeyError or ValueError when the goal is not of the form above."""
        if not self.goal:
            return True
        sign, limit = self.goal.split()
        return bool(_COMPARE[sign](self.value, float(limit)))


def publish(benchmark: str, rows: Sequence[Row], *, command: str) -> None:
    """Print the rows and write them to benchmarks/results/<benchmark>.json."""
    show(benchmark, rows)
    document = {"command": command, "date": today(), "machine": machine(), "rows": [_document(row) for row in rows]}
    RESULTS.mkdir(exist_ok=True)
    _file(benchmark).write_text(json.dumps(document, indent=2) + "\n")


def published(benchmark: str) -> list[Row]:
    """What was last written, so that a part of it may be measured again."""
    return read(_file(benchmark).read_text()) if _file(benchmark).exists() else []


def read(text: str) -> list[Row]:
    """The rows of a file of results, each with its date."""
    document = json.loads(text)
    day, fields = document.get("date", ""), ("name", "value", "unit", "goal")
    return [Row(**{f: row[f] for f in fields}, date=row.get("date", day)) for row in document["rows"]]


def _document(row: Row) -> dict[str, Any]:
    told = {"name": row.name, "value": row.value, "unit": row.unit, "goal": row.goal, "holds": row.holds}
    return told | ({"date": row.date} if row.date not in ("", today()) else {})


def _file(benchmark: str) -> Path:
    return RESULTS / f"{benchmark}.json"


def show(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a table."""
    table = Table("figure", "value", "unit", "goal", "holds", title=title, title_justify="left")
    for row in rows:
        verdict = "" if not row.goal else "[green]yes[/]" if row.holds else "[red]NO[/]"
        table.add_row(row.name, f"{row.value:g}", row.unit, row.goal, verdict)
    Console().print(table)


def today() -> str:
    """As in 2026-11-22, by UTC."""
    return datetime.now(UTC).date().isoformat()


def machine() -> str:
    """This machine in a line."""
    gigabytes = psutil.virtual_memory().total / 2**30
    system, python = f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {gigabytes:.0f} GiB, {system}, {python}"
