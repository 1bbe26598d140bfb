"""A verdict as Markdown, for a comment on a pull request."""

import re

from noren.domain.verdict import Outcome, Verdict

_MARKS = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.HOLD: "✋", Outcome.INVALID: "⚠️"}


def markdown(verdict: Verdict) -> str:
    """The verdict, the reason, and a table of the checks."""
    seconds = (verdict.ended_at - verdict.started_at).total_seconds()
    rows = [f"| {_MARKS[c.outcome]} {c.outcome} | {_cell(c.name)} | {_cell(c.detail)} |" for c in verdict.checks]
    head = f"### {_MARKS[verdict.outcome]} {verdict.outcome}: {_cell(verdict.reason)}"
    degraded = f"; the baseline served guests meanwhile: {_cell(verdict.degraded)}" if verdict.degraded else ""
    tail = f"{seconds:.0f} s of measuring{degraded}"
    return "\n".join([head, "", "| | check | |", "|---|---|---|", *rows, "", tail, ""])


def _cell(text: str) -> str:
    """`text` as it is: an answer of a service may hold what Markdown or HTML would take for its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#&~])", r"\\\1", " ".join(text.split()))
