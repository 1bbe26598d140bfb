"""What people ask for: load, decide by a pure function, store, wake the loop. Each wish is a line of history."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from noren.control.audit import ANYBODY, Asker, audited
from noren.control.ports import Catalog, Event, Memory
from noren.domain import commands
from noren.domain.capacity import Room, see_room, smaller
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, digest
from noren.domain.errors import Conflict, NotFound, SpecError, Stale
from noren.domain.foresight import too_few_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` did."""

    deployment: Deployment
    revision: Revision
    changed: bool  # False: exactly this is live or on its way already
    called_off: str | None = None  # the revision that makes room for what is live already, and is wanted again
    notes: tuple[str, ...] = ()  # what a person should know


class Commands:
    """The use cases of a person at the command line or behind the API.

    room  what the machine has left; by default nothing is known of it
    """

    def __init__(
        self,
        store: Memory,
        catalog: Catalog,
        *,
        now: Callable[[], datetime],
        wake: Callable[[], None],
        room: Callable[[], Room] = Room,
    ) -> None:
        self._store, self._catalog, self._now, self._wake, self._room = store, catalog, now, wake, room

    def apply(self, wanted: Revision, by: Asker = ANYBODY, *, emergency: bool = False) -> Applied:
        """Make a revision of what is wanted (its number does not count) and begin, or queue, its rollout.

        emergency  see domain.commands.promote; it needs a reason
        Raises SpecError when its Bento does not exist or another deployment has its route, Conflict when there is no
        room for it.
        """
        with self._refusals(wanted.deployment, "apply", by):
            _refuse_silent_emergency(by, emergency=emergency)
            return self._apply(replace(wanted, bento=self._catalog.resolve(wanted.bento)), by, emergency)

    @retry(retry=retry_if_exception_type(Stale), stop=stop_after_attempt(5), reraise=True)
    def _apply(self, wanted: Revision, by: Asker, emergency: bool) -> Applied:
        others = self._store.deployments()
        before = next((d for d in others if d.name == wanted.deployment), Deployment(name=wanted.deployment))
        _refuse_removed(before)
        _refuse_taken_route(wanted, others)
        newest = before.newest
        if newest and digest(newest) == digest(wanted):
            self._say(before.name, "unchanged", f"apply: {newest.name} is that already", by)
            return Applied(deployment=before, revision=newest, changed=False)
        if before.live and commands.may_stay(before, wanted):
            return self._stay(before, before.live, by)
        return self._roll_out(before, replace(wanted, number=before.revisions + 1), by, emergency)

    def _stay(self, before: Deployment, live: Revision, by: Asker) -> Applied:
        """What is wanted is live: a rollout away from it is called off, and nothing is judged again."""
        leaving = before.queued or (before.active.green if before.active else None)
        name = leaving.name if leaving else None
        after = commands.stay(before, self._now())
        after = self._keep(before, after, "apply", f"{live.name} stays; {name} is called off", by)
        return Applied(deployment=after, revision=live, changed=True, called_off=name)

    def _roll_out(self, before: Deployment, revision: Revision, by: Asker, emergency: bool) -> Applied:
        if not emergency:  # where blue is broken, what it takes says little
            see_room(revision, before, self._room())
        compared = None if emergency else before.serving
        notes = tuple(filter(None, (smaller(revision, before.serving), too_few_requests(revision, compared))))
        after = commands.apply(before, revision, self._now(), emergency=emergency)
        message = (
            f"{revision.name}: {revision.bento}{_in_emergency(emergency)}{''.join(f' ({note})' for note in notes)}"
        )
        after = self._keep(before, after, "apply", message, by, revision)
        return Applied(deployment=after, revision=revision, changed=True, notes=notes)

    def promote(self, name: str, by: Asker = ANYBODY, *, emergency: bool = False) -> Deployment:
        """See domain.commands.promote. An emergency needs a reason: SpecError without one."""

        def pass_it(deployment: Deployment, _: datetime) -> Deployment:
            _refuse_silent_emergency(by, emergency=emergency)
            return commands.promote(deployment, emergency=emergency)

        return self._ask(name, "promote", pass_it, by, said=_in_emergency(emergency))

    def abort(self, name: str, by: Asker = ANYBODY) -> Deployment:
        """See domain.commands.abort."""
        reason = _because("aborted by a person", by)
        return self._ask(name, "abort", lambda d, now: commands.abort(d, now, reason=reason), by)

    def pause(self, name: str, by: Asker = ANYBODY) -> Deployment:
        """See domain.commands.pause."""
        return self._ask(name, "pause", lambda d, _: commands.pause(d), by)

    def resume(self, name: str, by: Asker = ANYBODY) -> Deployment:
        """See domain.commands.resume."""
        return self._ask(name, "resume", lambda d, _: commands.resume(d), by)

    def rollback(self, name: str, to: int | None = None, by: Asker = ANYBODY) -> Deployment:
        """See domain.commands.rollback. Raises SpecError when the Bento to go back to is gone, or the route taken."""
        revisions: Mapping[int, Revision] = {r.number: r for r in self._store.revisions(name)}
        reason = _because("rolled back by a person", by)

        def back(deployment: Deployment, now: datetime) -> Deployment:
            after = commands.rollback(deployment, now, revisions=revisions, to=to, reason=reason)
            if after.active and after.active.trusted:  # it is started from its Bento, where guests found it then
                self._catalog.resolve(after.active.green.bento)
                _refuse_taken_route(after.active.green, self._store.deployments())
            return after

        return self._ask(name, "rollback", back, by, said=f" to revision {to}" if to else "")

    def remove(self, name: str, by: Asker = ANYBODY) -> Deployment:
        """Take the deployment down, and forget it, but for its history, when nothing of it runs."""
        reason = _because("removed by a person", by)
        return self._ask(name, "remove", lambda d, now: commands.remove(d, now, reason=reason), by)

    def _ask(
        self,
        name: str,
        verb: str,
        change: Callable[[Deployment, datetime], Deployment],
        by: Asker,
        said: str = "",
    ) -> Deployment:
        with self._refusals(name, verb, by):
            return self._change(name, verb, change, by, f"{verb} {name}{said}")

    @retry(retry=retry_if_exception_type(Stale), stop=stop_after_attempt(5), reraise=True)
    def _change(
        self, name: str, verb: str, change: Callable[[Deployment, datetime], Deployment], by: Asker, message: str
    ) -> Deployment:
        before = self._store.load(name)
        if verb != "remove":
            _refuse_removed(before)
        after = change(before, self._now())
        if after == before:
            self._say(name, "unchanged", f"{message}: it was so already", by)
            return before
        return self._keep(before, after, verb, message, by)

    # History

    def _keep(
        self,
        before: Deployment,
        after: Deployment,
        kind: str,
        message: str,
        by: Asker,
        revision: Revision | None = None,
    ) -> Deployment:
        """Store what was decided, and who asked for it, in one write."""
        existed = before if before.version else None
        events = audited([self._event(kind, message, by)], existed, after)
        after = self._store.save(after, events=events, revision=revision)
        self._wake()
        return after

    @contextmanager
    def _refusals(self, name: str, verb: str, by: Asker) -> Iterator[None]:
        """Write down what was asked for in vain: that, too, is part of what happened."""
        try:
            yield
        except (Conflict, SpecError, NotFound) as refused:
            if not isinstance(refused, Stale) and any(known.name == name for known in self._store.deployments()):
                self._say(name, "refused", f"{verb}: {refused.problem}", by)
            raise

    def _say(self, name: str, kind: str, message: str, by: Asker) -> None:
        self._store.note(name, self._event(kind, message, by))

    def _event(self, kind: str, message: str, by: Asker) -> Event:
        return Event(at=self._now(), kind=kind, message=message, who=by.who, claimed=by.claimed, reason=by.reason)


def _because(what: str, by: Asker) -> str:
    return f"{what}: {by.reason}" if by.reason else what


def _in_emergency(emergency: bool) -> str:
    return ", in an emergency: nothing is compared with blue" if emergency else ""


def _refuse_silent_emergency(by: Asker, *, emergency: bool) -> None:
    if emergency and not by.reason:
        raise SpecError(
            "an emergency needs a reason: green is not compared with blue in it",
            fix='say it, for example --reason "blue answers 500 since 14:02"',
        )


def _refuse_removed(deployment: Deployment) -> None:
    if deployment.removed:
        raise Conflict(f"{deployment.name} is being removed", fix="wait until `noren status` lists it no more")


def _refuse_taken_route(wanted: Revision, others: Sequence[Deployment]) -> None:
    for other in others:
        if other.name == wanted.deployment:
            continue
        for what in ("prefix", "host"):
            if getattr(wanted.route, what) in {getattr(revision.route, what) for revision in _with_guests(other)}:
                raise SpecError(
                    f"route.{what} {getattr(wanted.route, what)!r} belongs to the deployment {other.name!r}",
                    fix=f"choose another route.{what} for {wanted.deployment!r}, or for {other.name!r}",
                )


def _with_guests(deployment: Deployment) -> Sequence[Revision]:
    """The revisions that have guests or are on their way to them: a rollout may move the route, and be undone."""
    active = deployment.active
    found = (deployment.live, deployment.queued, *((active.blue, active.green) if active else ()))
    return [revision for revision in found if revision]
