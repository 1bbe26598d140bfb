"""make bench-m3: all 3,003 series of the M3 competition, on all cores; minutes, and may be interrupted.

Each series is a line of a file in ~/.cache/noren/bench/m3 as soon as it is studied: the same command goes on where it
was. Settings are found on one half of the series and judged on the other, both ways, so no series is judged by settings
that have seen what came after it. Without the data it says so and ends with 77.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from benchmarks import page
from benchmarks.forecast.ledger import Ledger
from benchmarks.forecast.peers import Peer, holt_winters
from benchmarks.forecast.studies import complete, on_all_cores
from benchmarks.rows import Row, publish, show
from benchmarks.serve.scorers import CACHE
from models.forecast import ForecastModel
from training import calibration, series
from training.calibration import Case, Outcome
from training.datasets import DataError
from training.series import Task

COMMAND = "make bench-m3"
DATA = Path(__file__).resolve().parents[2].parent / "shared/data"
THETA = 12.76  # mean sMAPE of the winner of 2000 on all series
EVERY = 10  # the comparison with statsmodels takes one of so many
TIMED = 50  # monthly series that are forecast alone, for the time of one


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for."""
    options = _options(arguments)
    try:
        data = series.m3(options.data)
    except DataError as error:
        print(error, file=sys.stderr)
        return 77
    ledger = Ledger(CACHE / "m3", data_sha256=data.sha256)
    if options.fresh:
        ledger.forget()
    try:
        rows = _rows(data.tasks, ledger)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    if len(data.tasks) == series.M3_SERIES:
        publish("m3", rows, command=COMMAND)
        page.write("m3", page.figures(rows), page.DOCS / "services/forecast.md")
    else:
        show(f"{len(data.tasks):,} series, not those of M3: not published", rows)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forecast", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help=f"folder with m3_series.csv.gz, or above it [{DATA}]")
    parser.add_argument("--fresh", action="store_true", help="forget earlier studies")
    return parser.parse_args(arguments)


def _rows(tasks: Sequence[Task], ledger: Ledger) -> list[Row]:
    done = complete(ledger, tasks)
    cases = [Case(task=task, study=done[task.name].study) for task in tasks]
    outcomes = calibration.cross_fitted(cases)
    busy_ms = [done[task.name].took_ms for task in tasks if task.frequency == "monthly"]
    peers = list(on_all_cores(holt_winters, tasks[::EVERY]))
    alone_ms = _alone_ms(calibration.fitted(cases), tasks)
    return [*_scores(outcomes), *_times(alone_ms, busy_ms), *_compared(outcomes, peers)]


def _alone_ms(model: ForecastModel, tasks: Sequence[Task]) -> list[float]:
    """Of whole forecasts of monthly series, one at a time."""
    took = []
    for task in [task for task in tasks if task.frequency == "monthly"][:TIMED]:
        began = time.perf_counter()
        model.forecast(task.values, horizon=len(task.actual), frequency=task.frequency)
        took.append((time.perf_counter() - began) * 1000)
    return took


def _scores(outcomes: Sequence[Outcome]) -> list[Row]:
    metrics, naive = calibration.scores(outcomes)
    frequencies = list(dict.fromkeys(one.frequency for one in outcomes))
    return [
        Row(name="series", value=len(outcomes), unit="", goal=f"= {series.M3_SERIES}"),
        Row(name="mean sMAPE", value=round(metrics["smape"], 3), unit="%", goal="<= 13"),
        Row(name="... over that of Theta, 12.76", value=round(metrics["smape"] / THETA, 4), unit="", goal="<= 1"),
        Row(name="... of the naive forecast (Naive2)", value=round(naive["smape"], 3), unit="%"),
        *(Row(name=f"... {name}", value=round(metrics[f"smape_{name}"], 3), unit="%") for name in frequencies),
        Row(name="error over that of the naive forecast", value=round(metrics["relative_mae"], 4), unit=""),
        Row(name="95 % intervals hold, at least", value=round(metrics["coverage_95"], 4), unit="", goal=">= 0.93"),
        Row(name="95 % intervals hold, at most", value=round(metrics["coverage_95"], 4), unit="", goal="<= 0.97"),
        *(Row(name=f"... {name}", value=round(metrics[f"coverage_95_{name}"], 4), unit="") for name in frequencies),
        Row(name="80 % intervals hold", value=round(metrics["coverage_80"], 4), unit=""),
        Row(name="50 % intervals hold", value=round(metrics["coverage_50"], 4), unit=""),
        Row(name="width of the 95 % intervals, median", value=round(metrics["width_95"], 1), unit="% of the values"),
        Row(name="series that diverge", value=metrics["diverged"], unit="", goal="= 0"),
    ]


def _times(alone_ms: Sequence[float], busy_ms: Sequence[float]) -> list[Row]:
    if not alone_ms:
        return []
    return [
        Row(name="forecast of a monthly series, median", value=round(median(alone_ms), 1), unit="ms", goal="<= 150"),
        Row(name="... the slowest", value=round(max(alone_ms), 1), unit="ms"),
        Row(name="... median with all cores busy", value=round(median(busy_ms), 1), unit="ms"),
    ]


def _compared(outcomes: Sequence[Outcome], peers: Sequence[Peer]) -> list[Row]:
    """Ours beside statsmodels' on the same series."""
    names = {peer.name for peer in peers}
    ours = mean(one.smape for one in outcomes if one.name in names)
    theirs, took_ms = mean(peer.smape for peer in peers), median(peer.took_ms for peer in peers)
    diverged = sum(peer.diverged for peer in peers)
    return [
        Row(name=f"mean sMAPE on every {EVERY}th series", value=round(ours, 3), unit="%"),
        Row(name="... of statsmodels' damped Holt-Winters", value=round(theirs, 3), unit="%"),
        Row(name="... series that diverge with it", value=diverged, unit=""),
        Row(name="... median of one fit of it, all cores busy", value=round(took_ms, 1), unit="ms"),
    ]


if __name__ == "__main__":
    sys.exit(main())
