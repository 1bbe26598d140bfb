"""Train the forecast model: study every series, find settings on one half, judge them on the other, and store.

python -m training.forecast                               # cuts of AirPassengers, CO2 and sunspots
python -m training.forecast --data path/to/data           # the 3,003 series of the M3 competition
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated

import typer

from models.forecast import Study, study
from training import calibration, series, trainer
from training.calibration import Case
from training.datasets import DataError
from training.series import SeriesData, Task
from training.trainer import Candidate, Data, DataOption, ForceOption, Goal, JsonOption, Options, OutOption

MODEL_FILE = "model.json"
M3_GOALS = (
    Goal(metric="smape", value=13.0, at_least=False),  # Theta, the winner of 2000, has 12.76
    Goal(metric="coverage_error_95", value=0.02, at_least=False),
    Goal(metric="diverged", value=0, at_least=False),
)
_FEW = 50  # series below which starting processes takes longer than working alone


def main(
    data: DataOption = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Use only every N-th series: quicker, less good.")] = 1,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the forecast model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("forecast", Options(out=out, force=force, as_json=as_json)) as run:
        with run.step("read and check the data"):
            found = series.m3(data) if data else series.built_in()
        chosen = _chosen(found, every)
        with run.step(f"study {len(chosen):,} series"):
            cases = [Case(task=task, study=result) for task, result in zip(chosen, studies(chosen), strict=True)]
        with run.step("judge settings of either half"):
            metrics, naive = calibration.scores(calibration.cross_fitted(cases))
        with run.step("find the settings of all"):
            model = calibration.fitted(cases)
        run.finish(
            Candidate(
                data=_about(found, chosen),
                files={MODEL_FILE: model.to_bytes()},
                parameters={f"power_{name}": one.power for name, one in model.settings.items()} | {"every": every},
                metrics=metrics,
                baseline=naive,
                # Not sMAPE: of a series near zero it says nothing, and the built-in sunspots come near zero.
                decides="relative_mae",
                lower_is_better=True,
                goals=M3_GOALS if found.name == "m3" and len(chosen) == series.M3_SERIES else (),
            )
        )


def studies(tasks: Sequence[Task]) -> Iterator[Study]:
    """The study of each task, in order, on all cores."""
    workers = len(os.sched_getaffinity(0))
    if len(tasks) < _FEW or workers == 1:
        yield from map(study_of, tasks)
        return
    # Not forked: this process has threads, which a fork would leave in whatever they were doing.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for this process to answer
    )
    try:
        yield from pool.map(study_of, tasks, chunksize=16)
    finally:
        pool.shutdown(cancel_futures=True)


def study_of(task: Task) -> Study:
    """What the known values say; what is to be forecast is not looked at."""
    return study(task.values, len(task.actual), task.frequency)


def _chosen(found: SeriesData, every: int) -> tuple[Task, ...]:
    """Every N-th task of each half, so that both stay alike."""
    chosen = tuple(task for half in (0, 1) for task in [one for one in found.tasks if one.half == half][::every])
    if {task.half for task in chosen} != {0, 1}:
        raise DataError(f"--every {every} leaves too few series", fix="use a smaller number")
    return chosen


def _about(found: SeriesData, chosen: Sequence[Task]) -> Data:
    """Rows are values: those that were known, and those that had to be forecast."""
    return Data(
        name=found.name,
        sha256=found.sha256,
        train=sum(len(task.values) for task in chosen),
        test=sum(len(task.actual) for task in chosen),
        twins=found.twins,
    )


if __name__ == "__main__":
    typer.run(main)
