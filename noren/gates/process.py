"""The gate as a process of its own: it goes on when the control plane is killed, and is found again."""

import contextlib
import re
import signal
import sys
import time
from pathlib import Path

from noren.control.ports import GateRun
from noren.domain.errors import DriverError, SpecError
from noren.domain.observation import GateState, Lost
from noren.domain.verdict import Verdict
from noren.gates import files, placement
from noren.machine import Machine, own_environment, tail, why

KIND = "gate"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_APPEARS_WITHIN_S = 3.0  # from the written request to a process that carries our marks
_TERM_WITHIN_S = 2.0


class ProcessGate:
    """See Gate. State below `home`: gates/<run>/, see files.py."""

    def __init__(self, home: Path, machine: Machine) -> None:
        self.home, self.machine = home, machine

    def start(self, run: GateRun) -> None:
        """See Gate."""
        folder = self._folder(run.name)
        request = folder / files.REQUEST
        if request.exists():
            return
        argv = [sys.executable, "-m", "noren.gates.check", str(folder)]
        try:
            files.write_request(folder, run)
            self._take_calibration(run.green.deployment, folder)
            self.machine.start(
                argv, kind=KIND, name=run.name, log=folder / files.LOG, env=own_environment(), cwd=folder
            )
        except OSError as error:
            with contextlib.suppress(OSError):
                request.unlink()  # so that the next start is not taken for the second
            raise DriverError(
                f"the gate of {run.green.name} cannot be started: {error}",
                fix=f"see that {self.home} can be written to and has space left",
            ) from error

    def look(self, name: str) -> GateState | Lost | Verdict:
        """See Gate."""
        folder = self._folder(name)
        # Looked for before the verdict: who ends in between has written it by then.
        runs = bool(self.machine.processes(KIND, name))
        try:
            if verdict := files.read_verdict(folder):
                return verdict
        except ValueError:  # damaged, or of another version of Noren
            return Lost(f"its verdict in {folder} cannot be read")
        if not (folder / files.REQUEST).exists():
            return GateState.ABSENT
        if not (folder / files.STOPPED).exists() and (runs or _is_new(folder)):
            return GateState.RUNNING
        self._release(folder)
        return Lost(_last_words(folder))

    def busy(self) -> bool:
        """See Gate."""
        return bool(self.machine.processes(KIND))

    def stop(self, name: str) -> None:
        """See Gate."""
        folder = self._folder(name)
        if (folder / files.VERDICT).exists():
            return  # what still runs draws the report, and ends by itself
        if (folder / files.REQUEST).exists():
            # Written first: a process that no signal reaches yet reads it as soon as it runs.
            files.write(folder / files.STOPPED, b"")
        kill_at = time.monotonic() + _TERM_WITHIN_S
        while self.machine.signal(KIND, name, signal.SIGTERM, all_of_it=True):
            if time.monotonic() > kill_at:
                self.machine.signal(KIND, name, signal.SIGKILL, all_of_it=True)
                break
            time.sleep(0.05)
        self._release(folder)

    def _release(self, folder: Path) -> None:
        """Give the arms back the core that a gate which did not end by itself may have kept them off."""
        with contextlib.suppress(FileNotFoundError, ValueError):  # never begun, or of another version of Noren
            run = files.read_request(folder)
            placement.release(self.machine, [arm.name for arm in (run.green, run.blue) if arm])

    def _take_calibration(self, deployment: str, folder: Path) -> None:
        """Put it beside the request: what a verdict was computed with stays with its evidence."""
        with contextlib.suppress(FileNotFoundError):
            files.write(folder / files.CALIBRATION, files.calibration(self.home, deployment).read_bytes())

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SpecError(
                f"{name!r} cannot name a run of the gate",
                fix="use letters, digits, dots, dashes and underscores; begin with a letter or a digit",
            )
        return self.home / "gates" / name


def _is_new(folder: Path) -> bool:
    """Whether the process may be on its way: for a moment after its start it has no marks yet."""
    return time.time() - (folder / files.REQUEST).stat().st_mtime < _APPEARS_WITHIN_S


def _last_words(folder: Path) -> str:
    return "it was stopped" if (folder / files.STOPPED).exists() else why(tail(folder / files.LOG, 30))
