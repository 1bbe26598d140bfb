"""Replicas as containers of this machine: one of the Bento's image each, by docker or podman.

They outlive the control plane, and are found again by their labels alone.
"""

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from noren.control.ports import Replica, ReplicaState, made_of
from noren.domain.deployment import Resources, Revision, Server
from noren.domain.errors import DriverError, NotFound, SpecError
from noren.machine import Machine, Marked, free_port, rotate, tail
from noren.runtimes.container_launch import Launch
from noren.runtimes.engine import INDEX, MADE, OF, PORT, REVISION, Container, Engine
from noren.runtimes.leaving import GRACE, Ending, Leaving, is_stray
from noren.runtimes.passed_on import BENTO, ENGINE_PREFIXES, passed_on
from noren.runtimes.probes import HUNG, HUNG_S, Probes
from noren.runtimes.record import Record, Records

KIND = "container"  # of the processes that start one; the containers themselves are the engine's
_LISTENS_ON = 3000  # inside
_USER = "65532:65532"
_BENTO = "/app/bento"
_KILLED = 137  # the exit code that stands for SIGKILL
_WORKER_KILLED = "was ended by SIGKILL before it answered"  # what noren-serve says of its first worker
_KEPT_LINES = 2000  # of the log of a container that ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a revision's containers are made of."""

    name: str
    build: Sequence[str]  # the command that makes it; it is run when no image has that name


class ContainerRuntime:
    """See Runtime. State below `home`: replicas/<revision>/<index>.json, logs/ (of those that ended), images/."""

    def __init__(
        self, home: Path, machine: Machine, engine: str, bentoml_home: Path, image: Callable[[Revision], Image]
    ) -> None:
        self.home, self.machine, self.bentoml_home, self.image = home, machine, bentoml_home, image
        self.engine = Engine(engine, machine.home)
        self.records = Records(home)
        self._lock = threading.RLock()
        self._probes = Probes()
        self._leaving = Leaving()  # by the container's id
        self._ending = Ending()  # by the container's id, or the pid of who starts one

    def start(self, revision: Revision) -> None:
        """See Runtime."""
        with self._lock:
            launching, containers = self._look()
            alive = {*launching, *(c.name for c in containers)}
            for index in range(revision.replicas):
                if f"{revision.name}/{index}" not in alive:
                    self._launch(revision, index)
            for stray in (c for c in containers if c.revision == revision.name and is_stray(c.made_of, revision)):
                if due := self._ending.due(stray.id, GRACE):
                    self.engine.signal(due, [stray.id])

    def stop(self, revision: str, *, grace: timedelta) -> None:
        """See Runtime."""
        with self._lock:
            self.records.forget(revision)
            launching, containers = self._look()
            for container in containers:
                if container.revision == revision and (due := self._ending.due(container.id, grace)):
                    self.engine.signal(due, [container.id])
            for process in self._launchers(revision):
                due = self._ending.due(str(process.leader), grace)
                if due is None and process.name not in launching:  # as for processes: once, but for children left
                    due = signal.SIGTERM
                if due:
                    self.machine.signal(KIND, process.name, due, all_of_it=due is signal.SIGKILL)

    def replace(self, replica: Replica, reason: str) -> None:
        """See Runtime."""
        with self._lock:
            for container in self._look()[1]:
                if (container.name, container.pid) != (f"{replica.revision}/{replica.index}", replica.pid):
                    continue
                if self._leaving.begin(container.id, reason):
                    self.records.say(container.name, f"{reason}, so another takes its place")
                hangs = replica.state is ReplicaState.UNREADY
                if due := signal.SIGKILL if hangs else self._leaving.due(container.id):
                    self.engine.signal(due, [container.id])

    def replicas(self) -> Sequence[Replica]:
        """See Runtime."""
        with self._lock:
            launching, containers = self._look()
            wanted = self.records.wanted()
            running = {c.id: (c.name, c.address) for c in containers}
            states = self._probes.states(running, self.records, wanted, self._leaving)
            hung = self._probes.hung(HUNG_S)
            replicas = [
                _running(c, states[c.id], wanted.get(c.name), HUNG if c.id in hung else self._leaving.why(c.id))
                for c in containers
            ]
            there = {c.name for c in containers}
            replicas += [
                _launching(p, ReplicaState.STARTING if name in wanted else ReplicaState.STOPPING, wanted.get(name))
                for name, p in launching.items()
                if name not in there
            ]
            there |= launching.keys()
            replicas += [self.records.crashed(name, record) for name, record in wanted.items() if name not in there]
            there |= wanted.keys()
            # What is left of a build whose launcher was killed.
            orphans = {p.name: p for p in self.machine.processes(KIND) if p.name not in there}
            return replicas + [_launching(p, ReplicaState.STOPPING, None) for p in orphans.values()]

    def spare_bytes(self) -> int:
        """See Runtime."""
        return psutil.virtual_memory().available

    def logs(self, revision: str, *, lines: int) -> Sequence[str]:
        """See Runtime."""
        said = {index: tail(file, lines) for index, file in self.records.logs(revision).items()}
        for container in self.engine.containers():
            if container.revision == revision:
                said.setdefault(container.index, []).extend(self.engine.log(container.id, lines))
        if not said:
            raise NotFound(f"{revision} never ran here", fix="see `noren revisions`")
        return [f"{index} | {line}" for index in sorted(said) for line in said[index][-lines:]]

    def shut_down(self, grace: timedelta) -> int:
        """End every container of this home. Returns how many ran; raises DriverError when one does not end."""
        with self._lock:
            _, running = self._look()
            for signum, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, timedelta(seconds=10))):
                self.engine.signal(signum, [c.id for c in self._look()[1]])
                deadline = time.monotonic() + patience.total_seconds()
                while (left := self._look()[1]) and time.monotonic() < deadline:
                    time.sleep(0.1)
            if left:
                names = ", ".join(c.name for c in left)
                raise DriverError(f"the containers of {names} do not end", fix=f"see `{self.engine.program} ps`")
            return len(running)

    # Starting

    def _launch(self, revision: Revision, index: int) -> None:
        name = f"{revision.name}/{index}"
        if not self.records.begin(name):
            return
        self.machine.signal(KIND, name, signal.SIGKILL, all_of_it=True)  # what a killed build has left
        port, log = free_port(), self.records.log(name)
        rotate(log)
        try:
            launch = self._plan(revision, index, port)
            marks = {"NOREN_REVISION": revision.name, "NOREN_INDEX": str(index), "NOREN_PORT": str(port)}
            homes = {"NOREN_HOME": str(self.home), "BENTOML_HOME": str(self.bentoml_home)}
            env = passed_on(*ENGINE_PREFIXES) | BENTO | homes | marks
            images = self.home / "images"  # lists of what is in each come to lie here
            images.mkdir(exist_ok=True)
            self.machine.start(launch.argv(), kind=KIND, name=name, log=log, env=env, cwd=images)
        except SpecError as error:
            _append(log, [f"noren: {error}"])  # it counts as a life that ended at once
        except OSError as error:
            raise DriverError(f"{name} cannot be started: {error}", fix="mend that and apply again") from error

    def _plan(self, revision: Revision, index: int, port: int) -> Launch:
        image = self.image(revision)
        env_file = self.records.folder / revision.name / f"{index}.env"
        _write_secret(env_file, env_text(BENTO | dict(revision.env)))
        return Launch(
            engine=self.engine.program,
            image=image.name,
            build=image.build,
            lock=str(self.home / "images" / f"{_digest(image.name)}.lock"),
            container=container_name(self.machine.home, revision.name, index),
            run=run_argv(self.engine, revision, index, port=port, image=image.name, env_file=env_file),
            env_file=str(env_file),
        )

    # Looking

    def _look(self) -> tuple[dict[str, Marked], list[Container]]:
        """Who starts a container now, and what runs. The last words of what has ended are kept; it is removed."""
        # In this order: who is no launcher any more is a container already.
        launchers = self.machine.processes(KIND)
        launching = {p.name: p for p in launchers if p.leads}
        found = self.engine.containers()
        for container in found:
            if not container.runs and not container.leaving and container.name not in launching:
                self._bury(container)
        self._ending.keep({c.id for c in found} | {str(p.leader) for p in launchers})
        self._leaving.keep({c.id for c in found})
        return launching, [c for c in found if c.runs]

    def _bury(self, container: Container) -> None:
        words = self.engine.log(container.id, _KEPT_LINES)
        _append(self.records.log(container.name), [*words, *last_word(container, words)])
        self.engine.remove(container.id)

    def _launchers(self, revision: str) -> list[Marked]:
        found = {p.name: p for p in self.machine.processes(KIND) if p.env.get("NOREN_REVISION") == revision}
        return list(found.values())


def run_argv(engine: Engine, revision: Revision, index: int, *, port: int, image: str, env_file: Path) -> list[str]:
    """The command that starts the container: published on loopback only, and allowed next to nothing."""
    labels = {OF: engine.home, REVISION: revision.name, INDEX: str(index), PORT: str(port), MADE: made_of(revision)}
    return [
        *(engine.program, "run", "--detach", "--pull", "never"),
        *("--name", container_name(engine.home, revision.name, index)),
        *(word for label, value in labels.items() for word in ("--label", f"{label}={value}")),
        *("--publish", f"127.0.0.1:{port}:{_LISTENS_ON}"),
        *("--user", _USER, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"),  # noqa: S108  inside of it
        *("--security-opt", "no-new-privileges", "--restart", "no", "--no-healthcheck"),
        *("--log-driver", "json-file", "--log-opt", "max-size=10m"),
        *("--env-file", str(env_file)),
        *limits(revision.resources),
        *command(revision, image),
    ]


def limits(resources: Resources) -> list[str]:
    """Limits of one container. Swap is not a way around the limit of memory."""
    cpu = ["--cpus", f"{resources.cpu:g}"] if resources.cpu is not None else []
    size = f"{resources.memory_bytes}b"
    return cpu + (["--memory", size, "--memory-swap", size] if resources.memory_bytes is not None else [])


def command(revision: Revision, image: str) -> list[str]:
    """The image, and what it runs: it begins noren-serve itself, and has BentoML's server beside it."""
    if revision.server is Server.NOREN:
        return [image, "--workers", str(revision.workers)]
    where = ["--host", "0.0.0.0", "--port", str(_LISTENS_ON)]  # noqa: S104  inside of it
    return ["--entrypoint", "bentoml", image, "serve", _BENTO, *where, "--api-workers", str(revision.workers)]


def container_name(home: str, revision: str, index: int) -> str:
    """The name for a person to see; one engine may hold the containers of several homes."""
    return f"noren-{_digest(home)}-{revision}-{index}"


def last_word(container: Container, words: Sequence[str]) -> list[str]:
    """What has to be said of the end of a container that could not say it itself; mostly nothing."""
    killed = container.exit_code == _KILLED or container.out_of_memory or any(_WORKER_KILLED in word for word in words)
    if words and not killed:
        return []
    said = f"noren: it was killed, or ended without a word (exit code {container.exit_code})"
    limit = f"{container.memory_limit / 2**20:g}Mi of resources.memory"
    return [f"{said}: {limit} may be too little" if container.memory_limit else said]


def env_text(env: Mapping[str, str]) -> str:
    """The file for `--env-file`, which takes values literally. Raises SpecError for what it cannot hold."""
    for name, value in env.items():
        if "\n" in value or "\r" in value:
            raise SpecError(
                f"the value of the variable {name} has a line break, which no container engine takes from a file",
                fix="put the value into a file of the Bento, or encode it, for example with base64",
            )
    return "".join(f"{name}={value}\n" for name, value in env.items())


def _running(container: Container, state: ReplicaState, record: Record | None, sick: str) -> Replica:
    return Replica(
        revision=container.revision,
        index=container.index,
        state=state,
        address=container.address,
        pid=container.pid,
        started_at=container.started_at,
        restarts=record.restarts if record else 0,
        memory_bytes=_memory(container),
        sick=sick,
        made_of=container.made_of,
    )


def _launching(process: Marked, state: ReplicaState, record: Record | None) -> Replica:
    return Replica(
        revision=process.env["NOREN_REVISION"],
        index=int(process.env["NOREN_INDEX"]),
        state=state,
        address=f"127.0.0.1:{process.env['NOREN_PORT']}",
        started_at=process.started_at,
        restarts=record.restarts if record else 0,
    )


def _memory(container: Container) -> int:
    """Of all its processes; 0 where they are not this machine's, as with an engine in a virtual machine."""
    try:
        if container.pid is None or container.id not in Path(f"/proc/{container.pid}/cgroup").read_text():
            return 0
        first = psutil.Process(container.pid)
        return sum(p.memory_info().rss for p in [first, *first.children(recursive=True)])
    except (psutil.Error, OSError):
        return 0


def _append(log: Path, lines: Sequence[str]) -> None:
    """On a full disk they are lost: nobody else's replicas wait for that."""
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as out:
            out.writelines(f"{line}\n" for line in lines)


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
