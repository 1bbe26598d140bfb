"""make bench-gate: how often the gate is right, by real services that are made worse on purpose.

Each run is a row of ~/.cache/noren/bench/gate/runs.jsonl as soon as it ends, so that hours of runs may be interrupted
and go on where they were. Published, in benchmarks/results/gate.json and docs/gate.md, is what has all of its runs; of
the others stays what was published before.
`tables` publishes what is there, without measuring anything.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks import page
from benchmarks.gate import duets, ramp, tables
from benchmarks.gate.ledger import FILE, Ledger
from benchmarks.gate.plan import Runs, minutes_left, overview
from benchmarks.gate.scenarios import EXPERIMENTS, Experiment, Ramp
from benchmarks.gate.serving import Placement, placement
from benchmarks.rows import Row, publish, published, show
from benchmarks.serve import training

COMMAND = "make bench-gate"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for."""
    options = _options(arguments)
    where = placement(pin=options.pin)
    ledger = Ledger(FILE, pinned=where.pinned)
    chosen = _chosen(options.only)
    if options.list:
        print(overview([(experiment, ledger.of(experiment)) for experiment in chosen]))
        return 0
    if options.what == "run":
        if options.fresh:
            ledger.forget(chosen)
        training.train()
        where.take()
        try:
            _measure(chosen, ledger, where, until=time.monotonic() + options.minutes * 60)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from here")
    _report(ledger)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "tables"], default="run")
    parser.add_argument("--only", default="", metavar="NAME,...", help="scenarios whose names contain one of these")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so long")
    parser.add_argument("--fresh", action="store_true", help="forget earlier runs of these scenarios")
    parser.add_argument("--list", action="store_true", help="what is done and what is left, and no more")
    parser.add_argument(
        "--pin",
        action=argparse.BooleanOptionalAction,
        default=len(os.sched_getaffinity(0)) > 1,
        help="both arms on one core, the generator on another",
    )
    return parser.parse_args(arguments)


def _chosen(only: str) -> list[Experiment]:
    words = [word.strip() for word in only.split(",") if word.strip()]
    return [e for e in EXPERIMENTS if not words or any(word in e.name for word in words)]


def _measure(chosen: Sequence[Experiment], ledger: Ledger, where: Placement, *, until: float) -> None:
    for experiment in _missing(chosen, ledger):
        if time.monotonic() > until:
            break
        began = time.monotonic()
        number = len(ledger.of(experiment))
        run = ramp.run(experiment, where) if isinstance(experiment, Ramp) else duets.run(experiment, number, where)
        ledger.keep(run | {"took_s": time.monotonic() - began})


def _missing(chosen: Sequence[Experiment], ledger: Ledger) -> Iterator[Experiment]:
    """Round by round, so that a slow hour of the machine hits all of them."""
    while todo := [experiment for experiment in chosen if not ledger.complete(experiment)]:
        yield from todo


def _report(ledger: Ledger) -> None:
    """Publish what is complete beside what was published of the others; show what is not, and say what is missing."""
    found = [(experiment, ledger.of(experiment)) for experiment in EXPERIMENTS]
    missing = [(e, runs) for e, runs in found if not ledger.complete(e)]
    if len(missing) < len(found):
        rows = _whole(found, ledger)
        publish("gate", rows, command=COMMAND)
        page.write(tables.SECTION, tables.markdown(rows), tables.PAGE)
    if begun := [row for e, runs in missing for row in tables.rows(e, runs)]:
        show("not published: not all of their runs are there", begun)
    for experiment, runs in missing:
        print(f"missing: {experiment.name}: {experiment.runs - len(runs)} of {experiment.runs} runs")
    if missing:
        print(f"about {minutes_left(missing):.0f} minutes are left")


def _whole(found: Runs, ledger: Ledger) -> list[Row]:
    """The rows of what is complete here, and the published ones of the rest: of an earlier day, or another machine."""
    before = published("gate")
    parts = [tables.rows(e, runs) if ledger.complete(e) else tables.of(e, before) for e, runs in found]
    return [row for part in parts for row in part]


if __name__ == "__main__":
    sys.exit(main())
