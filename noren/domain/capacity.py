"""Whether the machine has room for green beside blue, which keeps its size until the bake ends. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.errors import Conflict
from noren.domain.gating import ROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is taken, and what more replicas could have; None: not known, and nothing is refused for it."""

    spare_bytes: int | None = None  # of memory
    spare_ports: int | None = None
    memory_bytes: Mapping[str, int] = field(default_factory=dict)  # resident, of all replicas, by Revision.name


def see_room(wanted: Revision, deployment: Deployment, room: Room) -> None:
    """Raise Conflict, with the numbers, where what is wanted does not fit beside what serves."""
    serving = deployment.serving
    beside = f" beside {serving.name}, which keeps its size until the bake ends" if serving else ""
    copies = f"{wanted.replicas} {'replica' if wanted.replicas == 1 else 'replicas'} of {wanted.bento}"
    needed, spare = _needed_bytes(wanted, serving, room), _spare_bytes(deployment, room)
    if needed is not None and spare is not None and spare < needed:
        raise Conflict(
            f"{copies} would take {needed / 1e6:.0f} MB of memory{beside}, and {spare / 1e6:.0f} MB are to spare",
            fix="free some, declare fewer replicas, or say with `resources.memory` that one of them takes less",
        )
    if room.spare_ports is not None and room.spare_ports < wanted.replicas:
        raise Conflict(
            f"{copies} would take {wanted.replicas} TCP ports{beside}, and {room.spare_ports} are to spare",
            fix="declare fewer replicas, end what holds them (`ss -tan`), or widen net.ipv4.ip_local_port_range",
        )


def smaller(wanted: Revision, serving: Revision | None) -> str:
    """What a person should know before fewer copies than now serve everybody; "" when they are not fewer."""
    if serving is None or wanted.replicas >= serving.replicas:
        return ""
    return (
        f"{serving.name} has {serving.replicas} replicas, and {wanted.replicas} will take their place: "
        "each of them gets more guests than one has now"
    )


def _needed_bytes(wanted: Revision, serving: Revision | None, room: Room) -> int | None:
    """What replicas of it may take: as much as those that serve now, and no more than it is declared to take."""
    measured = room.memory_bytes.get(serving.name, 0) / serving.replicas if serving else 0
    guesses = [ROOM * measured, wanted.resources.memory_bytes or 0]
    known = [bytes_each for bytes_each in guesses if bytes_each]
    return round(wanted.replicas * min(known)) if known else None


def _spare_bytes(deployment: Deployment, room: Room) -> int | None:
    """What is free, or will be before green starts: a rollout that is superseded is undone first."""
    if room.spare_bytes is None:
        return None
    keeps = deployment.serving.name if deployment.serving else ""
    freed = [taken for name, taken in room.memory_bytes.items() if _of(deployment, name) and name != keeps]
    return room.spare_bytes + sum(freed)


def _of(deployment: Deployment, revision: str) -> bool:
    return revision.rpartition("-")[0] == deployment.name
