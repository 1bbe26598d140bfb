"""One look at the whole machine, and the part of it that concerns one deployment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from noren.control.ports import RUNNING_STATES, DoorView, FrontDoor, Replica, ReplicaState, Runtime, Table, made_of
from noren.domain.capacity import Room
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.observation import GateState, Lost, Observation, Weights
from noren.domain.verdict import Verdict


@dataclass(frozen=True, kw_only=True)  # no slots: what is computed once has to be kept
class World:
    """What runtime and front door reported at `now`."""

    now: datetime
    replicas: Sequence[Replica]
    door: DoorView
    spare_bytes: int | None = None

    def of(self, deployment: str) -> Sequence[Replica]:
        """The replicas of one deployment."""
        return self._by_deployment.get(deployment, [])

    @cached_property
    def _by_deployment(self) -> Mapping[str, Sequence[Replica]]:
        """Sorted out once: a tick asks for those of every deployment, and more than once."""
        found: dict[str, list[Replica]] = {}
        for replica in self.replicas:
            found.setdefault(replica.revision.rpartition("-")[0], []).append(replica)
        return found

    def observation(
        self, deployment: str, gate: GateState | Lost | Verdict = GateState.ABSENT, *, gate_busy: bool = False
    ) -> Observation:
        """What `decide` may know of one deployment."""
        replicas = self.of(deployment)
        answering = Counter(r.revision for r in replicas if r.state is ReplicaState.READY)
        return Observation(
            now=self.now,
            present=Counter(r.revision for r in replicas),
            running=Counter(r.revision for r in replicas if r.state in RUNNING_STATES),
            # Ready is what the runtime and the front door agree on.
            ready={name: min(count, self.door.healthy.get(name, 0)) for name, count in answering.items()},
            broken={r.revision: r.detail for r in replicas if r.state is ReplicaState.BROKEN},
            weights=self.door.weights.get(deployment, {}),
            in_flight=self.door.in_flight,
            counts=self.door.counts,
            identities=self.identities(deployment),
            memory_bytes=_sums(replicas),
            spare_bytes=self.spare_bytes,
            gate=gate,
            gate_busy=gate_busy,
        )

    def running(self, revision: Revision) -> int:
        """How many replicas of it run."""
        found = self.of(revision.deployment)
        return sum(r.revision == revision.name and r.state in RUNNING_STATES for r in found)

    def room(self, spare_ports: int | None = None) -> Room:
        """What there is room for."""
        return Room(spare_bytes=self.spare_bytes, spare_ports=spare_ports, memory_bytes=_sums(self.replicas))

    def identities(self, deployment: str) -> dict[str, tuple[str, ...]]:
        """The running replicas of each revision, by index: see Replica.identity."""
        found: dict[str, tuple[str, ...]] = {}
        for r in sorted(self.of(deployment), key=lambda r: r.index):
            if r.state in RUNNING_STATES:
                found[r.revision] = (*found.get(r.revision, ()), r.identity)
        return found


def look(runtime: Runtime, front_door: FrontDoor, now: datetime) -> World:
    """Ask both drivers. Raises what they raise."""
    return World(now=now, replicas=runtime.replicas(), door=front_door.look(), spare_bytes=runtime.spare_bytes())


def without_strays(world: World, deployments: Sequence[Deployment]) -> World:
    """The same, but who has the name of a revision and is made of something else counts as one that stops.

    It is of a history that was lost with its database: numbers begin again there, and what runs goes on.
    """
    made = {r.name: made_of(r) for deployment in deployments for r in _of_interest(deployment)}

    def strays(replica: Replica) -> bool:
        runs = replica.made_of and replica.state in RUNNING_STATES
        return bool(runs) and made.get(replica.revision, replica.made_of) != replica.made_of

    stopping = ReplicaState.STOPPING
    return replace(world, replicas=[replace(r, state=stopping) if strays(r) else r for r in world.replicas])


def _sums(replicas: Sequence[Replica]) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for replica in replicas:
        sums[replica.revision] += replica.memory_bytes
    return sums


def table(deployment: Deployment, world: World, weights: Weights) -> Table | None:
    """What the front door should know of the deployment; None when no revision of it is of interest."""
    replicas = world.of(deployment.name)
    there = {replica.revision for replica in replicas}
    revisions = [revision for revision in _of_interest(deployment) if not revision.twin or revision.name in there]
    if not revisions:
        return None
    return Table(
        deployment=deployment.name,
        route=revisions[0].route,
        backends=_backends(revisions, replicas),
        weights={r.name: weights[r.name] for r in revisions if weights.get(r.name)},
        green=deployment.active.green.name if deployment.active else None,
        blue=_blue(deployment),
    )


def _of_interest(deployment: Deployment) -> list[Revision]:
    """Those that may get requests, the one whose route counts first."""
    if active := deployment.active:
        # Guests find the deployment where blue is until green has all traffic, and again when that is taken back.
        switched = active.switched_at and not active.failure
        pair = [active.green, active.blue] if switched else [active.blue, active.green, active.twin]
        return [revision for revision in pair if revision]
    return [deployment.live] if deployment.live else []


def _backends(revisions: Sequence[Revision], replicas: Sequence[Replica]) -> Mapping[str, Sequence[str]]:
    """Every running replica: the front door's own health checks keep requests from those not ready."""
    found: dict[str, list[str]] = {revision.name: [] for revision in revisions}
    for replica in sorted(replicas, key=lambda r: r.index):
        if replica.revision in found and replica.state in RUNNING_STATES:
            found[replica.revision].append(replica.address)
    return found


def _blue(deployment: Deployment) -> str | None:
    blue = deployment.active.blue if deployment.active else deployment.live
    return blue.name if blue else None
