"""A store without a disk, for tests and for planning."""

from collections.abc import Sequence
from dataclasses import replace

from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.verdict import Verdict
from noren.stores.errors import stale, unknown


class MemoryStore:
    """See Store and History."""

    def __init__(self) -> None:
        self._rows: dict[str, Deployment] = {}
        self._revisions: dict[str, list[Revision]] = {}
        self._verdicts: dict[str, list[Verdict]] = {}
        self._events: dict[str, list[Event]] = {}
        self._last_event = 0

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
    ) -> Deployment:
        """See Store."""
        name = deployment.name
        stored = self._rows.get(name)
        if deployment.version != (stored.version if stored else 0):
            raise stale(name)
        self._rows[name] = replace(deployment, version=deployment.version + 1)
        self._revisions.setdefault(name, []).extend([revision] if revision else [])
        self._verdicts.setdefault(name, []).extend([verdict] if verdict else [])
        for event in events:
            self._last_event += 1
            self._events.setdefault(name, []).append(replace(event, id=self._last_event))
        return self._rows[name]

    def delete(self, name: str) -> None:
        """See Store."""
        for table in (self._rows, self._revisions, self._verdicts, self._events):
            table.pop(name, None)

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
