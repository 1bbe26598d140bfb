"""make bench-scale: what a tick of the control loop takes with 10, 100, 1,000 and 10,000 deployments.

The drivers are in memory and the store is a SQLite file, so it is the control plane itself that is measured: to read
the rows, to decide, to store, and to tell the drivers. Each size has a process of its own.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil
import structlog

from benchmarks import page
from benchmarks.rows import publish, show
from benchmarks.scale.figures import Figures, rows
from benchmarks.scale.plane import Plane

COMMAND = "make bench-scale"
ROOT = Path(__file__).resolve().parents[2]
SCRATCH = Path.home() / ".cache" / "noren" / "bench"  # on a disk: the folder for temporary files may be memory
SIZES, QUICK = (10, 100, 1_000, 10_000), (10, 100)
TICKS = 7  # at rest; the median counts
STEPS = 7  # ticks from a new revision to its first guests, with the gate in between


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every size, or the one that is asked for."""
    options = _options(arguments)
    if options.size:
        print(json.dumps(measure(options.size).as_document()))
        return 0
    sizes = QUICK if options.quick else SIZES
    found = rows([_elsewhere(size) for size in sizes])
    if options.quick:
        show("nothing of this is published: not the whole run", found)
    else:
        publish("scale", found, command=COMMAND)
        page.write("bench-scale", page.figures(found), page.DOCS / "reliability.md")
    return 0


def measure(size: int) -> Figures:
    """What ticks of so many deployments take, in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scale-", dir=SCRATCH) as folder:
        plane = Plane(Path(folder), size)
        rest = [plane.tick() for _ in range(TICKS)]
        memory = psutil.Process().memory_info().rss
        stepping = max(1, size // 100)
        plane.apply(stepping)
        busy = [plane.tick() for _ in range(STEPS)]
        plane.close()
    return Figures(
        size=size,
        rest_s=median(tick.seconds for tick in rest),
        rest_statements=max(tick.statements for tick in rest),
        memory_mb=memory / 1e6,
        stepping=stepping,
        busy_s=max(tick.seconds for tick in busy),
        busy_statements=max(tick.statements for tick in busy),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 and 100 deployments, to try; nothing is published")
    parser.add_argument("--size", type=int, default=0, metavar="N", help="only so many, in this process, as JSON")
    return parser.parse_args(arguments)


def _elsewhere(size: int) -> Figures:
    argv = [sys.executable, "-m", "benchmarks.scale", "--size", str(size)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
