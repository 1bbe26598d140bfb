"""make bench-train: what every bundle of the shop reaches on held-out data, beside its naive baseline and its goals.

On the built-in data, and with DATA on the full sets too. Each bundle's page gets its table.

`report` trains nothing: it compares the figures in the working folder with the committed ones, in Markdown, for a pull
request.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.rows import RESULTS, Row, publish, read

ROOT = Path(__file__).resolve().parents[1]
FILE = RESULTS / "train.json"
SECONDS = "s"  # the unit of what differs from run to run, and is not compared

Rows = Mapping[str, Row]
Reports = Mapping[str, Any]  # of a training, by bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and publish, or compare. The exit code is that of the training."""
    options = _options(arguments)
    if options.what == "report":
        now = _rows(FILE.read_text()) if FILE.is_file() else {}
        print(markdown(_committed(options.against), now, against=options.against))
        return 0
    trained: list[Reports] = []
    for data in [None, options.data] if options.data else [None]:
        code, reports = _train(data)
        if code:
            return code
        trained.append(reports)
    suffix = f" DATA={options.data}" if options.data else ""
    publish("train", [row for reports in trained for row in rows(reports)], command=f"make bench-train{suffix}")
    for bundle in trained[0]:
        page.write("scores", table(bundle, trained), page.DOCS / "services" / f"{bundle}.md")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the full data; default: the built-in")
    parser.add_argument("--against", default="HEAD", metavar="REVISION", help="whose figures `report` compares with")
    return parser.parse_args(arguments)


def _train(data: Path | None) -> tuple[int, Reports]:
    """Exit code and reports of `python -m training`, with stores of its own: a measurement leaves no models behind."""
    argv = [sys.executable, "-m", "training", "--json", *(["--data", str(data.resolve())] if data else [])]
    with tempfile.TemporaryDirectory(prefix="noren-bench-") as folder:
        stores = {"BENTOML_HOME": f"{folder}/bentoml", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        done = subprocess.run(
            argv, cwd=ROOT, env={**os.environ, **stores}, stdout=subprocess.PIPE, text=True, check=False
        )
    return done.returncode, json.loads(done.stdout)["trained"] if done.returncode == 0 else {}


def rows(reports: Reports) -> Iterator[Row]:
    """One row for each metric, its naive baseline, and the time that training took."""
    for bundle, report in reports.items():
        where = f"{bundle} on {report['data']['name']}"
        goals = {goal["metric"]: goal["goal"] for goal in report["goals"]}
        for metric, value in report["metrics"].items():
            yield Row(name=f"{where}: {metric}", value=round(value, 6), unit="", goal=goals.get(metric, ""))
            if (naive := report["baseline"].get(metric)) is not None:
                yield Row(name=f"{where}: {metric}, naive baseline", value=round(naive, 6), unit="")
        yield Row(name=f"{where}: training", value=report["seconds"], unit=SECONDS)


def table(bundle: str, trained: Sequence[Reports]) -> str:
    """What a bundle's page says of it: a table for each data set, a line for each metric."""
    found = {reports[bundle]["data"]["name"]: reports[bundle] for reports in trained}
    return "\n\n".join("\n".join(_scores(report)) for report in found.values())


def _scores(report: Mapping[str, Any]) -> Iterator[str]:
    data, goals = report["data"], {goal["metric"]: goal for goal in report["goals"]}
    yield f"| {data['name']}: {data['train']:,} + {data['test']:,} rows | score | naive baseline | to beat | |"
    yield "|---|---:|---:|---|---|"
    for metric, value in report["metrics"].items():
        naive, goal = report["baseline"].get(metric), goals.get(metric)
        baseline, wanted = "" if naive is None else f"{naive:.4g}", goal["goal"] if goal else ""
        verdict = "" if goal is None else "reached" if goal["met"] else "**missed**"
        yield f"| {metric} | {value:.4g} | {baseline} | {wanted} | {verdict} |"


def markdown(before: Rows, now: Rows, *, against: str) -> str:
    """What changed, what is new or gone, and which goals are missed. Seconds are left out: they are the machine's."""
    names = [*now, *(name for name in before if name not in now)]
    lines = [_line(name, before.get(name), now.get(name)) for name in names]
    told = [line for line in lines if line]
    missed = sum(not row.holds for row in now.values())
    title = f"### Training: {len(told)} of {len(names)} figures to look at, {_count(missed, 'goal')} missed\n"
    if not told:
        return f"{title}\nAll figures are as at {against}."
    head = ["| figure | before | now | change | goal | |", "|---|---:|---:|---:|---|---|"]
    since = f"\nBefore: at {against}." if before else f"\nNo figures are committed at {against}."
    return "\n".join([title, *head, *told, since])


def _line(name: str, before: Row | None, now: Row | None) -> str:
    """A row of the table; "" where there is nothing to tell."""
    row = now or before
    if row is None or row.unit == SECONDS or (before and now and before.value == now.value and now.holds):
        return ""
    change = f"{now.value - before.value:+.4g}" if before and now else ""
    cells = [name, _figure(before), _figure(now), change, row.goal, _verdict(before, now)]
    return f"| {' | '.join(cells)} |"


def _verdict(before: Row | None, now: Row | None) -> str:
    if now is None:
        return "gone"
    if not now.holds:
        return "**missed**"
    if before is None:
        return "new"
    if not now.goal:  # whether more is better is known from the goal only
        return ""
    return "better" if (now.value > before.value) == now.goal.startswith(">=") else "worse"


def _figure(row: Row | None) -> str:
    return f"{row.value:g}" if row else ""


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _committed(revision: str) -> Rows:
    """The figures at a revision; none where the file, or the revision, is not there."""
    argv = ["git", "-C", str(ROOT), "show", f"{revision}:{FILE.relative_to(ROOT).as_posix()}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return _rows(done.stdout) if done.returncode == 0 else {}


def _rows(document: str) -> Rows:
    return {row.name: row for row in read(document)}


if __name__ == "__main__":
    sys.exit(main())
