"""A store without a disk, for tests and for planning."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from noren.control.ports import Event, Lease
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.verdict import Verdict
from noren.stores.errors import stale, superseded, unknown


class MemoryStore:
    """See Store, History and Leases."""

    def __init__(self) -> None:
        self._rows: dict[str, Deployment] = {}
        self._revisions: dict[str, list[Revision]] = {}
        self._verdicts: dict[str, list[Verdict]] = {}
        self._events: dict[str, list[Event]] = {}
        self._last_event = 0
        self._lease = Lease()

    def deployments(self) -> Sequence[Deployment]:
        """See Store."""
        return [self._rows[name] for name in sorted(self._rows)]

    def load(self, name: str) -> Deployment:
        """See Store."""
        if name not in self._rows:
            raise unknown(name)
        return self._rows[name]

    def save(
        self,
        deployment: Deployment,
        *,
        events: Sequence[Event] = (),
        revision: Revision | None = None,
        verdict: Verdict | None = None,
        epoch: int | None = None,
    ) -> Deployment:
        """See Store."""
        name = deployment.name
        self._require_lead(name, epoch)
        stored = self._rows.get(name)
        if deployment.version != (stored.version if stored else 0):
            raise stale(name)
        self._rows[name] = replace(deployment, version=deployment.version + 1)
        self._revisions.setdefault(name, []).extend([revision] if revision else [])
        self._verdicts.setdefault(name, []).extend([verdict] if verdict else [])
        self._tell(name, events)
        return self._rows[name]

    def delete(self, name: str, *, events: Sequence[Event] = (), epoch: int | None = None) -> None:
        """See Store."""
        self._require_lead(name, epoch)
        if name in self._rows:
            self._tell(name, events)
        for table in (self._rows, self._revisions, self._verdicts):
            table.pop(name, None)

    def note(self, name: str, event: Event) -> None:
        """See Store."""
        self._tell(name, [event])

    def names(self) -> Sequence[str]:
        """See History."""
        return sorted(self._rows)

    def revisions(self, name: str) -> Sequence[Revision]:
        """See History."""
        self.load(name)
        return list(self._revisions[name])

    def verdicts(self, name: str) -> Sequence[Verdict]:
        """See History."""
        self.load(name)
        return list(self._verdicts[name])

    def events(self, name: str, *, after: int = 0) -> Sequence[Event]:
        """See History."""
        self.load(name)
        return [event for event in self._events.get(name, []) if event.id > after][:1000]

    def history(self, name: str | None = None, *, since: datetime | None = None, limit: int = 100) -> Sequence[Event]:
        """See History."""
        of_all = [self._events.get(name, [])] if name is not None else list(self._events.values())
        lines = [event for events in of_all for event in events if since is None or event.at >= since]
        return sorted(lines, key=lambda event: event.id)[-limit:]

    def lease(self) -> Lease:
        """See Leases."""
        return self._lease

    def take(self, lease: Lease, *, instead_of: Lease) -> bool:
        """See Leases."""
        if self._lease != instead_of:
            return False
        self._lease = lease
        return True

    def _require_lead(self, name: str, epoch: int | None) -> None:
        if epoch not in (None, self._lease.epoch):
            raise superseded(name)

    def _tell(self, name: str, events: Sequence[Event]) -> None:
        for event in events:
            self._last_event += 1
            line = replace(event, id=self._last_event, deployment=name)
            self._events.setdefault(name, []).append(line)
