"""make bench-serve: noren-serve beside its peers, all in one interleaved run, against what it promises.

The server has one core, the load generator another. Each round starts every server anew, so that a slow minute
of the machine hits all of them, and every figure is the median of the rounds.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import psutil
from rich.console import Console
from rich.markup import escape

from benchmarks import page
from benchmarks.rows import Row, publish, published, show
from benchmarks.serve import endurance, hotspots, tables, training, turns
from benchmarks.serve.contenders import Contender
from benchmarks.serve.figures import Results, entry
from benchmarks.serve.goals import goals
from benchmarks.serve.neighbours import LIMIT, Watch
from benchmarks.serve.run import Run, StartError, run
from benchmarks.serve.scenarios import SCENARIOS, Scenario
from benchmarks.serve.tree import adopt_orphans, cores

COMMAND = "make bench-serve"
OVERLOAD_S = 60.0
ROUNDS = 3

console = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for. The exit code is 2 when the machine is busy with something else."""
    options = _options(arguments)
    if not _quiet(options.beside_others):
        return 2
    adopt_orphans()
    os.sched_setaffinity(0, {cores()[1]})
    training.train()
    if options.what == "profile":
        _profile(options)
    elif options.soak:
        _soak(options)
    else:
        _run(options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["run", "profile"], default="run")
    parser.add_argument("--quick", action="store_true", help="one short round, to try; nothing is published")
    parser.add_argument(
        "--only", default="", metavar="NAME,...", help="servers and models whose names contain one; turns; overload"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="fewer are not published")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="only the long run")
    parser.add_argument("--beside-others", action="store_true", help="measure although the machine is busy")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.beside_others = 1, 1.0, True
    return options


def _quiet(beside_others: bool) -> bool:
    """Whether nothing else works on this machine, or nobody minds. Says what does."""
    watch = Watch()
    time.sleep(2)
    others, load = watch.seen(), psutil.getloadavg()[0]
    console.print(f"load average {load:.2f}; others take {others.share:.0%} of a core, most of it {others.busiest}")
    if others.share > LIMIT and not beside_others:
        console.print(f"[red]more than {LIMIT:.0%} of a core: end it, or measure anyway with --beside-others[/]")
        return False
    return True


def _profile(options: argparse.Namespace) -> None:
    text = hotspots.report(seconds=options.seconds, rounds=options.rounds)
    if options.rounds < ROUNDS or not page.write("profile", text, tables.PAGE):
        print(text)


def _run(options: argparse.Namespace) -> None:
    began = time.monotonic()
    results = _rounds(_chosen(options.only), options.rounds, options.seconds)
    judged = [*goals(results), *_turns(options), *_overload(options)]
    whole = not options.only and options.rounds >= ROUNDS
    if whole:
        publish("serve", [*tables.rows(results), *judged, *_kept_soak()], command=COMMAND)
    else:
        show("nothing of this is published: not the whole run", judged)
    text = tables.markdown(results, judged)
    if not (whole and page.write("measured", text, tables.PAGE)):
        print(text)
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes")


def _chosen(only: str) -> list[tuple[Scenario, Contender]]:
    """Every server of every model, or those in whose model or name one of the words occurs."""
    words = [word.strip().lower() for word in only.split(",") if word.strip()]
    pairs = [(scenario, contender) for scenario in SCENARIOS for contender in scenario.contenders]
    return [
        (scenario, contender)
        for scenario, contender in pairs
        if not words or any(word in f"{scenario.model} {contender.name}".lower() for word in words)
    ]


def _rounds(chosen: Sequence[tuple[Scenario, Contender]], rounds: int, seconds: float) -> Results:
    runs: dict[tuple[str, str], list[Run]] = {(s.model, c.name): [] for s, c in chosen}
    reasons: dict[tuple[str, str], str] = {}
    if any(scenario.model == "shop" for scenario, _ in chosen):
        training.store_of_the_shop()
    for number in range(1, rounds + 1):
        for scenario, contender in chosen:
            key = scenario.model, contender.name
            try:
                measured = run(contender, scenario.model, connections=scenario.loads(contender), seconds=seconds)
            except StartError as error:
                reasons[key] = str(error)
                console.print(f"{number}. {key[0]}, {key[1]}: [red]{escape(str(error))}[/]")
                continue
            runs[key].append(measured)
            console.print(f"{number}. {key[0]}, {key[1]}: {_line(measured)}")
    return {key: entry(found, reason=reasons.get(key, "")) for key, found in runs.items()}


def _line(measured: Run) -> str:
    window = measured.windows[0]
    others = window.neighbours
    disturbed = f" [red]beside others: {others.share:.0%}, {escape(others.busiest)}[/]" if others.share > LIMIT else ""
    return f"{window.answers.per_second:,.0f} req/s, {window.cpu_us:,.0f} us{disturbed}"


def _turns(options: argparse.Namespace) -> list[Row]:
    if options.only and "turns" not in options.only:
        return []
    return turns.rows(0.3, rounds=1) if options.quick else turns.rows(0.5)


def _overload(options: argparse.Namespace) -> list[Row]:
    if options.only and "overload" not in options.only:
        return []
    return endurance.overload(10.0, rounds=1) if options.quick else endurance.overload(OVERLOAD_S)


def _soak(options: argparse.Namespace) -> None:
    """Put the long run's rows beside the others' last ones, and into a table of their own."""
    rows = endurance.soak(options.soak)
    if options.quick:
        return show("nothing of this is published", rows)
    others = [row for row in published("serve") if not row.name.startswith(endurance.SOAK)]
    page.write("soak", page.figures(rows), tables.PAGE)
    return publish("serve", [*others, *rows], command=COMMAND)


def _kept_soak() -> list[Row]:
    return [row for row in published("serve") if row.name.startswith(endurance.SOAK)]


if __name__ == "__main__":
    sys.exit(main())
