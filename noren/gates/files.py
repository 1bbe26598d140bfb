"""The folder of one run at the gate: what is asked, what came out, and everything measured in between.

request.json     the GateRun; its presence says that the run was begun
locustfile.py    the text that the deployment declares, if it does
stopped          someone ended the run: there will be no verdict
verdict.json     what it comes to
report.html      the same with plots, for people
calibration.json what was known of this machine when the run began, if it was calibrated for the deployment
...              what a duet leaves: see duet.py
"""

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from noren.control.ports import GateRun
from noren.domain.deployment import Revision
from noren.domain.verdict import Verdict
from noren.machine import write_whole

REQUEST, LOCUSTFILE, STOPPED, VERDICT, LOG, CALIBRATION = (
    "request.json",
    "locustfile.py",
    "stopped",
    "verdict.json",
    "gate.log",
    "calibration.json",
)

_runs = TypeAdapter(GateRun)
_verdicts = TypeAdapter(Verdict)


def write_request(folder: Path, run: GateRun) -> None:
    """Write the request without the values of environment variables: they may be secrets."""
    folder.mkdir(parents=True, exist_ok=True)
    if text := run.green.gates.load.locustfile:
        write(folder / LOCUSTFILE, text.encode())
    blue = run.blue and _without_secrets(run.blue)
    run = replace(run, green=_without_secrets(run.green), blue=blue)
    write(folder / REQUEST, _runs.dump_json(run, indent=2))


def read_request(folder: Path) -> GateRun:
    """The run that the folder belongs to."""
    return _runs.validate_json((folder / REQUEST).read_bytes())


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write the verdict; from here on it stands."""
    write(folder / VERDICT, _verdicts.dump_json(verdict, indent=2))


def read_verdict(folder: Path) -> Verdict | None:
    """The verdict, if there is one yet. Raises ValueError when it cannot be understood."""
    path = folder / VERDICT
    return _verdicts.validate_json(path.read_bytes()) if path.exists() else None


def calibration(home: Path, deployment: str) -> Path:
    """Where the calibration of a deployment is kept."""
    return home / "calibration" / f"{deployment}.json"


def write(path: Path, content: bytes) -> None:
    """Replace a file in one step: who reads it sees all of it or nothing, also after a power cut."""
    write_whole(path, content.decode(), durable=True)


def _without_secrets(revision: Revision) -> Revision:
    return replace(revision, env=dict.fromkeys(revision.env, ""))
