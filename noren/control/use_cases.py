"""What people ask for: load, decide by a pure function, store, wake the loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from noren.control.ports import Catalog, Event, Memory
from noren.domain import commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, digest
from noren.domain.errors import Conflict, SpecError, Stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` did."""

    deployment: Deployment
    revision: Revision
    changed: bool  # False: exactly this is live or on its way already


class Commands:
    """The use cases of a person at the command line or behind the API."""

    def __init__(
        self,
        store: Memory,
        catalog: Catalog,
        *,
        now: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store, self._catalog, self._now, self._wake = store, catalog, now, wake

    def apply(self, wanted: Revision) -> Applied:
        """Make a revision of what is wanted (its number does not count) and begin, or queue, its rollout.

        Raises SpecError when its Bento does not exist or another deployment has its route.
        """
        wanted = replace(wanted, bento=self._catalog.resolve(wanted.bento))
        return self._apply(wanted)

    @retry(retry=retry_if_exception_type(Stale), stop=stop_after_attempt(5), reraise=True)
    def _apply(self, wanted: Revision) -> Applied:
        others = self._store.deployments()
        before = next((d for d in others if d.name == wanted.deployment), Deployment(name=wanted.deployment))
        _refuse_removed(before)
        _refuse_taken_route(wanted, others)
        newest = before.newest
        if newest and digest(newest) == digest(wanted):
            return Applied(deployment=before, revision=newest, changed=False)
        revision = replace(wanted, number=before.revisions + 1)
        now = self._now()
        after = commands.apply(before, revision, now)
        event = Event(at=now, kind="apply", message=f"{revision.name}: {revision.bento}")
        after = self._store.save(after, events=[event], revision=revision)
        self._wake()
        return Applied(deployment=after, revision=revision, changed=True)

    def promote(self, name: str) -> Deployment:
        """See domain.commands.promote."""
        return self._ask(name, "promote", lambda d, _: commands.promote(d))

    def abort(self, name: str) -> Deployment:
        """See domain.commands.abort."""
        return self._ask(name, "abort", commands.abort)

    def pause(self, name: str) -> Deployment:
        """See domain.commands.pause."""
        return self._ask(name, "pause", lambda d, _: commands.pause(d))

    def resume(self, name: str) -> Deployment:
        """See domain.commands.resume."""
        return self._ask(name, "resume", lambda d, _: commands.resume(d))

    def rollback(self, name: str, to: int | None = None) -> Deployment:
        """See domain.commands.rollback."""
        revisions: Mapping[int, Revision] = {r.number: r for r in self._store.revisions(name)}
        return self._ask(name, "rollback", lambda d, now: commands.rollback(d, now, revisions=revisions, to=to))

    def remove(self, name: str) -> Deployment:
        """Take the deployment down, and forget it when nothing of it runs."""
        return self._ask(name, "remove", commands.remove)

    @retry(retry=retry_if_exception_type(Stale), stop=stop_after_attempt(5), reraise=True)
    def _ask(self, name: str, verb: str, change: Callable[[Deployment, datetime], Deployment]) -> Deployment:
        now, before = self._now(), self._store.load(name)
        if verb != "remove":
            _refuse_removed(before)
        after = change(before, now)
        if after != before:
            after = self._store.save(after, events=[Event(at=now, kind=verb, message=f"{verb} {name}")])
            self._wake()
        return after


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
                    fix=f"choose another route.{what} for {wanted.deployment!r}",
                )


def _with_guests(deployment: Deployment) -> Sequence[Revision]:
    """The revisions that have guests or are on their way to them: a rollout may move the route, and be undone."""
    active = deployment.active
    found = (deployment.live, deployment.queued, *((active.blue, active.green) if active else ()))
    return [revision for revision in found if revision]
