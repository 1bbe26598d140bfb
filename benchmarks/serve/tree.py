"""The processes of a server: started on a core of their own, measured together, ended together. Linux only."""

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 15.0  # for a server to end by itself


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends, so that daemons (Ray's) are found and ended too."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@functools.cache
def cores() -> tuple[int, int]:
    """The core of the server and that of the load generator; the same one where there is only one.

    Told once: a process that has bound itself to the generator's core sees no other any more.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


_trees: list["Tree"] = []  # that may still run


@dataclass(frozen=True, slots=True)
class Tree:
    """One server and everything that it started: every descendant of this process that is not another server's.

    An orphan that was adopted belongs to all that run, which are several only where none starts daemons.
    """

    root: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, argv: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path, core: int
    ) -> "Tree":
        """Start `argv` on `core`; what it says goes into `log`."""
        with log.open("wb") as output:
            # taskset is a preexec_fn that is safe beside threads; it executes argv in its own place.
            pinned = ["taskset", "--cpu-list", str(core), *argv]
            tree = cls(subprocess.Popen(pinned, cwd=folder, env=environment, stdout=output, stderr=output))
            _trees.append(tree)
            return tree

    @property
    def processes(self) -> list[psutil.Process]:
        """All of them that live."""
        others = {process.pid for tree in _trees if tree is not self for process in tree._family()}
        return [process for process in psutil.Process().children(recursive=True) if process.pid not in others]

    def _family(self) -> list[psutil.Process]:
        """The first process and its descendants, without orphans."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.root.pid)
            return [root, *root.children(recursive=True)]
        return []

    @property
    def running(self) -> bool:
        """Whether the first process lives."""
        return self.root.poll() is None

    def cpu_s(self) -> float:
        """CPU seconds of all of them and of their children that have ended."""
        total = 0.0
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_mb(self) -> float:
        """Memory in megabytes; a page that n processes share counts 1/n in each (PSS)."""
        return sum(_pss_kb(process.pid) for process in self.processes) * 1024 / 1e6

    def stop(self) -> None:
        """Ask politely, then end whatever is left."""
        if self.running:
            self.root.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.root.wait(GRACE_S)
        until = time.monotonic() + 2.0
        while (left := self.processes) and time.monotonic() < until:
            psutil.wait_procs(left, timeout=0.1)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        self.root.wait(5)
        _trees.remove(self)


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it ended, or it is a zombie
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
