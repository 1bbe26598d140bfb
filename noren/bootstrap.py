"""The only place that chooses concrete drivers."""

import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import FastAPI

from noren.api import app as api
from noren.control.loop import Loop
from noren.control.reconcile import Drivers
from noren.control.use_cases import Commands
from noren.domain.errors import DriverError
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.gates.process import ProcessGate
from noren.machine import Machine
from noren.manifests.built import BentoStore
from noren.runtimes.process import ProcessRuntime, forget
from noren.settings import Settings
from noren.stores.sql import SqlStore


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """The whole control plane, not yet running."""

    app: FastAPI
    loop: Loop


def now() -> datetime:
    """The only clock."""
    return datetime.now(UTC)


def control_plane(settings: Settings) -> ControlPlane:
    """Make every part and join them. Raises DriverError when the store cannot be used."""
    machine = Machine(settings.home)
    store = SqlStore(settings.database_url)
    catalog = BentoStore(settings.bentoml_home)
    runtime = ProcessRuntime(settings.home, machine, settings.bentoml_home)
    drivers = Drivers(
        runtime=runtime,
        front_door=front_door(settings, machine),
        gate=ProcessGate(settings.home, machine),
        catalog=catalog,
        front_door_url=settings.front_door_url,
    )
    loop = Loop(store, drivers, now)
    parts = api.Parts(
        commands=Commands(store, catalog, now=now, wake=loop.wake),
        store=store,
        runtime=runtime,
        look=loop.look,
        trouble=loop.trouble,
        home=str(settings.home),
        api_url=settings.api_url,
        front_door_url=settings.front_door_url,
        admin_url=f"http://127.0.0.1:{settings.admin_port}",
        allowed_hosts=_allowed_hosts(settings),
    )
    return ControlPlane(app=api.make(parts), loop=loop)


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

    Works whether or not the control plane runs. Returns how many processes there were. Raises DriverError
    when something outlives SIGKILL.
    """
    machine = Machine(settings.home)
    found = len(machine.processes())
    for kind in ("server", "gate"):
        end(machine, kind, grace_s=grace_s)
    front_door(settings, machine).shutdown()
    for kind in ("envoy", "replica"):
        end(machine, kind, grace_s=grace_s)
    forget(settings.home)
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
