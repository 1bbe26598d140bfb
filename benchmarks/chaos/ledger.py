"""What came of each scene so far: a line of JSON each, written as soon as it ends. The last one of a scene counts."""

from collections.abc import Collection
from pathlib import Path

from benchmarks.chaos.outcome import Outcome
from benchmarks.json_lines import JsonLines
from benchmarks.serve.scorers import CACHE

FILE = CACHE / "chaos" / "runs.jsonl"


class Ledger:
    """Outcomes of one form: those of the short form do not count for the long one."""

    def __init__(self, file: Path, *, short: bool) -> None:
        self._lines, self._short = JsonLines(file), short

    def keep(self, scene: str, outcome: Outcome) -> None:
        """Add one."""
        self._lines.add({"scene": scene, "short": self._short, "outcome": outcome.document()})

    def outcomes(self) -> dict[str, Outcome]:
        """By scene."""
        ours = [line for line in self._lines.all() if line["short"] == self._short]
        return {line["scene"]: Outcome.read(line["outcome"]) for line in ours}

    def forget(self, scenes: Collection[str]) -> None:
        """Drop what came of these."""
        lines = self._lines.all()
        self._lines.replace([line for line in lines if line["scene"] not in scenes or line["short"] != self._short])
