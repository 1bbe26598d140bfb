"""Replicas as processes of this machine: `bentoml serve` of the exact Bento in an environment of its own."""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil

from noren.control.ports import Replica, ReplicaState
from noren.domain.deployment import Revision
from noren.domain.errors import DriverError, NotFound
from noren.machine import Machine, Marked, free_port, own_environment, rotate, tail

KIND = "replica"
_STEADY = timedelta(seconds=60)  # who ran this long before it ended starts with a clean record
_BROKEN_AFTER = 3  # this many short lives in a row are a crash loop
_BACKOFF_MAX_S = 60.0
_UNREADY_AFTER = 3  # failed probes in a row: one slow answer on a busy machine is no illness

# A replica sees what a program needs to run here; secrets of the control plane's own environment stay there.
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_ON_PREFIXES = (
    "LC_",
    "UV_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


@dataclass(kw_only=True)
class _Record:
    """What the machine cannot tell of a replica: that it is wanted, and how its earlier lives ended."""

    launches: int = 0
    launched_at: float = 0.0  # seconds since 1970
    exits: list[str] = field(default_factory=list)  # one reason for each short life in a row
    exited_at: float = 0.0
    counted: int = 0  # launches whose end is in `exits` or was forgiven

    def due_at(self) -> float:
        """When the next launch may be: 0.5, 1, 2, 4 ... 60 s after the last end."""
        return self.exited_at + min(0.25 * 2 ** len(self.exits), _BACKOFF_MAX_S) if self.exits else 0.0


class ProcessRuntime:
    """See Runtime. State below `home`: replicas/<revision>/<index>.json, logs/, envs/."""

    def __init__(self, home: Path, machine: Machine, bentoml_home: Path) -> None:
        self.home, self.machine, self.bentoml_home = home, machine, bentoml_home
        self._lock = threading.RLock()
        self._misses: dict[int, int] = {}  # pid -> failed probes in a row, of those that were ready once
        self._stopping: dict[str, float] = {}  # revision -> when it was first asked to end
        self._probes = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
        self._http = httpx.Client(timeout=1.0, trust_env=False)

    def start(self, revision: Revision) -> None:
        """See Runtime."""
        with self._lock:
            self._stopping.pop(revision.name, None)
            alive = {p.env.get("NOREN_INDEX") for p in self._leaders(revision.name)}
            for index in range(revision.replicas):
                if str(index) not in alive:
                    self._launch(revision, index)

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """See Runtime."""
        with self._lock:
            shutil.rmtree(self._folder(revision), ignore_errors=True)
            asked = revision in self._stopping
            since = self._stopping.setdefault(revision, time.monotonic())
            overdue = time.monotonic() - since >= grace.total_seconds()
            processes = self._processes(revision)
            led = {p.name for p in processes if p.leads}
            for name in {p.name for p in processes}:
                if overdue:
                    self.machine.signal(KIND, name, signal.SIGKILL, all_of_it=True)
                elif not asked or name not in led:  # once is enough, but for children left behind
                    self.machine.signal(KIND, name, signal.SIGTERM)

    def replicas(self) -> Sequence[Replica]:
        """See Runtime."""
        with self._lock:
            processes = self.machine.processes(KIND)
            leaders = {p.name: p for p in processes if p.leads}
            ready = dict(zip(leaders, self._probes.map(self._answers, leaders.values()), strict=True))
            memory = _memory(processes)
            wanted = self._wanted()
            replicas = [
                _running(p, self._state(p, ready[name], wanted=name in wanted), wanted.get(name), memory)
                for name, p in leaders.items()
            ]
            replicas += [self._crashed(name, record) for name, record in wanted.items() if name not in leaders]
            orphans = {p.name: p for p in processes if p.name not in leaders and p.name not in wanted}
            replicas += [_running(p, ReplicaState.STOPPING, None, memory) for p in orphans.values()]
            self._misses = {p.pid: self._misses[p.pid] for p in leaders.values() if p.pid in self._misses}
            return replicas

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """See Runtime."""
        files = sorted((self.home / "logs").glob(f"{revision}.*.log"))
        if not files:
            raise NotFound(f"{revision} never ran here", fix="see `noren revisions`")
        return [f"{file.name.split('.')[-2]} | {line}" for file in files for line in tail(file, lines)]

    # Starting

    def _launch(self, revision: Revision, index: int) -> None:
        name = f"{revision.name}/{index}"
        record = self._read(name) or _Record()
        self._note_end(name, record)
        if time.time() < record.due_at():
            return
        # Children of a replica that was killed still hold its memory, and perhaps its port.
        self.machine.signal(KIND, name, signal.SIGKILL, all_of_it=True)
        record.launches, record.launched_at = record.launches + 1, time.time()
        self._write(name, record)
        port, (bento, version) = free_port(), revision.bento.split(":")
        folder = self.bentoml_home / "bentos" / bento / version
        log = self._log(name)
        rotate(log)
        argv = [sys.executable, "-m", "noren.runtimes.launch"]
        arguments = [folder, revision.bento, self.home / "envs", port, revision.workers]
        marks = {"NOREN_REVISION": revision.name, "NOREN_INDEX": str(index), "NOREN_PORT": str(port)}
        env = _base_environment() | {"BENTOML_HOME": str(self.bentoml_home)} | dict(revision.env) | marks
        try:
            self.machine.start([*argv, *map(str, arguments)], kind=KIND, name=name, log=log, env=env)
        except OSError as error:
            raise DriverError(f"{name} cannot be started: {error}", fix="mend that and apply again") from error

    # Looking

    def _answers(self, process: Marked) -> bool:
        """Whether /readyz answers 200. Right after our own restart a busy replica is asked twice more."""
        tries = 1 if process.pid in self._misses else 3
        return any(self._probe(process.env.get("NOREN_PORT", "")) for _ in range(tries))

    def _probe(self, port: str) -> bool:
        try:
            return self._http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def _state(self, process: Marked, answers: bool, *, wanted: bool) -> ReplicaState:
        if not wanted:
            return ReplicaState.STOPPING
        if answers:
            self._misses[process.pid] = 0
            return ReplicaState.READY
        if process.pid not in self._misses:
            return ReplicaState.STARTING
        self._misses[process.pid] += 1
        return ReplicaState.UNREADY if self._misses[process.pid] >= _UNREADY_AFTER else ReplicaState.READY

    def _crashed(self, name: str, record: _Record) -> Replica:
        self._note_end(name, record)
        revision, index = name.split("/")
        broken = len(record.exits) >= _BROKEN_AFTER
        return Replica(
            revision=revision,
            index=int(index),
            state=ReplicaState.BROKEN if broken else ReplicaState.WAITING,
            restarts=max(record.launches - 1, 0),
            detail=record.exits[-1] if record.exits else "it ended",
        )

    def _note_end(self, name: str, record: _Record) -> None:
        """Take down that the last launch ended, once."""
        if record.counted >= record.launches:
            return
        lived = timedelta(seconds=time.time() - record.launched_at)
        record.exits = [*([] if lived > _STEADY else record.exits), _why(tail(self._log(name), 30))]
        record.exited_at, record.counted = time.time(), record.launches
        self._write(name, record)

    # What is kept

    def _leaders(self, revision: str) -> list[Marked]:
        return [p for p in self._processes(revision) if p.leads]

    def _processes(self, revision: str) -> list[Marked]:
        return [p for p in self.machine.processes(KIND) if p.env.get("NOREN_REVISION") == revision]

    def _folder(self, revision: str) -> Path:
        return self.home / "replicas" / revision

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name.replace('/', '.')}.log"

    def _wanted(self) -> dict[str, _Record]:
        names = [f"{file.parent.name}/{file.stem}" for file in (self.home / "replicas").glob("*/*.json")]
        return {name: record for name in sorted(names) if (record := self._read(name))}

    def _read(self, name: str) -> _Record | None:
        try:
            return _Record(**json.loads((self.home / "replicas" / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None

    def _write(self, name: str, record: _Record) -> None:
        path = self.home / "replicas" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(asdict(record)))
        fresh.replace(path)


def forget(home: Path) -> None:
    """Forget every replica: they were ended on purpose, and their next start is not one after a crash."""
    shutil.rmtree(home / "replicas", ignore_errors=True)


def _running(process: Marked, state: ReplicaState, record: _Record | None, memory: Mapping[str, int]) -> Replica:
    return Replica(
        revision=process.env["NOREN_REVISION"],
        index=int(process.env["NOREN_INDEX"]),
        state=state,
        address=f"127.0.0.1:{process.env['NOREN_PORT']}",
        pid=process.pid,
        started_at=process.started_at,
        restarts=max(record.launches - 1, 0) if record else 0,
        memory_bytes=memory.get(process.name, 0),
    )


def _memory(processes: Sequence[Marked]) -> dict[str, int]:
    total: dict[str, int] = {}
    for process in processes:
        try:
            used = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            continue
        total[process.name] = total.get(process.name, 0) + used
    return total


def _why(log: Sequence[str]) -> str:
    """The end of a log that tells most: from the last error line on, at most five lines."""
    lines = [line.rstrip() for line in log if line.strip()]
    marks = [i for i, line in enumerate(lines) if "Error" in line or "error:" in line or line.startswith("noren: ")]
    first = max(marks[-1] if marks else 0, len(lines) - 5)
    return "\n".join(lines[first:]) or "it ended without a word"


def _base_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in own_environment().items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    } | {"BENTOML_DO_NOT_TRACK": "True", "PYTHONUNBUFFERED": "1"}
