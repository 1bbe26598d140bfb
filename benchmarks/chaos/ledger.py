"""What came of each scene so far: a line of JSON each, written as soon as it ends. The last one of a scene counts."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.chaos.outcome import Outcome
from benchmarks.serve.scorers import CACHE

FILE = CACHE / "chaos" / "runs.jsonl"


class Ledger:
    """Outcomes of one form: those of the short form do not count for the long one."""

    def __init__(self, file: Path, *, short: bool) -> None:
        self._file, self._short = file, short

    def keep(self, scene: str, outcome: Outcome) -> None:
        """Add one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        line = {"scene": scene, "short": self._short, "outcome": outcome.document()}
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def outcomes(self) -> dict[str, Outcome]:
        """By scene."""
        ours = [line for line in self._all() if line["short"] == self._short]
        return {line["scene"]: Outcome.read(line["outcome"]) for line in ours}

    def forget(self, scenes: Collection[str]) -> None:
        """Drop what came of these."""
        left = [line for line in self._all() if line["scene"] not in scenes or line["short"] != self._short]
        if self._file.exists():
            unfinished = self._file.with_suffix(".unfinished")
            unfinished.write_text("".join(json.dumps(line) + "\n" for line in left))
            unfinished.replace(self._file)

    def _all(self) -> list[dict[str, Any]]:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [json.loads(line) for line in lines]
