"""docker or podman: the few words that both understand, and what they answer."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from noren.domain.errors import DriverError, DriverUnavailable
from noren.runtimes.passed_on import ENGINE_PREFIXES, passed_on

OF, REVISION, INDEX, PORT = "noren.of", "noren.revision", "noren.index", "noren.port"  # labels
MADE = "noren.made-of"
PROGRAMS = ("docker", "podman")
_RUNS = frozenset({"running", "paused", "stopping"})
_WITHIN_S = 30.0  # podman keeps everyone waiting while it commits a large image


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A replica's container, as the engine has it now."""

    id: str
    revision: str
    index: int
    address: str
    runs: bool
    leaving: bool  # being removed already: there is nothing left to do about it
    pid: int | None  # of its first process, on this machine
    started_at: datetime | None
    memory_limit: int  # bytes; 0: none
    exit_code: int
    out_of_memory: bool  # as far as the engine noticed: podman often does not
    made_of: str = ""  # see Replica

    @property
    def name(self) -> str:
        """The name of the replica."""
        return f"{self.revision}/{self.index}"


class Engine:
    """The containers of one home. Raises DriverUnavailable when the engine does not answer, or says no."""

    def __init__(self, program: str, home: str) -> None:
        self.program, self.home = program, home

    def containers(self) -> list[Container]:
        """Those that run, and those that ended and were not removed."""
        said = ""
        for _ in range(3):  # one may be removed between the two questions
            ids = self._ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={OF}={self.home}").split()
            if not ids:
                return []
            done = self._run("inspect", "--type", "container", *ids)
            if not done.returncode:
                return parse(done.stdout)
            said = done.stderr
        raise _unavailable([self.program, "inspect"], said)

    def refusal(self) -> str:
        """Why it cannot be used; "" when it can. A client without its service is of no use."""
        if not shutil.which(self.program):
            return "not installed"
        try:
            done = self._run("ps", "--quiet")
        except DriverUnavailable as error:
            return error.problem
        return _last(done.stderr) if done.returncode else ""

    def log(self, container: str, lines: int) -> list[str]:
        """The last lines that it wrote, to either stream."""
        done = self._run("logs", "--tail", str(lines), container, merged=True)
        return [] if done.returncode else done.stdout.splitlines()

    def signal(self, signum: signal.Signals, containers: Sequence[str]) -> None:
        """Send it to their first processes; one that has ended meanwhile is no error."""
        for container in containers:
            self._run("kill", "--signal", signum.name.removeprefix("SIG"), container)

    def remove(self, container: str) -> None:
        """Remove one that has ended."""
        self._run("rm", "--force", container)

    def _ask(self, *words: str) -> str:
        done = self._run(*words)
        if done.returncode:
            raise _unavailable([self.program, *words], done.stderr)
        return done.stdout

    def _run(self, *words: str, merged: bool = False) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                env=passed_on(*ENGINE_PREFIXES),
                text=True,
                errors="replace",
                check=False,
                timeout=_WITHIN_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unavailable([self.program, *words], str(error)) from error


def answering(named: str = "") -> list[str]:
    """The engines that answer here, or the one that is named. Raises DriverError with what each said when none does."""
    refusals = {program: Engine(program, "").refusal() for program in ([named] if named else PROGRAMS)}
    if found := [program for program, refusal in refusals.items() if not refusal]:
        return found
    raise DriverError(
        "no container engine answers: " + "; ".join(f"{program}: {refusal}" for program, refusal in refusals.items()),
        fix="install podman or docker, or start its service; or use processes: `noren up --runtime process`",
    )


def parse(inspected: str) -> list[Container]:
    """What `inspect` of either engine tells."""
    return [_container(one) for one in json.loads(inspected)]


def _container(one: dict[str, Any]) -> Container:
    state, labels = one["State"], one["Config"]["Labels"]
    status = str(state["Status"])
    runs = status in _RUNS
    return Container(
        id=one["Id"],
        revision=labels[REVISION],
        index=int(labels[INDEX]),
        address=f"127.0.0.1:{labels[PORT]}",
        runs=runs,
        leaving=status == "removing",
        pid=(state.get("Pid") or None) if runs else None,
        started_at=_time(state["StartedAt"]) if runs else None,
        memory_limit=int(one["HostConfig"].get("Memory") or 0),
        exit_code=int(state["ExitCode"]),
        out_of_memory=bool(state.get("OOMKilled")),
        made_of=labels.get(MADE, ""),
    )


def _time(written: str) -> datetime:
    # Nanoseconds are more than Python reads.
    return datetime.fromisoformat(re.sub(r"(\.\d{1,6})\d*", r"\1", written))


def _unavailable(argv: Sequence[str], said: str) -> DriverUnavailable:
    command = f"{Path(argv[0]).name} {argv[1]}"
    return DriverUnavailable(
        f"`{command}` does not work: {_last(said)}", fix=f"see what `{command}` says on this machine"
    )


def _last(said: str) -> str:
    return next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
