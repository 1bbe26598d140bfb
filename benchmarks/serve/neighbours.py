"""What else runs on this machine while we measure: a figure taken beside a busy neighbour is worth nothing."""

import contextlib
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

import psutil

LIMIT = 0.2  # of a core, by everything that is not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Everything that is not ours: its `share` of one core, and the busiest process of it that still lives."""

    busiest: str
    share: float


class Watch:
    """Looks at the machine when it is made, and again when asked."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._processes_s, self._machine_s, self._own_s = _processes_s(), _machine_s(), time.process_time()

    def seen(self, ours: Collection[int] = (), *, ours_s: float = 0.0) -> Neighbours:
        """What others did since.

        ours     process ids of the server
        ours_s   CPU seconds that the server took since; this process knows its own
        """
        seconds = time.monotonic() - self._began
        # Of the whole machine, because a neighbour that starts and ends meanwhile is in no list of processes.
        others_s = _machine_s() - self._machine_s - (time.process_time() - self._own_s) - ours_s
        return Neighbours(busiest=self._busiest(ours), share=max(0.0, others_s / seconds))

    def _busiest(self, ours: Collection[int]) -> str:
        spent = {
            process: cpu_s - self._processes_s.get(process, 0.0)
            for process, cpu_s in _processes_s().items()
            if process.pid != os.getpid() and process.pid not in ours
        }
        process = max(spent, key=lambda process: spent[process])
        with contextlib.suppress(psutil.Error):
            return f"{process.name()} ({process.pid})"
        return f"a process that has ended ({process.pid})"


def _processes_s() -> dict[psutil.Process, float]:
    """CPU seconds of every process. psutil tells apart two that had the same number one after the other."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process] = times.user + times.system
    return found


def _machine_s() -> float:
    """CPU seconds of all cores, the network's interrupts included: they are part of a process's own time too."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
