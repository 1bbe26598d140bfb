"""The runs so far: a line of JSON each, written as soon as it ends."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.gate.scenarios import Experiment
from benchmarks.json_lines import JsonLines
from benchmarks.serve.scorers import CACHE

FILE = CACHE / "gate" / "runs.jsonl"
Run = dict[str, Any]


class Ledger:
    """Runs in one placement: figures of pinned cores and of others do not go into one table."""

    def __init__(self, file: Path, *, pinned: bool) -> None:
        self._lines, self._pinned = JsonLines(file), pinned

    def keep(self, run: Run) -> None:
        """Add a run."""
        self._lines.add(run | {"pinned": self._pinned})

    def of(self, experiment: Experiment) -> list[Run]:
        """The runs of an experiment, as many as are wanted of it."""
        return [run for run in self._lines.all() if self._belongs(run, {experiment.name})][: experiment.runs]

    def complete(self, experiment: Experiment) -> bool:
        """Whether there are as many as are wanted."""
        return len(self.of(experiment)) >= experiment.runs

    def forget(self, experiments: Collection[Experiment]) -> None:
        """Drop the runs of these."""
        names = {experiment.name for experiment in experiments}
        self._lines.replace([run for run in self._lines.all() if not self._belongs(run, names)])

    def _belongs(self, run: Run, names: Collection[str]) -> bool:
        return run["scenario"] in names and run.get("pinned", False) == self._pinned
