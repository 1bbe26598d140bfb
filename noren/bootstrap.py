"""The control plane, joined of its parts."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fastapi import FastAPI

from noren import drivers
from noren.api import app as api
from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.loop import Loop
from noren.control.reconcile import Drivers
from noren.control.retention import Policy, Sweeper
from noren.control.use_cases import Commands
from noren.domain.capacity import Room
from noren.domain.errors import Conflict, DriverError, NotFound
from noren.gates.process import ProcessGate
from noren.machine import Machine, spare_ports
from noren.manifests.built import BentoStore
from noren.runtimes.attic import DiskAttic
from noren.settings import Settings
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
    runtime = drivers.runtime(settings, machine)
    door = drivers.front_door(settings, machine)
    hands = Drivers(
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
    loop = LedLoop(store, hands, clock, leadership)
    policy = Policy(revisions=settings.retain_revisions, age=timedelta(days=settings.retain_days))
    attic = DiskAttic(settings.home, settings.bentoml_home)
    sweeper = Sweeper(store, attic, policy, look=loop.look, now=now)
    parts = api.Parts(
        commands=Commands(store, catalog, now=clock, wake=loop.wake, room=lambda: _room(loop)),
        store=store,
        runtime=runtime,
        sweeper=sweeper,
        look=loop.look,
        lately=loop.lately,
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
    return Trial(runtime=drivers.runtime(settings, machine), live=live, examples=examples, machine=machine)


def _allowed_hosts(settings: Settings) -> list[str]:
    loopback = settings.host in ("127.0.0.1", "localhost", "::1")
    return ["127.0.0.1", "localhost", "[::1]"] if loopback else ["*"]
