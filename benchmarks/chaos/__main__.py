"""python -m benchmarks.chaos: whatever dies, and whenever, no guest notices.

Each event happens to a whole Noren with real Bentos in an empty home, while guests ask at a steady pace through the
front door and look at every answer. What came of it is a line of ~/.cache/noren/bench/chaos/runs.jsonl as soon as the
event is over, so the command may be interrupted and goes on where it was. When every event has happened, the figures
go into benchmarks/results/chaos.json and docs/reliability.md; those of the short form are only shown.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import page
from benchmarks.chaos import tables
from benchmarks.chaos.house import House
from benchmarks.chaos.kitchen import build
from benchmarks.chaos.ledger import FILE, Ledger
from benchmarks.chaos.scenes import SCENES, Scene, Skipped, Stage
from benchmarks.rows import publish, show

COMMAND = "python -m benchmarks.chaos"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask for. The exit code is 1 when a goal is missed."""
    options = _options(arguments)
    ledger = Ledger(FILE, short=options.short)
    chosen = _chosen(options.only)
    if options.fresh:
        ledger.forget({scene.name for scene in chosen})
    todo = [scene for scene in chosen if scene.name not in ledger.outcomes()]
    skipped: dict[str, str] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="noren-chaos-") as folder:
            if todo:
                _play(todo, ledger, _stage(options, Path(folder)), skipped)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here")
    return _report(ledger, skipped, short=options.short)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(scene.name for scene in SCENES)
    parser.add_argument("--only", default="", metavar="NAME,...", help=f"of {names}")
    parser.add_argument("--requests", type=int, default=0, metavar="N", help="at least, during the promotions")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second")
    parser.add_argument("--short", action="store_true", help="each event once: minutes instead of an hour")
    parser.add_argument("--fresh", action="store_true", help="forget what came of these events before")
    options = parser.parse_args(arguments)
    options.requests = options.requests or (2_000 if options.short else 100_000)
    options.rate = options.rate or (100.0 if options.short else 250.0)
    return options


def _chosen(only: str) -> list[Scene]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := set(names) - {scene.name for scene in SCENES}:
        raise SystemExit(f"no such event: {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in SCENES)}")
    return [scene for scene in SCENES if not names or scene.name in names]


def _stage(options: argparse.Namespace, folder: Path) -> Stage:
    """What all scenes share: the Bentos, and their environment, which is made once."""
    store, envs = build(folder / "kitchen"), folder / "envs"
    envs.mkdir()

    @contextlib.contextmanager
    def house(database_url: str = "") -> Iterator[House]:
        with tempfile.TemporaryDirectory(dir=folder) as own:
            made = House(Path(own), store, envs, database_url=database_url)
            try:
                made.up()
                yield made
            finally:
                made.down()

    return Stage(house=house, rate=options.rate, requests=options.requests, short=options.short)


def _play(todo: Sequence[Scene], ledger: Ledger, stage: Stage, skipped: dict[str, str]) -> None:
    for scene in todo:
        began = time.monotonic()
        print(f"{scene.title} ...", flush=True)
        try:
            outcome = scene.play(stage)
        except Skipped as reason:
            skipped[scene.name] = str(reason)
            continue
        ledger.keep(scene.name, outcome)
        show(f"{scene.title}, {time.monotonic() - began:.0f} s", list(tables.rows(scene, outcome)))
        if outcome.said:
            print(f"failed: {outcome.said}")


def _report(ledger: Ledger, skipped: dict[str, str], *, short: bool) -> int:
    """Publish when all is there, but for what cannot be played here; say what is missing."""
    outcomes = ledger.outcomes()
    played = [(scene, outcomes[scene.name]) for scene in SCENES if scene.name in outcomes]
    found = [row for scene, outcome in played for row in tables.rows(scene, outcome)]
    missing = [scene.name for scene in SCENES if scene.name not in outcomes and scene.name not in skipped]
    for name, reason in skipped.items():
        print(f"not played: {name}: {reason}")
    if missing:
        print(f"missing: {', '.join(missing)}")
    elif not short:
        found.append(tables.total(outcomes))
        publish("chaos", found, command="make bench-chaos")
        page.write(tables.SECTION, tables.markdown(played), tables.PAGE)
    broken = [row for row in found if not row.holds]
    if broken:
        show("goals that are missed", broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
