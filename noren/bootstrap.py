"""The only place that chooses concrete drivers."""

import hashlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fastapi import FastAPI

from noren.api import app as api
from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.loop import Loop
from noren.control.ports import Runtime
from noren.control.reconcile import Drivers
from noren.control.retention import Policy, Sweeper
from noren.control.use_cases import Commands
from noren.domain.capacity import Room
from noren.domain.deployment import Revision
from noren.domain.errors import Conflict, DriverError, NotFound, SpecError
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.gates.process import ProcessGate
from noren.machine import Machine, spare_ports
from noren.manifests.built import BentoStore
from noren.runtimes import container, process
from noren.runtimes import engine as engines
from noren.runtimes.attic import DiskAttic
from noren.runtimes.container import ContainerRuntime, Image
from noren.runtimes.engine import Engine
from noren.runtimes.process import ProcessRuntime
from noren.runtimes.record import forget_all
from noren.settings import Settings, remembered_runtime
from noren.stores.sql import SqlStore

if TYPE_CHECKING:
    from noren.gates.launches import Trial


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The whole control plane, not yet running."""

    app: FastAPI
    loop: Loop
    sweeper: Sweeper


def now() -> datetime:
    """The machine's clock. Nobody measures by it but through a SteadyClock: it may be set."""
    return datetime.now(UTC)


def control_plane(settings: Settings) -> ControlPlane:
    """Make every part and join them. Raises DriverError when the store, or the container engine, cannot be used."""
    machine = Machine(settings.home)
    store = SqlStore(settings.database_url)
    catalog = BentoStore(settings.bentoml_home)
    runtime = _runtime(settings, machine)
    door = front_door(settings, machine)
    drivers = Drivers(
        runtime=runtime,
        front_door=door,
        gate=ProcessGate(settings.home, machine),
        catalog=catalog,
        front_door_url=settings.front_door_url,
    )
    clock = SteadyClock(now, time.monotonic)
    leadership = Leadership(
        store,
        holder=settings.holder,
        seconds=settings.lease_s,
        now=clock,
        clock=time.monotonic,
        heard=door.epoch,
    )
    loop = LedLoop(store, drivers, clock, leadership)
    policy = Policy(revisions=settings.retain_revisions, age=timedelta(days=settings.retain_days))
    attic = DiskAttic(settings.home, settings.bentoml_home)
    sweeper = Sweeper(store, attic, policy, look=loop.look, now=now)
    parts = api.Parts(
        commands=Commands(store, catalog, now=clock, wake=loop.wake, room=lambda: _room(loop)),
        store=store,
        runtime=runtime,
        sweeper=sweeper,
        look=loop.look,
        trouble=loop.trouble,
        home=str(settings.home),
        api_url=settings.api_url,
        front_door_url=settings.front_door_url,
        admin_url=f"http://127.0.0.1:{settings.admin_port}",
        allowed_hosts=_allowed_hosts(settings),
        leads=lambda: leadership.epoch is not None,
        leader=lambda: leadership.leader,
    )
    return ControlPlane(app=api.make(parts), loop=loop, sweeper=sweeper)


def _room(loop: Loop) -> Room:
    """What there is room for. Nothing is refused for what cannot be looked at now."""
    try:
        return loop.look().room(spare_ports())
    except DriverError:
        return Room(spare_ports=spare_ports())


def trial(settings: Settings, deployment: str, number: int) -> "Trial":
    """What copies of a revision are made of, run by, and sent.

    Raises NotFound when there is no such revision, Conflict while a gate measures on this machine.
    """
    from noren.gates.launches import Trial  # half a second of imports that the control plane does not need

    machine = Machine(settings.home)
    if runs := machine.processes("gate"):
        raise Conflict(
            f"the gate measures on this machine now ({runs[0].name}), and one would disturb the other",
            fix="wait for its verdict: `noren status`",
        )
    made = SqlStore(settings.database_url).revisions(deployment)
    live = next((revision for revision in made if revision.number == number), None)
    if live is None:
        raise NotFound(f"{deployment} has no revision {number}", fix=f"see `noren revisions {deployment}`")
    examples = BentoStore(settings.bentoml_home).examples(live.bento)
    return Trial(runtime=_runtime(settings, machine), live=live, examples=examples, machine=machine)


def _runtime(settings: Settings, machine: Machine) -> Runtime:
    """The runtime of these settings. Raises Conflict while replicas of the other one still run: it cannot end them."""
    if settings.runtime == "container":
        if machine.processes(process.KIND):
            raise _unmixed(settings, "processes")
        return container_runtime(settings, machine, engines.answering(settings.container_engine)[0])
    if machine.processes(container.KIND) or _containers(settings, machine):
        raise _unmixed(settings, "containers")
    return ProcessRuntime(settings.home, machine, settings.bentoml_home)


def _unmixed(settings: Settings, what: str) -> Conflict:
    return Conflict(
        f"replicas of {settings.home} run as {what} now, and `runtime` is {settings.runtime}",
        fix="`noren down` first, then `noren up`",
    )


def container_runtime(settings: Settings, machine: Machine, engine: str) -> ContainerRuntime:
    """Containers of that engine."""
    return ContainerRuntime(
        settings.home, machine, engine, settings.bentoml_home, lambda revision: image(settings, engine, revision)
    )


def image(settings: Settings, engine: str, revision: Revision) -> Image:
    """What the revision's containers are made of. Raises SpecError when its Bento is gone.

    A version may be built again with other contents: the name tells them apart. Once made, the image stays what it
    is, so that a replica which is started again needs neither a build nor a package index.
    """
    name, _, version = revision.bento.partition(":")
    manifest = settings.bentoml_home / "bentos" / name / version / "bento.yaml"
    try:
        contents = manifest.read_bytes()
    except OSError as error:
        raise SpecError(f"{revision.bento} is not in the BentoML store any more", fix="build it again") from error
    tag = f"localhost/noren/{name}:{version}-{hashlib.sha256(contents).hexdigest()[:8]}"
    argv = [sys.executable, "-m", "noren", "build", revision.bento, "--image", "--engine", engine, "--tag", tag]
    return Image(name=tag, build=[*argv, *(["--base", settings.image_base] if settings.image_base else [])])


def _containers(settings: Settings, machine: Machine) -> list[Engine]:
    """The engines that have containers of this home. Who never asked for containers needs no engine."""
    if remembered_runtime(settings.home) != "container":
        return []
    found = [Engine(program, machine.home) for program in engines.answering(settings.container_engine)]
    return [engine for engine in found if engine.containers()]


def front_door(settings: Settings, machine: Machine) -> EnvoyFrontDoor:
    """The front door of these settings."""
    return EnvoyFrontDoor(
        settings.home,
        machine,
        host=settings.front_door_host,
        port=settings.front_door_port,
        admin_port=settings.admin_port,
    )


def stop_everything(settings: Settings, *, grace_s: float = 20.0) -> int:
    """End all that runs for this home, guests last: control plane, gates, front door (drained), replicas.

    Works whether or not the control plane runs. Returns how many processes and containers there were. Raises
    DriverError when something outlives SIGKILL.
    """
    machine = Machine(settings.home)
    found = len(machine.processes())
    for kind in ("server", "gate"):
        end(machine, kind, grace_s=grace_s)
    front_door(settings, machine).shutdown(grace=timedelta(seconds=grace_s))
    for kind in ("envoy", process.KIND, container.KIND):
        end(machine, kind, grace_s=grace_s)
    for engine in _containers(settings, machine):
        found += container_runtime(settings, machine, engine.program).shut_down(timedelta(seconds=grace_s))
    forget_all(settings.home)
    if left := [p for p in machine.processes() if p.pid != os.getpid()]:
        pids = ", ".join(str(p.pid) for p in left)
        raise DriverError(f"these processes do not end: {pids}", fix="look at them with `ps`, and kill them")
    return found


def end(machine: Machine, kind: str, *, grace_s: float = 20.0) -> None:
    """SIGTERM, and SIGKILL for what is left after `grace_s`."""
    for signum, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + patience_s
        for name in {p.name for p in machine.processes(kind)}:
            machine.signal(kind, name, signum, all_of_it=signum is signal.SIGKILL)
        while machine.processes(kind) and time.monotonic() < deadline:
            time.sleep(0.05)


def _allowed_hosts(settings: Settings) -> list[str]:
    loopback = settings.host in ("127.0.0.1", "localhost", "::1")
    return ["127.0.0.1", "localhost", "[::1]"] if loopback else ["*"]
