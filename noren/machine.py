"""Processes that outlive the control plane.

They are started in a session of their own, and found again by what the machine says.

Every process of ours carries its kind and name in its environment, and so do its children. No pid is
remembered: pids are reused, and a control plane that was killed cannot remember any.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import psutil

HOME, KIND, NAME, LEADER = "NOREN_OF", "NOREN_KIND", "NOREN_NAME", "NOREN_LEADER"
# The shell tells the process its own pid and becomes it; the argv is passed through as it is.
_BECOME = f'export {LEADER}=$$; exec "$@"'
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a CI that cancels, a terminal that is closed
_SETTLED_S = 30.0  # a younger process may not have reached its exec on a busy machine, so its environment may change
_EXEC_TRIES, _EXEC_TRY_S = 40, 0.0005  # an exec takes less than a millisecond of a core
_KERNEL = 2  # the parent of its threads, which have no environment
_PAUSE_S = 5.0  # between two scans: longer, and pids may have come round meanwhile
_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_SOCKETS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A process of ours, or a child of one."""

    pid: int
    kind: str  # "server", "replica", "envoy", "gate"
    name: str
    leader: int  # pid of the process that was started; its children carry the same number
    env: Mapping[str, str] = field(repr=False)  # only the variables that begin with NOREN_
    started_at: datetime

    @property
    def leads(self) -> bool:
        """Whether this is the process that was started, and not a child of it."""
        return self.pid == self.leader


class Machine:
    """The marked processes of one NOREN_HOME. Reads each process's environment once."""

    def __init__(self, home: Path) -> None:
        self.home = str(home.resolve())
        self._known: dict[tuple[int, float], Marked | None] = {}
        self._seen: dict[int, psutil.Process] = {}  # each knows when it began, which costs a file to ask
        self._scanned_at = time.monotonic()

    def processes(self, kind: str | None = None, name: str | None = None) -> list[Marked]:
        """Those that live now; zombies do not."""
        return [p for p in self._scan() if (kind is None or p.kind == kind) and (name is None or p.name == name)]

    def start(
        self,
        argv: Sequence[str],
        *,
        kind: str,
        name: str,
        log: Path,
        env: Mapping[str, str],
        cwd: Path | None = None,
    ) -> int:
        """Start a process in its own session with only `env` and its marks; output is appended to `log`.

        Returns its pid. Raises OSError when it cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _BECOME, "noren", *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**env, **self._marks(kind, name)},
                cwd=cwd,
                start_new_session=True,
            )
        _children[process.pid] = process
        self._await_marks(process)
        return process.pid

    def become(self, argv: Sequence[str], *, kind: str, name: str, env: Mapping[str, str]) -> NoReturn:
        """Turn this very process into one of ours; it stays in its session and its terminal."""
        os.execve(argv[0], list(argv), {**env, **self._marks(kind, name), LEADER: str(os.getpid())})  # noqa: S606

    def _marks(self, kind: str, name: str) -> dict[str, str]:
        return {HOME: self.home, KIND: kind, NAME: name}

    def _await_marks(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the process can be found: the kernel shows its environment a little after its exec."""
        while process.poll() is None and process.pid not in {p.pid for p in self._scan()}:
            time.sleep(0.001)

    def signal(
        self, kind: str, name: str, signum: signal.Signals, *, all_of_it: bool = False, leader: int | None = None
    ) -> int:
        """Send `signum` to the process, or to its children too. Returns how many were sent it.

        leader  only to the one of this pid: several control planes of a home have the same name

        Children whose leader is gone are always sent it: nobody else will end them.
        """
        found = [p for p in self.processes(kind, name) if leader in (None, p.leader)]
        alive = {p.pid for p in found}
        targets = [p for p in found if all_of_it or p.leads or p.leader not in alive]
        for target in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target.pid, signum)
        return len(targets)

    def _scan(self) -> Iterator[Marked]:
        reap()
        known: dict[tuple[int, float], Marked | None] = {}
        for process in self._all():
            try:
                key = (process.pid, process.create_time())
                marked = self._known[key] if key in self._known else self._read(process)
                if marked and not process.is_running():
                    self._seen.pop(process.pid, None)  # a stranger may have its pid by now, who is not to be signalled
                    continue
                if marked and process.status() == psutil.STATUS_ZOMBIE:
                    continue
            except (psutil.Error, OSError):
                continue  # it ended while we looked, or it belongs to someone else
            if time.time() - key[1] > _SETTLED_S:
                known[key] = marked
            if marked:
                yield marked
        self._known = known

    def _all(self) -> list[psutil.Process]:
        """Not by psutil.process_iter: what it remembers is put back by whoever else in this process ends one."""
        now = time.monotonic()
        if now - self._scanned_at > _PAUSE_S:
            self._seen = {}
        self._scanned_at = now
        seen, found = self._seen, dict[int, psutil.Process]()
        for pid in psutil.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[pid] = seen.get(pid) or psutil.Process(pid)
        self._seen = found
        return list(found.values())

    def _read(self, process: psutil.Process) -> Marked | None:
        try:
            env = _environment(process)
        except (psutil.AccessDenied, psutil.ZombieProcess, PermissionError):
            return None  # someone else's, or the kernel's: not worth asking again
        if env.get(HOME) != self.home or KIND not in env:
            return None
        return Marked(
            pid=process.pid,
            kind=env.get(KIND, ""),
            name=env.get(NAME, ""),
            leader=int(env.get(LEADER, process.pid)),  # not there yet: it is the shell that is about to become it
            env={key: value for key, value in env.items() if key.startswith("NOREN_")},
            started_at=datetime.fromtimestamp(process.create_time(), UTC),
        )


def _environment(process: psutil.Process) -> dict[str, str]:
    """While a process turns into another program, Linux shows not a byte of either: it is asked again for a moment.

    Whoever wrote a title over its environment, as PostgreSQL does, shows that, and is not waited for.
    """
    if not psutil.LINUX:
        return process.environ()
    for _ in range(_EXEC_TRIES):
        shown = Path(f"/proc/{process.pid}/environ").read_bytes()
        if shown or process.ppid() in (0, _KERNEL) or process.status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(_EXEC_TRY_S)
    written = os.fsdecode(shown).partition("\0\0")[0]  # behind that is what a title has left of it
    return dict(entry.split("=", 1) for entry in written.split("\0") if "=" in entry)


# Processes that this very control plane started: only their parent can collect how they ended.
_children: dict[int, subprocess.Popen[bytes]] = {}
_exits: dict[int, int] = {}


def reap() -> None:
    """Collect the exit codes of our own children that ended, so that none stays a zombie."""
    for pid, child in list(_children.items()):
        if (code := child.poll()) is not None:
            _exits[pid] = code
            del _children[pid]


def exit_code(pid: int) -> int | None:
    """How a child of this control plane ended; None when it was started by an earlier one."""
    reap()
    return _exits.get(pid)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and the other ways to be ended wait: a process that is half started cannot be found and ended yet."""
    came: list[int] = []
    before = {signum: signal.signal(signum, lambda number, _frame: came.append(number)) for signum in ENDINGS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if came:
        signal.raise_signal(signal.Signals(came[0]))


def own_environment() -> dict[str, str]:
    """This process's environment without the marks, for a process that is to be marked anew."""
    return {k: v for k, v in os.environ.items() if k not in (HOME, KIND, NAME, LEADER)}


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def spare_ports() -> int | None:
    """How many TCP ports the kernel could still give to who asks for any; None where it does not say."""
    try:
        lowest, highest = map(int, _PORT_RANGE.read_text().split())
        taken = {_local_port(line) for table in _SOCKETS if table.exists() for line in _lines(table)}
    except (OSError, ValueError, IndexError):
        return None
    return highest - lowest + 1 - sum(lowest <= port <= highest for port in taken)


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:]


def _local_port(line: str) -> int:
    """Of a socket in /proc/net/tcp, whatever its state: "0: 0100007F:1CF2 00000000:0000 0A ..."."""
    return int(line.split()[1].rpartition(":")[2], 16)


def listener(port: int) -> str | None:
    """Who listens on the TCP port, in words; None when nobody does."""
    with socket.socket() as probe:
        probe.settimeout(1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _owner(port)
    return None


def _owner(port: int) -> str:
    for process in psutil.process_iter(["pid", "name"]):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f"{process.info['name']} (pid {process.pid})"
    return "a process of another user"


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, at most 256 KiB of it; [] when there is no such file."""
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 262_144))
        text = log.read().decode(errors="replace")
    return text.splitlines()[-lines:]


def why(log: Sequence[str]) -> str:
    """The end of a log that tells most: from the last error line on, at most five lines."""
    lines = [line.rstrip() for line in log if line.strip()]
    marks = [i for i, line in enumerate(lines) if "Error" in line or "error:" in line or line.startswith("noren: ")]
    first = max(marks[-1] if marks else 0, len(lines) - 5)
    return "\n".join(lines[first:]) or "it ended without a word"


def rotate(path: Path, limit_bytes: int = 10_000_000) -> None:
    """Keep a log that another process appends to below `limit_bytes`: its past moves to `<name>.1`.

    Copied and truncated, because the writer holds the file open. O_APPEND makes it go on at the start. On a full disk
    its past is lost, which makes room.
    """
    if not path.exists() or path.stat().st_size < limit_bytes:
        return
    old = path.with_name(path.name + ".1")
    try:
        old.write_bytes(path.read_bytes())
    except OSError:
        old.unlink(missing_ok=True)
    os.truncate(path, 0)


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Put `text` in the place of what the file says; who reads it sees all of the one or of the other.

    durable  also after a power cut: else a new name may be on the disk before what it names
    Raises OSError that names the file, which that of a full disk does not.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text)
        if durable:
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
        fresh.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
