"""What all training scripts do alike: show, compare, refuse, record and save.

with trainer.session("churn", options) as run:
    with run.step("read and check the data"):
        data = ...
    run.finish(Candidate(...))
"""

import json
import math
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from training import store, tracking
from training.datasets import DataError
from training.steps import Steps

ROOT = Path(__file__).resolve().parent.parent

DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with the full data. [default: built in]")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Also write the model's files and report.json here.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Save the model even if the naive baseline is as good.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object; progress goes to stderr.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What was trained on. `sha256` is of the rows, not of a file, so that it survives recompression.

    twins   rows of the test part that also occur in the training part; they flatter the score
    """

    name: str
    sha256: str
    train: int
    test: int
    twins: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A score to beat: others' on the same protocol."""

    metric: str
    value: float
    at_least: bool = True  # False: at most

    def met(self, metrics: Mapping[str, float]) -> bool:
        """Whether these metrics reach it."""
        return metrics[self.metric] >= self.value if self.at_least else metrics[self.metric] <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted model with its scores on held-out data.

    files      name -> content, as they are stored
    decides    the metric in which it must beat the naive baseline
    baseline   what the naive baseline reaches in the same metrics (those that make sense for it)
    goals      scores to beat on this data; shown and reported, never a reason to refuse
    pyfunc     a file with the model as MLflow loads it ("models from code"); its artifacts are the files, by name
    """

    data: Data
    files: Mapping[str, bytes]
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]
    decides: str
    lower_is_better: bool = False
    goals: Sequence[Goal] = field(default_factory=tuple)
    pyfunc: Path | None = None

    def __post_init__(self) -> None:
        measured = {self.decides, *(goal.metric for goal in self.goals)}
        if lacking := measured - set(self.metrics) | {self.decides} - set(self.baseline):
            raise ValueError(f"a candidate without {', '.join(sorted(lacking))}")

    @property
    def beats_baseline(self) -> bool:
        """Whether it is better than no model at all."""
        ours, naive = self.metrics[self.decides], self.baseline[self.decides]
        return ours < naive if self.lower_is_better else ours > naive


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every training script can be asked for."""

    out: Path | None = None
    force: bool = False
    as_json: bool = False


class Session:
    """One training run."""

    def __init__(self, name: str, options: Options) -> None:
        self._name, self._options = name, options
        self.console = Console(stderr=options.as_json, highlight=False)
        self._steps = Steps(self.console)
        self.saving = False  # from here on an interrupt may come too late

    def step(self, name: str) -> AbstractContextManager[None]:
        """Show and time what happens in the block."""
        return self._steps.step(name)

    def tell(self, text: str) -> None:
        """Say something about the data or the model."""
        self.console.print(f"  {text}", markup=False, soft_wrap=True)

    def finish(self, candidate: Candidate) -> None:
        """Refuse, or record and save; then report. Raises DataError."""
        candidate = _plain(candidate)
        self.tell(_about(candidate.data))
        self._refuse(candidate)
        tag, facts = self._save(candidate)
        report = _report(candidate, tag, facts, self._steps.seconds)
        if self._options.out:
            write_files(self._options.out, {**candidate.files, "report.json": json.dumps(report, indent=2).encode()})
        if self._options.as_json:
            print(json.dumps(report))
        else:
            self.console.print(_table(report))
            self.console.print(tag)

    def _refuse(self, candidate: Candidate) -> None:
        _demand_numbers(candidate)
        if candidate.beats_baseline or self._options.force:
            return
        ours, naive = candidate.metrics[candidate.decides], candidate.baseline[candidate.decides]
        raise DataError(
            f"the model is no better than none: {candidate.decides} {ours:.4g}, the naive baseline {naive:.4g}",
            fix="look at the data; --force saves it all the same, and that is recorded",
        )

    def _save(self, candidate: Candidate) -> tuple[str, dict[str, str]]:
        facts = {
            "data": candidate.data.name,
            "data_sha256": candidate.data.sha256,
            "git_revision": tracking.git_revision(ROOT),
            **({} if candidate.beats_baseline else {"forced": "true"}),
        }
        with self.step("open MLflow"):
            tracking.prepare(self._name)
        with tracking.run() as run_id:
            facts["mlflow_run_id"] = run_id
            with self.step("log the run and the model"):
                baseline = {f"baseline_{name}": value for name, value in candidate.baseline.items()}
                tracking.record(candidate.parameters, {**candidate.metrics, **baseline}, facts)
                _log_model(self._name, candidate)
            with self.step("save into the BentoML store"):
                self.saving = True
                tag = store.save(
                    self._name,
                    candidate.files,
                    labels={"data": candidate.data.name, "mlflow_run_id": run_id},
                    metadata={**facts, **_storable(candidate.parameters), **candidate.metrics},
                )
                tracking.record({}, {}, {"bento_model": tag})
        return tag, facts


@contextmanager
def session(name: str, options: Options) -> Iterator[Session]:
    """A run whose mistakes are two lines and exit code 2; an interrupt is 130."""
    run = Session(name, options)
    with exits():
        if options.out:
            _check_writable(options.out)
        try:
            yield run
        except KeyboardInterrupt:
            if not run.saving:
                raise
            print(f"interrupted while saving: `bentoml models list {name}` shows whether it is there", file=sys.stderr)
            raise typer.Exit(130) from None


@contextmanager
def exits() -> Iterator[None]:
    """Turn what a person can mend into two lines and exit code 2, and an interrupt into 130."""
    # `kill` must clean up just as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("interrupted: no model was saved", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files under temporary names and rename them, so that a reader never sees half of one. Raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            partial = folder / f".{name}.partial"
            try:
                partial.write_bytes(content)
                partial.replace(folder / name)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _check_writable(folder: Path) -> None:
    """Before the training, which would otherwise be in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> DataError:
    problem = f"cannot write to {folder}: {error.strerror or error}"
    return DataError(problem, fix="name a folder that you may write to with --out")


def _plain(candidate: Candidate) -> Candidate:
    """With numbers of Python instead of NumPy's, which neither JSON nor YAML knows."""
    metrics = {name: float(value) for name, value in candidate.metrics.items()}
    baseline = {name: float(value) for name, value in candidate.baseline.items()}
    return replace(candidate, metrics=metrics, baseline=baseline)


def _demand_numbers(candidate: Candidate) -> None:
    """Not even --force saves a model that diverged, or whose baseline did."""
    for whose, metrics in (("the model's", candidate.metrics), ("the naive baseline's", candidate.baseline)):
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise DataError(f"{whose} {name} is {value}", fix="look at the data and at the parameters")


def _storable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """As metadata of BentoML: it knows no None, and what it writes for a tuple it cannot read."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in parameters.items() if v is not None}


def _log_model(name: str, candidate: Candidate) -> None:
    """As plain files, or as a model that `mlflow.pyfunc.load_model` loads."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        for file, content in candidate.files.items():
            (Path(folder) / file).write_bytes(content)
        if candidate.pyfunc is None:
            mlflow.log_artifacts(folder, artifact_path="model")
            return
        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(candidate.pyfunc),
            artifacts={file: str(Path(folder) / file) for file in candidate.files},
            code_paths=[str(ROOT / "models")],
            # Given, because MLflow would otherwise load the model in a new process to find them.
            pip_requirements=["mlflow", "numpy"],
        )


def _about(data: Data) -> str:
    twins = f", {data.twins:,} of the test rows also in training" if data.twins else ""
    return f"{data.name}: {data.train:,} training and {data.test:,} test rows{twins}; sha256 {data.sha256[:12]}"


def _report(candidate: Candidate, tag: str, facts: Mapping[str, str], seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "tag": tag,
        "metrics": dict(candidate.metrics),
        "baseline": dict(candidate.baseline),
        "goals": [
            {"metric": goal.metric, "goal": str(goal), "met": goal.met(candidate.metrics)} for goal in candidate.goals
        ],
        "data": asdict(candidate.data),
        "mlflow_run_id": facts["mlflow_run_id"],
        "git_revision": facts["git_revision"],
        "forced": "forced" in facts,
        "steps": dict(seconds),
        "seconds": round(sum(seconds.values()), 2),
    }


def score_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Of each metric of a report: its name, its value, the naive baseline's, what is to beat, and whether it was."""
    goals = {goal["metric"]: goal for goal in report["goals"]}
    for name, value in report["metrics"].items():
        naive, goal = report["baseline"].get(name), goals.get(name)
        yield (
            name,
            f"{value:.4g}",
            "-" if naive is None else f"{naive:.4g}",
            goal["goal"] if goal else "",
            "" if goal is None else "reached" if goal["met"] else "[bold]missed[/]",
        )


def _table(report: Mapping[str, Any]) -> Table:
    table = Table(title=f"Scores on held-out data ({report['data']['name']})", title_justify="left")
    for column in ("metric", "this run", "naive baseline", "to beat", ""):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for row in score_rows(report):
        table.add_row(*row)
    return table
