"""What of old revisions may go: logs, evidence, environments, links; Bentos only when a person asks for it.

`expired` is pure. A sweep is: look -> decide -> remove -> write down.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from noren.control.audit import Asker
from noren.control.ports import Attic, Event, Leftover, LeftoverKind, Memory
from noren.control.world import World
from noren.domain.commands import Deployment, in_use
from noren.domain.deployment import Revision
from noren.domain.errors import NorenError, NotFound

_FIRST, _EVERY = timedelta(minutes=5), timedelta(hours=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much is kept. Both limit it: what is beyond either may go, unless it is in use."""

    revisions: int  # the newest so many of each deployment
    age: timedelta  # since it was used last


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Who needs what, by Revision.name."""

    used: frozenset[str]  # live, on their way, queued, to go back to, or running for whatever reason
    newest: frozenset[str]  # those that the policy keeps by count
    known: frozenset[str]  # every revision that there is a row of


def needs(
    deployments: Sequence[Deployment],
    revisions: Mapping[str, Sequence[Revision]],
    running: Collection[str],
    policy: Policy,
) -> Needs:
    """Who needs what.

    revisions  by deployment, oldest first
    running    Revision.name of whatever has a replica
    """
    return Needs(
        used=frozenset({r.name for d in deployments for r in in_use(d)} | {_original(name) for name in running}),
        newest=frozenset(r.name for made in revisions.values() for r in made[-policy.revisions :]),
        known=frozenset(r.name for made in revisions.values() for r in made),
    )


def expired(leftover: Leftover, needed: Needs, policy: Policy, now: datetime) -> bool:
    """Whether nobody needs it any more. What is shared goes when all that share it are gone."""
    if leftover.users & needed.used:
        return False
    users = leftover.users & needed.known  # of a deployment that was deleted only its age is known
    outranked = bool(users) and not users & needed.newest
    if leftover.kind is LeftoverKind.BENTO:
        return outranked  # its age says when it was built, and not when it was rolled out last
    return outranked or leftover.used_at < now - policy.age


class Sweeper:
    """Removes what has expired: once in a while by itself, and when a person asks for it."""

    def __init__(
        self,
        store: Memory,
        attic: Attic,
        policy: Policy,
        *,
        look: Callable[[], World],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._attic, self._policy, self._look, self._now = store, attic, policy, look, now
        self._one_at_a_time = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Sweep once in a while, until `stop`."""
        pause = _FIRST
        while not self._stopped.wait(pause.total_seconds()):
            pause = _EVERY
            try:
                self.sweep()
            except NorenError as error:
                log.warning("sweep", problem=str(error))
            except Exception:
                log.exception("sweep")  # a fault of ours must not end it: disks fill slowly, but they do

    def stop(self) -> None:
        """End before the next sweep."""
        self._stopped.set()

    def sweep(self, *, bentos: bool = False, dry_run: bool = False, by: Asker | None = None) -> list[Leftover]:
        """Remove what has expired, and return it with its size.

        bentos   those of the BentoML store too, that only old revisions of this home used
        dry_run  remove nothing
        by       who asked for it; None: it was time
        Raises DriverUnavailable while it cannot be told what is in use, DriverError when a deployment cannot be read.
        """
        with self._one_at_a_time:
            due = [one for one in self._expired() if bentos or one.kind is not LeftoverKind.BENTO]
            gone = [one for one in due if dry_run or self._attic.remove(one)]
            if gone and not dry_run:
                self._store.note("", _told(gone, by, self._now()))
            return gone

    def _expired(self) -> list[Leftover]:
        # What is made after this look is too young to go.
        deployments, world = self._store.deployments(), self._look()
        for name in set(self._store.names()) - {d.name for d in deployments}:
            self._store.load(name)  # who cannot be read may need anything, and the reason is told
        revisions = {d.name: self._revisions(d.name) for d in deployments}
        needed = needs(deployments, revisions, {r.revision for r in world.replicas}, self._policy)
        found = self._attic.find([r for made in revisions.values() for r in made])
        due = [one for one in found if expired(one, needed, self._policy, self._now())]
        return [replace(one, size_bytes=self._attic.size_bytes(one)) for one in due]

    def _revisions(self, deployment: str) -> Sequence[Revision]:
        try:
            return self._store.revisions(deployment)
        except NotFound:  # it was deleted meanwhile
            return []


def in_words(leftovers: Sequence[Leftover]) -> str:
    """How many of each kind, and what they take: "3 logs, 1 gate; 12.3 MB"."""
    counts = {kind: sum(one.kind is kind for one in leftovers) for kind in LeftoverKind}
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
    return f"{said or 'nothing'}; {sum(one.size_bytes for one in leftovers) / 1e6:.1f} MB"


def _told(gone: Sequence[Leftover], by: Asker | None, now: datetime) -> Event:
    event = Event(at=now, kind="prune", message=f"removed {in_words(gone)}")
    return replace(event, who=by.who, claimed=by.claimed, reason=by.reason) if by else event


def _original(revision: str) -> str:
    """The revision that a copy is one of."""
    return revision.removesuffix("_twin")
