"""The gate's process: smoke, then load; ends with verdict.json in its folder.

    python -m noren.gates.check FOLDER

FOLDER holds request.json. SIGTERM ends it without a verdict.
"""

import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from noren.control.ports import GateRun
from noren.domain.verdict import Check, Outcome, Verdict, overall
from noren.gates import files, load, smoke


def judge(run: GateRun, folder: Path) -> Verdict:
    """Carry out the checks that the deployment asks for, until one does not pass."""
    started_at = datetime.now(UTC)
    checks: list[Check] = []
    try:
        for group in _groups(run, folder):
            checks += group
            _tell(group)
            if overall(group) is not Outcome.PASS:
                break
    except Exception as error:  # noqa: BLE001  a fault of ours must not pass anyone, nor leave the rollout waiting
        traceback.print_exc()
        detail = f"the gate broke: {type(error).__name__}: {error}; see {folder / files.LOG}"
        checks.append(Check(name="gate", outcome=Outcome.INVALID, detail=detail))
    outcome = overall(tuple(checks))
    return Verdict(
        revision=run.green.name,
        attempt=run.attempt,
        outcome=outcome,
        reason=_reason(checks, outcome),
        checks=tuple(checks),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        evidence=str(folder),
    )


def _groups(run: GateRun, folder: Path) -> Iterator[tuple[Check, ...]]:
    gates = run.green.gates
    if gates.smoke:
        yield smoke.check(run)
    if gates.load.enabled:
        yield load.check(run, folder)


def _reason(checks: list[Check], outcome: Outcome) -> str:
    """What decided: the first check of that outcome, or for PASS the last and dearest."""
    deciding = [check for check in checks if check.outcome is outcome]
    if not deciding:
        return "no check was asked for"
    return deciding[-1 if outcome is Outcome.PASS else 0].detail


def _tell(checks: tuple[Check, ...]) -> None:
    for check in checks:
        print(f"{check.outcome:7} {check.name}: {check.detail}", flush=True)  # noqa: T201


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signum)


def main(folder: Path) -> None:
    """Judge what request.json asks for."""
    signal.signal(signal.SIGTERM, _end)
    run = files.read_request(folder)
    print(f"gate {run.name}: {run.green.bento} at {run.green_url}", flush=True)  # noqa: T201
    stopped = folder / files.STOPPED
    if stopped.exists():
        return
    verdict = judge(run, folder)
    if not stopped.exists():
        files.write_verdict(folder, verdict)
        print(f"{verdict.outcome}: {verdict.reason}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
