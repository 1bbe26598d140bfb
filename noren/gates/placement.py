"""Cores for the arms of a duet, and another one for its generator.

Left alone on few cores, the kernel may put one arm beside the generator for the whole of a run, and the same Bento on
both sides differs by a quarter (docs/gate.md). So both arms share all cores but one, and the generator has that one.

Only while they are measured: whoever ends a gate that could not tidy up releases its arms (process.py).
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from noren.machine import HOME, Machine

_REPLICA = "replica"  # Marked.kind of what runs a revision
_TASKS = Path("/proc")


def this_home() -> Machine | None:
    """The machine whose process this is, by the marks it carries; None outside of a home, as in a CI."""
    home = os.environ.get(HOME)
    return Machine(Path(home)) if home else None


@contextlib.contextmanager
def apart(machine: Machine | None, arms: Collection[str]) -> Iterator[int | None]:
    """Keep the replicas of these revisions off one core within the block: the core, for the generator.

    None, and nothing is moved, where there is one core only, or an arm has no process here: in containers and on other
    machines it is for others to place them.
    """
    cores = sorted(_allowed())
    if machine is None or len(cores) < 2 or not _all_here(machine, arms):
        yield None
        return
    _move(machine, arms, set(cores[:-1]))
    try:
        yield cores[-1]
    finally:
        release(machine, arms)


def release(machine: Machine, arms: Collection[str]) -> None:
    """Give the replicas of these revisions all the cores that this process may use."""
    _move(machine, arms, _allowed())


def settle(pid: int, core: int | None) -> None:
    """Put a process that has just begun onto a core; its threads and children will follow."""
    if core is not None:
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(pid, {core})


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()  # macOS has no such thing


def _all_here(machine: Machine, arms: Collection[str]) -> bool:
    return set(arms) == {revision for _, revision in _replicas(machine, arms)}


def _move(machine: Machine, arms: Collection[str], cores: set[int]) -> None:
    if not cores:
        return
    for pid, _ in _replicas(machine, arms):
        # The kernel knows threads only: each has cores of its own.
        with contextlib.suppress(OSError):  # it ended meanwhile
            for task in (_TASKS / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(task.name), cores)


def _replicas(machine: Machine, arms: Collection[str]) -> list[tuple[int, str]]:
    """Process id and revision of each."""
    found = ((p.pid, p.env.get("NOREN_REVISION", "")) for p in machine.processes(_REPLICA))
    return [(pid, revision) for pid, revision in found if revision in arms]
