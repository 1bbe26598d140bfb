"""Plots of a duet as SVG that takes its colours from the page it stands in, light or dark."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from noren.domain.verdict import Check
from noren.gates.duet import QUANTILES, Measured, Plan, Samples
from noren.gates.judgement import blocks, cut

# Stand-ins, which become variables of the page's style sheet.
_INK, _GREEN, _BLUE, _FAINT, _LIMIT = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {
    _INK: "currentColor",
    _GREEN: "var(--green)",
    _BLUE: "var(--blue)",
    _FAINT: "var(--faint)",
    _LIMIT: "var(--limit)",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "noren",  # the same evidence gives the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_POINTS = 500  # of a curve, or of a cloud: more cannot be told apart, and each is kept in every report
_TICKS = 4
_COLOURS = {"green": _GREEN, "blue": _BLUE}


def distributions(arms: Mapping[str, Samples]) -> str:
    """What part of the requests was answered within which time, up to the last thousandth."""

    def draw(axes: Axes) -> None:
        for name, samples in arms.items():
            latency_ms = np.sort(samples.known["latency_ms"])
            if not latency_ms.size:
                continue
            at = np.unique(np.linspace(0, latency_ms.size - 1, min(_POINTS, latency_ms.size)).astype(int))
            tail = np.arange(max(latency_ms.size - 100, 0), latency_ms.size)
            at = np.union1d(at, tail)
            slower = 1 - at / latency_ms.size
            axes.step(latency_ms[at], slower, where="post", color=_COLOURS[name], label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_yticks([1, 0.5, 0.1, 0.05, 0.01, 0.001], ["all", "p50", "p90", "p95", "p99", "p99.9"], minor=False)
        axes.minorticks_off()
        axes.invert_yaxis()
        _round_ticks(axes.xaxis, axes.get_xlim(), "")
        axes.set_xlabel("latency, ms from when the request was due")
        axes.grid(color=_FAINT, linewidth=0.6)
        axes.legend(frameon=False)

    return _svg(draw, width=7, height=3.6)


def ratios(arms: Mapping[str, Samples], checks: Sequence[Check], until_s: float) -> str:
    """Green over blue: a dot for each block, the estimate with its interval, and the margin."""
    found = {check.name: check.figures for check in checks if "ratio" in check.figures}

    def draw(axes: Axes) -> None:
        parts = blocks(until_s)
        of = {name: cut(samples, until_s, parts) for name, samples in arms.items()}
        for row, (name, figures) in enumerate(found.items()):
            pairs = [(g, b) for g, b in zip(of["green"], of["blue"], strict=True) if g.size and b.size]
            dots = [np.quantile(g, QUANTILES[name]) / np.quantile(b, QUANTILES[name]) for g, b in pairs]
            axes.scatter(dots, row + np.linspace(-0.18, 0.18, len(dots)), s=9, color=_FAINT, zorder=1)
            low, high = figures.get("ratio_low", math.nan), figures.get("ratio_high", math.nan)
            axes.plot([low, high], [row, row], color=_GREEN, linewidth=3, zorder=2, solid_capstyle="butt")
            axes.scatter([figures["ratio"]], [row], s=36, color=_GREEN, zorder=3)
            axes.plot([figures["margin"]] * 2, [row - 0.35, row + 0.35], color=_LIMIT, linewidth=2, zorder=2)
        axes.axvline(1, color=_INK, linewidth=0.8)
        axes.set_xscale("log")
        _round_ticks(axes.xaxis, axes.get_xlim(), "x")
        axes.set_yticks(range(len(found)), list(found))
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel("green / blue; red: the margin; grey: single blocks")

    return _svg(draw, width=7, height=0.8 + 0.6 * len(found)) if found else ""


def course(plan: Plan, measured: Measured) -> str:
    """Every request at the time when it was due; before 0 the warm-up, which does not count."""

    def draw(axes: Axes) -> None:
        rng = np.random.default_rng(plan.seed)
        for name, samples in measured.arms.items():
            rows = samples.known
            if len(rows) > _POINTS:
                rows = rows[np.sort(rng.choice(len(rows), _POINTS, replace=False))]
            axes.scatter(rows["due_s"], rows["latency_ms"], s=4, alpha=0.6, color=_COLOURS[name], label=name)
        axes.axvspan(-plan.warmup_s, 0, color=_FAINT, alpha=0.35, linewidth=0)
        axes.set_yscale("log")
        _round_ticks(axes.yaxis, axes.get_ylim(), "")
        axes.set_xlabel("seconds; shaded: warm-up, discarded")
        axes.set_ylabel("latency, ms")
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, markerscale=3)

    return _svg(draw, width=7, height=2.8)


def _round_ticks(axis: Axis, limits: tuple[float, float], unit: str) -> None:
    """Ticks at round numbers on a logarithmic axis, however little or much it spans."""
    low, high = limits
    for steps in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1 + n / 10 for n in range(90)]):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [tick for decade in decades for step in steps if low <= (tick := step * 10.0**decade) <= high]
        if len(ticks) >= _TICKS:
            break
    ticks = ticks[:: math.ceil(len(ticks) / (2 * _TICKS))]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}{unit}"))


def _svg(draw: Callable[[Axes], None], *, width: float, height: float) -> str:
    """One figure as an <svg> element; inches."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg
