"""Which replicas others should take the place of, and why. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from noren.control.ports import Replica, ReplicaState
from noren.control.world import World

_EJECTED = "the front door ejected it again and again"


def to_replace(world: World, deployment: str) -> Iterator[tuple[Replica, str]]:
    """Each replica that is to go now, or to go on leaving, and why.

    Who answers nobody goes at once, also if it is the last one. Who answers, but badly, goes while another one of its
    revision is ready and well, one after the other: a new one may turn out as bad, and must not be all there is.
    """
    for replicas in _by_revision(world.of(deployment)).values():
        bad = {replica.index: reason for replica in replicas if (reason := _why(replica, world))}
        leaving = [r for r in replicas if r.index in bad and r.state is ReplicaState.STOPPING]
        hanging = [r for r in replicas if r.index in bad and r.state is ReplicaState.UNREADY]
        next_one = [r for r in replicas if r.index in bad and r.state is ReplicaState.READY][:1]
        well = any(r.index not in bad and r.state is ReplicaState.READY for r in replicas)
        for replica in (*leaving, *hanging, *(next_one if well and not leaving else ())):
            yield replica, bad[replica.index]


def _why(replica: Replica, world: World) -> str:
    return replica.sick or (_EJECTED if replica.address in world.door.sick else "")


def _by_revision(replicas: Sequence[Replica]) -> Mapping[str, Sequence[Replica]]:
    found: dict[str, list[Replica]] = {}
    for replica in sorted(replicas, key=lambda r: r.index):
        found.setdefault(replica.revision, []).append(replica)
    return found
