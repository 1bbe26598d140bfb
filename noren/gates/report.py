"""A verdict as one HTML file that needs nothing else: for people, and kept with the evidence."""

import traceback
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from noren.domain.verdict import Verdict
from noren.gates import files
from noren.gates.duet import Measured, Plan, Samples, last_look, look_file, read_measured, read_plan

REPORT = "report.html"


def write(folder: Path, verdict: Verdict) -> None:
    """Write report.html into the folder of the evidence. The verdict stands without it: a fault goes to the log."""
    try:
        files.write(folder / REPORT, html(verdict, folder).encode())
    except Exception:  # noqa: BLE001
        with (folder / files.LOG).open("a") as log:
            traceback.print_exc(file=log)


def html(verdict: Verdict, folder: Path | None = None) -> str:
    """The page. A verdict without a duet (smoke failed, say) has no plots. `folder`: where the evidence is now."""
    folder = folder or Path(verdict.evidence)
    number = last_look(folder)
    plan = read_plan(folder) if number else None
    measured = read_measured(folder, look_file(number)) if number else None
    page = Environment(
        loader=PackageLoader("noren.gates", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html.j2")
    if number is None or plan is None or measured is None or not measured.arms:
        return page.render(verdict=verdict, measured=None, plan=None, arms={}, rows=[], plots=[], failed=[])
    from noren.gates.judgement import look  # scipy, which a verdict without a duet does not need

    until_s = look(plan.duration_s, number, ended=measured.ended).until_s
    arms = {name: samples.until(until_s) for name, samples in measured.arms.items()}
    return page.render(
        verdict=verdict,
        measured=measured,
        plan=plan,
        arms=arms,
        rows=_rows(arms),
        plots=_plots(plan, measured, arms, verdict, until_s),
        offered=measured.arrivals / max(measured.elapsed_s, 1e-9),
        warm=sum(int((samples.rows["due_s"] < 0).sum()) for samples in measured.arms.values()),
        failed=[
            (name, sorted(samples.failures.items(), key=lambda item: -item[1]))
            for name, samples in arms.items()
            if samples.failures
        ],
    )


def _plots(
    plan: Plan, measured: Measured, arms: dict[str, Samples], verdict: Verdict, until_s: float
) -> list[tuple[str, Markup]]:
    from noren.gates import plots  # half a second, and only wanted here

    drawn = {
        "How much slower": plots.ratios(arms, verdict.checks, until_s),
        "Latency: what part of the requests was slower than that": plots.distributions(arms),
        "Latency in the course of the test": plots.course(plan, measured),
    }
    return [(title, Markup(svg)) for title, svg in drawn.items()]  # noqa: S704  our own, of numbers


def _rows(arms: dict[str, Samples]) -> list[tuple[str, list[str]]]:
    shown = arms.values()
    counts = {
        "requests": [s.requests for s in shown],
        "errors": [s.errors for s in shown],
        "not sent, too many open": [s.dropped for s in shown],
        "answered by another revision": [s.misrouted for s in shown],
    }
    rows = [(label, [f"{value:,}" for value in values]) for label, values in counts.items()]
    for label, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)):
        rows.append((f"{label}, ms", [f"{s.quantile_ms(q):.1f}" for s in shown]))
    return rows
