"""The end of all that runs for a home."""

import os
import signal
import time
from datetime import timedelta

from noren import drivers
from noren.domain.errors import DriverError
from noren.machine import Machine
from noren.runtimes import container, process
from noren.runtimes.record import forget_all
from noren.settings import Settings


def stop_everything(settings: Settings, *, grace_s: float = 20.0) -> int:
    """End all that runs for this home, guests last: control plane, gates, front door (drained), replicas.

    Works whether or not the control plane runs. Returns how many processes and containers there were. Raises
    DriverError when something outlives SIGKILL.
    """
    machine = Machine(settings.home)
    found = len(machine.processes())
    for kind in ("server", "gate"):
        end(machine, kind, grace_s=grace_s)
    drivers.front_door(settings, machine).shutdown(grace=timedelta(seconds=grace_s))
    for kind in ("envoy", process.KIND, container.KIND):
        end(machine, kind, grace_s=grace_s)
    for engine in drivers.containers(settings, machine):
        found += drivers.container_runtime(settings, machine, engine.program).shut_down(timedelta(seconds=grace_s))
    forget_all(settings.home)
    if left := [p for p in machine.processes() if p.pid != os.getpid()]:
        pids = ", ".join(str(p.pid) for p in left)
        raise DriverError(f"these processes do not end: {pids}", fix="look at them with `ps`, and kill them")
    return found


def end(machine: Machine, kind: str, *, leader: int | None = None, grace_s: float = 20.0) -> None:
    """SIGTERM, and SIGKILL for what is left after `grace_s`; of those that `leader` led, where one is named."""

    def left() -> set[str]:
        return {p.name for p in machine.processes(kind) if leader in (None, p.leader)}

    for signum, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience_s
        for name in left():
            machine.signal(kind, name, signum, all_of_it=signum is signal.SIGKILL, leader=leader)
        while left() and time.monotonic() < deadline:
            time.sleep(0.05)
