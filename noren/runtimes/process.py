"""Replicas as processes of this machine: the exact Bento, served in an environment of its own."""

import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import psutil

from noren.control.ports import Replica, ReplicaState, made_of
from noren.domain.deployment import Revision
from noren.domain.errors import DriverError, NotFound
from noren.machine import Machine, Marked, free_port, rotate, tail
from noren.runtimes.leaving import GRACE, MADE_OF, Ending, Leaving, is_stray
from noren.runtimes.passed_on import for_a_bento
from noren.runtimes.probes import HUNG, HUNG_S, Probes
from noren.runtimes.record import Record, Records

KIND = "replica"


class ProcessRuntime:
    """See Runtime. State below `home`: replicas/<revision>/<index>.json, logs/, envs/."""

    def __init__(self, home: Path, machine: Machine, bentoml_home: Path) -> None:
        self.home, self.machine, self.bentoml_home = home, machine, bentoml_home
        self.records = Records(home)
        self._lock = threading.RLock()
        self._probes = Probes()
        self._leaving = Leaving()  # by pid
        self._ending = Ending()  # by the leader's pid

    def start(self, revision: Revision) -> None:
        """See Runtime."""
        with self._lock:
            leaders = self._leaders(revision.name)
            alive = {p.env.get("NOREN_INDEX") for p in leaders}
            for index in range(revision.replicas):
                if str(index) not in alive:
                    self._launch(revision, index)
            for stray in (p for p in leaders if is_stray(p.env.get(MADE_OF), revision)):
                if due := self._ending.due(str(stray.pid), GRACE):
                    self.machine.signal(KIND, stray.name, due, all_of_it=due is signal.SIGKILL, leader=stray.pid)

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """See Runtime."""
        with self._lock:
            self.records.forget(revision)
            processes = self._processes(revision)
            led = {p.leader for p in processes if p.leads}
            for leader, name in {(p.leader, p.name) for p in processes}:
                due = self._ending.due(str(leader), grace)
                if due is None and leader not in led:
                    due = signal.SIGTERM  # once is enough, but for children left behind
                if due:
                    self.machine.signal(KIND, name, due, all_of_it=due is signal.SIGKILL, leader=leader)

    def replace(self, replica: Replica, reason: str) -> None:
        """See Runtime."""
        with self._lock:
            name, key = f"{replica.revision}/{replica.index}", str(replica.pid)
            if not any(p.pid == replica.pid for p in self._leaders(replica.revision)):
                return
            if self._leaving.begin(key, reason):
                self.records.say(name, f"{reason}, so another takes its place")
            due = signal.SIGKILL if replica.state is ReplicaState.UNREADY else self._leaving.due(key)
            if due:
                self.machine.signal(KIND, name, due, all_of_it=due is signal.SIGKILL)

    def replicas(self) -> Sequence[Replica]:
        """See Runtime."""
        with self._lock:
            processes = self.machine.processes(KIND)
            leaders = {p.name: p for p in processes if p.leads}
            wanted = self.records.wanted()
            states = self._states(leaders, wanted)
            memory = _memory(processes)
            sick = self._sick(leaders, states, processes, memory)
            replicas = [
                _running(p, states[name], wanted.get(name), memory, sick.get(name, "")) for name, p in leaders.items()
            ]
            replicas += [self.records.crashed(name, record) for name, record in wanted.items() if name not in leaders]
            orphans = {p.name: p for p in processes if p.name not in leaders and p.name not in wanted}
            replicas += [_running(p, ReplicaState.STOPPING, None, memory) for p in orphans.values()]
            return replicas

    def spare_bytes(self) -> int:
        """See Runtime."""
        return psutil.virtual_memory().available

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """See Runtime."""
        files = self.records.logs(revision)
        if not files:
            raise NotFound(f"{revision} never ran here", fix="see `noren revisions`")
        return [f"{index} | {line}" for index, file in files.items() for line in tail(file, lines)]

    # Starting

    def _launch(self, revision: Revision, index: int) -> None:
        name = f"{revision.name}/{index}"
        if not self.records.begin(name):
            return
        # Children of a replica that was killed still hold its memory, and perhaps its port.
        self.machine.signal(KIND, name, signal.SIGKILL, all_of_it=True)
        port, (bento, version) = free_port(), revision.bento.split(":")
        folder = self.bentoml_home / "bentos" / bento / version
        log = self.records.log(name)
        rotate(log)
        argv = [sys.executable, "-m", "noren.runtimes.launch"]
        arguments = [folder, revision.bento, self.home / "envs", port, revision.workers, revision.server]
        marks = {"NOREN_REVISION": revision.name, "NOREN_INDEX": str(index), "NOREN_PORT": str(port)}
        marks[MADE_OF] = made_of(revision)
        marks["NOREN_MEMORY"] = str(revision.resources.memory_bytes or "")
        env = for_a_bento() | {"BENTOML_HOME": str(self.bentoml_home)} | dict(revision.env) | marks
        try:
            self.machine.start([*argv, *map(str, arguments)], kind=KIND, name=name, log=log, env=env)
        except OSError as error:
            raise DriverError(f"{name} cannot be started: {error}", fix="mend that and apply again") from error

    # Looking

    def _states(self, leaders: Mapping[str, Marked], wanted: Mapping[str, Record]) -> dict[str, ReplicaState]:
        """How those that run are, by name."""
        keys = {str(p.pid): name for name, p in leaders.items()}
        self._leaving.keep(keys.keys())
        running = {key: (name, _address(leaders[name])) for key, name in keys.items()}
        states = self._probes.states(running, self.records, wanted, self._leaving)
        return {keys[key]: state for key, state in states.items()}

    def _sick(
        self,
        leaders: Mapping[str, Marked],
        states: Mapping[str, ReplicaState],
        processes: Sequence[Marked],
        memory: Mapping[str, int],
    ) -> dict[str, str]:
        """Why others should take the place of some of them, by name."""
        hung = self._probes.hung(HUNG_S)
        found = {name: HUNG if str(p.pid) in hung else self._leaving.why(str(p.pid)) for name, p in leaders.items()}
        for name, process in leaders.items():
            limit = int(process.env.get("NOREN_MEMORY") or 0)
            if not limit or states[name] is not ReplicaState.READY or memory.get(name, 0) <= limit:
                continue
            # Pages that its workers share count in each of them, so the dear question is asked only of who seems big.
            if (taken := _shared_once(processes, name)) > limit:
                found[name] = f"it takes {taken / 2**20:.0f} of {limit / 2**20:.0f} MiB (resources.memory)"
        return found

    def _leaders(self, revision: str) -> list[Marked]:
        return [p for p in self._processes(revision) if p.leads]

    def _processes(self, revision: str) -> list[Marked]:
        found = self.machine.processes(KIND)
        self._ending.keep({str(p.leader) for p in found})
        return [p for p in found if p.env.get("NOREN_REVISION") == revision]


def _running(
    process: Marked, state: ReplicaState, record: Record | None, memory: Mapping[str, int], sick: str = ""
) -> Replica:
    return Replica(
        revision=process.env["NOREN_REVISION"],
        index=int(process.env["NOREN_INDEX"]),
        state=state,
        address=_address(process),
        pid=process.pid,
        started_at=process.started_at,
        restarts=record.restarts if record else 0,
        memory_bytes=memory.get(process.name, 0),
        sick=sick,
        made_of=process.env.get(MADE_OF, ""),
    )


def _address(process: Marked) -> str:
    return f"127.0.0.1:{process.env.get('NOREN_PORT', '')}"


def _memory(processes: Sequence[Marked]) -> dict[str, int]:
    total: dict[str, int] = {}
    for process in processes:
        try:
            used = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:
            continue
        total[process.name] = total.get(process.name, 0) + used
    return total


def _shared_once(processes: Sequence[Marked], name: str) -> int:
    """Memory of a replica in bytes; of a page that n processes share each has the n-th part, where that is told."""
    total = 0
    for process in processes:
        if process.name == name:
            try:
                told = psutil.Process(process.pid).memory_full_info()
            except psutil.Error:
                continue
            total += getattr(told, "pss", told.uss)
    return total
