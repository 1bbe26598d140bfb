"""make bench-report: every committed figure that does not hold. The exit code is 1 when there is one."""

import json
import sys

from rich.console import Console

from benchmarks.rows import RESULTS, Row, show


def main() -> int:
    """Read benchmarks/results/*.json and judge every row by its goal, not by what it says of itself."""
    broken, count = [], 0
    for file in sorted(RESULTS.glob("*.json")):
        for row in json.loads(file.read_text())["rows"]:
            count += 1
            read = Row(name=f"{file.stem}: {row['name']}", value=row["value"], unit=row["unit"], goal=row["goal"])
            broken += [] if read.holds else [read]
    if not count:
        Console().print("no figures are committed yet: `make bench-demo` makes some")
        return 1
    if broken:
        show("figures that do not hold", broken)
    Console().print(f"{count} figures, {len(broken)} do not hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
