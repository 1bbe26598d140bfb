"""From checks to a verdict, and its one sentence why."""

import contextlib
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from noren.domain.verdict import Check, Outcome, Verdict, overall
from noren.gates import files


def conclude(checks: Sequence[Check], *, revision: str, attempt: int, started_at: datetime, folder: Path) -> Verdict:
    """The verdict that these checks make, as of now. `folder` holds the evidence."""
    outcome = overall(tuple(checks))
    return Verdict(
        revision=revision,
        attempt=attempt,
        outcome=outcome,
        reason=reason(checks, outcome),
        checks=tuple(checks),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        evidence=str(folder),
    )


def broke(error: Exception, folder: Path) -> Check:
    """A fault of ours must not pass anyone, nor fail anyone. The traceback goes to the log of the run."""
    with contextlib.suppress(OSError), (folder / files.LOG).open("a") as log:
        traceback.print_exception(error, file=log)
    detail = f"the gate broke: {type(error).__name__}: {error}; see {folder / files.LOG}"
    return Check(name="gate", outcome=Outcome.INVALID, detail=detail)


def reason(checks: Sequence[Check], outcome: Outcome) -> str:
    """What decided: the first check of that outcome, or for PASS how green compares."""
    deciding = [check for check in checks if check.outcome is outcome]
    if not deciding:
        return "no check was asked for"
    ratios = [f"{check.name} {check.figures['ratio']:.2f}x" for check in checks if "ratio" in check.figures]
    if outcome is not Outcome.PASS or not ratios:
        return deciding[-1 if outcome is Outcome.PASS else 0].detail
    requests = next(int(check.figures["requests"]) for check in checks if "requests" in check.figures)
    return f"{requests} requests, {', '.join(ratios)} of blue's: within the margins"
