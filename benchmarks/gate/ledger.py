"""The runs so far: a line of JSON each, written as soon as it ends."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.gate.scenarios import Experiment
from benchmarks.serve.scorers import CACHE

FILE = CACHE / "gate" / "runs.jsonl"
Run = dict[str, Any]


class Ledger:
    """Runs in one placement: figures of pinned cores and of others do not go into one table."""

    def __init__(self, file: Path, *, pinned: bool) -> None:
        self._file, self._pinned = file, pinned

    def keep(self, run: Run) -> None:
        """Add a run."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(run | {"pinned": self._pinned}) + "\n")

    def of(self, experiment: Experiment) -> list[Run]:
        """The runs of an experiment, as many as are wanted of it."""
        return [run for run in self._all() if self._belongs(run, {experiment.name})][: experiment.runs]

    def complete(self, experiment: Experiment) -> bool:
        """Whether there are as many as are wanted."""
        return len(self.of(experiment)) >= experiment.runs

    def forget(self, experiments: Collection[Experiment]) -> None:
        """Drop the runs of these."""
        names = {experiment.name for experiment in experiments}
        left = [json.dumps(run) + "\n" for run in self._all() if not self._belongs(run, names)]
        if self._file.exists():  # whole or not at all: there are hours of work in it
            unfinished = self._file.with_suffix(".unfinished")
            unfinished.write_text("".join(left))
            unfinished.replace(self._file)

    def _belongs(self, run: Run, names: Collection[str]) -> bool:
        return run["scenario"] in names and run.get("pinned", False) == self._pinned

    def _all(self) -> list[Run]:
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [json.loads(line) for line in lines]
