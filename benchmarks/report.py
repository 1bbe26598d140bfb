"""make bench-report: every committed figure that does not hold. The exit code is 1 when there is one."""

import sys
from dataclasses import replace

from rich.console import Console

from benchmarks.rows import RESULTS, published, show


def main() -> int:
    """Read benchmarks/results/*.json and judge every row by its goal, not by what it says of itself."""
    broken, count = [], 0
    for file in sorted(RESULTS.glob("*.json")):
        rows = published(file.stem)
        count += len(rows)
        broken += [replace(row, name=f"{file.stem}: {row.name}") for row in rows if not row.holds]
    if not count:
        Console().print("no figures are committed yet: `make bench-demo` makes some")
        return 1
    if broken:
        show("figures that do not hold", broken)
    Console().print(f"{count} figures, {len(broken)} do not hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
