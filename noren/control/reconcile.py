"""One tick of one deployment: look -> decide -> store -> act."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from noren.control.audit import audited
from noren.control.ports import Catalog, Event, FrontDoor, Gate, GateRun, Runtime, Store
from noren.control.replacement import to_replace
from noren.control.world import World, table
from noren.domain.actions import Action, Fail, Finish, Hold, Judge, RunGate, Shift, Start, Stop, StopGate, Wait
from noren.domain.commands import Deployment, begin_queued, ended, upheld
from noren.domain.decide import decide, uphold
from noren.domain.errors import DriverError, Stale
from noren.domain.observation import GateState, Lost, Observation
from noren.domain.rollout import Rollout, record
from noren.domain.verdict import Verdict

_GRACE = timedelta(seconds=20)  # between SIGTERM and SIGKILL; nobody waits for an answer any more


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """The hands of the control plane."""

    runtime: Runtime
    front_door: FrontDoor
    gate: Gate
    catalog: Catalog
    front_door_url: str  # "http://127.0.0.1:7480"


def reconcile(deployment: Deployment, world: World, store: Store, drivers: Drivers) -> Action:
    """Take the one next step of a deployment.

    Raises what the drivers raise, and Stale when a command was faster: the next tick sees both.
    """
    try:
        action, after = _step(deployment, world, store, drivers)
    except DriverError:
        # What serves is kept up, whether or not the store can be written, or a gate or green be started.
        with suppress(DriverError):
            _keep_up(deployment, world, drivers)
        raise
    _keep_up(after, world, drivers)
    if deployment.removed and isinstance(action, Finish):
        _forget(deployment, world, store, drivers)
    if isinstance(action, Fail):  # the guests of a green that failed do not wait for the next look
        return reconcile(after, world, store, drivers)
    return action


def _step(deployment: Deployment, world: World, store: Store, drivers: Drivers) -> tuple[Action, Deployment]:
    """Look, decide, store, act: the action, and the deployment after it."""
    gate = _gate(deployment, drivers.gate)
    # Asked only before the first guest: afterwards no gate is begun, and each question is a look at all processes.
    waits = deployment.active is not None and deployment.active.step < 0
    busy = waits and (gate is GateState.RUNNING or drivers.gate.busy())
    seen = world.observation(deployment.name, gate, gate_busy=busy)
    action = choose(deployment, seen)
    after = follow(deployment, action, seen)
    # Stored first: a crash right after repeats the action, and actions may be repeated.
    if after != deployment:
        verdict = action.verdict if isinstance(action, Judge) else None
        after = store.save(after, events=_events(deployment, after, action, seen), verdict=verdict)
    elif not isinstance(action, Wait) and store.load(deployment.name).version != deployment.version:
        # Nothing of this step was to be stored, so nothing else tells that someone was faster.
        raise Stale(f"{deployment.name} was changed by someone else in the meantime", fix="look again")
    perform(after, action, world, drivers)
    if after == deployment and isinstance(action, Shift):
        store.note(deployment.name, _moved(action, seen))
    return action, after


def _keep_up(deployment: Deployment, world: World, drivers: Drivers) -> None:
    """What serves, or is to serve again at once, runs at full strength, and without replicas that are ill."""
    for revision in upheld(deployment):
        if world.running(revision) < revision.replicas:
            drivers.runtime.start(revision)
    for replica, reason in to_replace(world, deployment.name):
        drivers.runtime.replace(replica, reason)


def _forget(deployment: Deployment, world: World, store: Store, drivers: Drivers) -> None:
    """End what may be left of a deployment that was removed, and its row."""
    for name in _remembered(deployment):  # the look may have missed one, and nobody looks again
        drivers.runtime.stop(name, grace=_GRACE)
    if deployment.rollout:
        drivers.gate.stop(gate_name(deployment.rollout))
    drivers.front_door.withdraw(deployment.name)
    gone = Event(at=world.now, kind="state", message=f"{deployment.name}: nothing of it is left")
    store.delete(deployment.name, events=audited([gone], deployment, None))


def choose(deployment: Deployment, seen: Observation) -> Action:
    """The one next step, with or without a rollout under way. Pure."""
    if active := deployment.active:
        action = decide(active, seen)
        return (_told_again(active, seen) or action) if isinstance(action, Wait | Start) else action
    action = uphold(deployment.live, seen)
    if deployment.removed and isinstance(action, Wait):
        return action if any(seen.present.values()) else Finish(succeeded=True)
    return action


def _told_again(rollout: Rollout, seen: Observation) -> Shift | None:
    """Traffic for blue, where the front door forgot it before green's first step. After that, `decide` sees to it."""
    blue = rollout.blue
    if blue is None or rollout.failure or rollout.step >= 0 or blue.name in seen.weights or not seen.answers(blue):
        return None
    return Shift({blue.name: 100}, rollout.step)


def follow(deployment: Deployment, action: Action, seen: Observation) -> Deployment:
    """The deployment as it must be stored before `action` is carried out. Pure."""
    if deployment.active is None:
        return begin_queued(deployment, seen.now)
    deployment = replace(deployment, rollout=record(deployment.active, action, seen))
    if isinstance(action, Judge):
        return replace(deployment, last_verdict=action.verdict)
    if isinstance(action, Finish):
        return begin_queued(ended(deployment, succeeded=action.succeeded), seen.now)
    return deployment


def perform(deployment: Deployment, action: Action, world: World, drivers: Drivers) -> None:
    """Carry the action out, and keep the front door's list of replicas true."""
    weights = action.weights if isinstance(action, Shift) else world.door.weights.get(deployment.name, {})
    if wanted := table(deployment, world, weights):
        drivers.front_door.publish(wanted)
    else:  # or its route could not be given to another one
        drivers.front_door.withdraw(deployment.name)
    match action:
        case Start(revision):
            drivers.runtime.start(revision)
        case Stop(revision=name):
            drivers.runtime.stop(name, grace=_GRACE)
        case RunGate() if deployment.active:
            drivers.gate.start(gate_run(deployment.active, action, world, drivers))
        case StopGate() | Judge() if deployment.active:  # a verdict that is ours, not the gate's, finds it running
            drivers.gate.stop(gate_name(deployment.active))
        case _:
            pass


def _remembered(deployment: Deployment) -> list[str]:
    """What may still run of a deployment that is removed: its last rollout's revisions, and the one before."""
    rollout = deployment.rollout
    rolled = (rollout.green, rollout.blue, rollout.twin) if rollout else ()
    return sorted({revision.name for revision in (deployment.previous, *rolled) if revision})


def gate_name(rollout: Rollout) -> str:
    """The name of the rollout's current attempt at the gate; the same after every restart."""
    return f"{rollout.green.name}-{rollout.started_at:%Y%m%dT%H%M%S}-{rollout.attempt}"


def gate_run(rollout: Rollout, asked: RunGate, world: World, drivers: Drivers) -> GateRun:
    """The current attempt. Both arms are reached where guests come in, by the header that names them."""
    green, blue = asked.green, asked.blue
    url = drivers.front_door_url + (rollout.blue or green).route.prefix  # green is reached where guests find blue
    arms = {"green": green} | ({"blue": blue} if blue else {})
    return GateRun(
        name=gate_name(rollout),
        green=green,
        blue=blue,
        attempt=rollout.attempt,
        green_url=url,
        blue_url=url if blue else None,
        headers={arm: {"x-noren-revision": revision.name} for arm, revision in arms.items()},
        examples=drivers.catalog.examples(green.bento),
        metrics={arm: drivers.catalog.metrics(revision.bento) for arm, revision in arms.items()}
        if green.gates.quality
        else {},
        replicas=world.identities(green.deployment).get(green.name, ()),
        degraded=asked.degraded,
        emergency=rollout.emergency is not None,
    )


def _gate(deployment: Deployment, gate: Gate) -> GateState | Lost | Verdict:
    active = deployment.active
    if active is None or not active.attempt:
        return GateState.ABSENT
    return gate.look(gate_name(active))


def _events(before: Deployment, after: Deployment, action: Action, seen: Observation) -> list[Event]:
    """What a person wants to read of this step: the action, and the state it led to."""
    told = (
        [Event(at=seen.now, kind=type(action).__name__.lower(), message=message)]
        if (message := describe(action))
        else []
    )
    old, new = before.active, after.rollout
    if old and new and old.green != new.green:  # the queued one began in the step that ended this one
        told.append(Event(at=seen.now, kind="state", message=f"{old.green.name}: {_end_of(old)}"))
    if new and (old is None or old.phase != new.phase or old.green != new.green):
        told.append(Event(at=seen.now, kind="state", message=f"{new.green.name}: {new.phase}"))
    return audited(told, before, after)


def _moved(action: Shift, seen: Observation) -> Event:
    """The line of a shift with which nothing new was decided: what is stored was not in force."""
    told = Event(at=seen.now, kind="shift", message=describe(action))
    return replace(told, before={"weights": dict(seen.weights)}, after={"weights": dict(action.weights)})


def _end_of(rollout: Rollout) -> str:
    return "undone" if rollout.failure else "done"


def describe(action: Action) -> str:
    """The action in a sentence; "" for those that are not worth a line of history."""
    match action:
        case RunGate(green, blue, attempt, degraded):
            against = f" against {blue.name}" if blue else ""
            guests = f", which serves guests meanwhile: {degraded}" if degraded else ""
            return f"gate of {green.name}{against}, attempt {attempt}{guests}"
        case Judge(verdict):
            return f"{verdict.outcome}: {verdict.reason}"
        case Shift(weights):
            return "traffic: " + (", ".join(f"{name} {share} %" for name, share in weights.items()) or "none")
        case Stop(revision=name):
            return f"stopping {name}"
        case Hold(reason) | Fail(reason) | StopGate(reason):
            return reason
        case _:
            return ""
