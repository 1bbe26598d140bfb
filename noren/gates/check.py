"""The gate's process: smoke, quality, load, parity; ends with verdict.json in its folder.

    python -m noren.gates.check FOLDER

FOLDER holds request.json. SIGTERM ends it without a verdict.
"""

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from noren.control.ports import GateRun
from noren.domain.deployment import digest
from noren.domain.verdict import Check, Outcome, Verdict, overall
from noren.gates import files, quality
from noren.gates.conclusion import broke, conclude


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
    except Exception as error:  # noqa: BLE001  it must not leave the rollout waiting
        checks.append(broke(error, folder))
    verdict = conclude(checks, revision=run.green.name, attempt=run.attempt, started_at=started_at, folder=folder)
    return replace(verdict, replicas=run.replicas, configuration=digest(run.green), degraded=run.degraded)


def _groups(run: GateRun, folder: Path) -> Iterator[tuple[Check, ...]]:
    """Each check is imported when it is its turn: what is not asked for costs no rollout its start."""
    gates = run.green.gates
    if gates.smoke:
        from noren.gates import smoke

        yield smoke.check(run)
    if gates.quality and not run.emergency:
        yield (quality.check(run, gates.quality),)
    if gates.load.enabled:
        from noren.gates import load, parity

        yield load.check(run, folder)
        if answers := parity.check(folder, gates.parity):
            yield (answers,)


def _tell(checks: tuple[Check, ...]) -> None:
    for check in checks:
        print(f"{check.outcome:7} {check.name}: {check.detail}", flush=True)  # noqa: T201


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signum)


def main(folder: Path) -> None:
    """Judge what request.json asks for."""
    signal.signal(signal.SIGTERM, _end)
    # jsonschema imports this where it is installed, and it takes half a second to compile its grammar; the formats that
    # it is for are not asked about here.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    run = files.read_request(folder)
    print(f"gate {run.name}: {run.green.bento} at {run.green_url}", flush=True)  # noqa: T201
    stopped = folder / files.STOPPED
    if stopped.exists():
        return
    verdict = judge(run, folder)
    if not stopped.exists():
        files.write_verdict(folder, verdict)
        from noren.gates import report  # after the verdict: a rollout waits for that one only

        report.write(folder, verdict)
        print(f"{verdict.outcome}: {verdict.reason}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
