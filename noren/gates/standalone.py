"""The load gate between two URLs, without a control plane: for any CI, and for any HTTP service."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from noren.domain.deployment import LoadGate, ParityGate, Slo
from noren.domain.errors import SpecError
from noren.domain.verdict import Check, Outcome, Verdict
from noren.gates import files, load, parity, report
from noren.gates.conclusion import broke, conclude
from noren.gates.duet import PLAN, Measured, Plan, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be judged, and by what."""

    candidate: str  # URLs
    baseline: str | None  # None: only limits decide
    locustfile: Path
    gate: LoadGate
    slo: Slo


def run(question: Question, folder: Path, told: Callable[[Measured], None]) -> Verdict:
    """Judge the candidate. Everything measured is kept in `folder`, also when Ctrl-C ends it."""
    started_at = datetime.now(UTC)
    targets = {"green": Target(url=question.candidate)}
    if question.baseline:
        targets["blue"] = Target(url=question.baseline)
    plan = Plan(
        targets=targets,
        locustfile=str(question.locustfile.resolve()),
        gate=question.gate,
        slo=question.slo,
        seed=zlib.crc32(started_at.isoformat().encode()),
    )
    try:
        checks = load.measure(plan, folder, told)
        if answers := parity.check(folder, ParityGate()):
            checks = (*checks, answers)
    except KeyboardInterrupt:
        detail = "interrupted; what was measured by then is kept"
        checks = (Check(name="load", outcome=Outcome.INVALID, detail=detail),)
    except Exception as error:  # noqa: BLE001  a traceback would end with the exit code of a FAIL
        checks = (broke(error, folder),)
    verdict = conclude(checks, revision=question.candidate, attempt=1, started_at=started_at, folder=folder)
    files.write_verdict(folder, verdict)
    report.write(folder, verdict)
    return verdict


def replay(folder: Path) -> Verdict:
    """The verdict on what `folder` holds, computed again. Raises SpecError when it holds no duet."""
    if not (folder / PLAN).is_file():
        raise SpecError(
            f"{folder} holds no evidence", fix="name the folder that `noren gate` or `noren verdict` printed"
        )
    try:
        stored = files.read_verdict(folder)
        checks = load.replay(folder)
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder}: damaged evidence: {error}", fix="measure again") from error
    if stored is None:
        now = datetime.now(UTC)
        return conclude(checks, revision="candidate", attempt=1, started_at=now, folder=folder)
    before = [check for check in stored.checks if check.name.startswith(("smoke", "quality"))]
    after = [check for check in stored.checks if check.name == "parity"]
    again = conclude(
        [*before, *checks, *after],
        revision=stored.revision,
        attempt=stored.attempt,
        started_at=stored.started_at,
        folder=folder,
    )
    return replace(stored, outcome=again.outcome, reason=again.reason, checks=again.checks, evidence=str(folder))
