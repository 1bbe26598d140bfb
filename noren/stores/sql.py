"""A store in any database that SQLAlchemy speaks to; SQLite in WAL mode by default."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine, Text, cast, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from noren.control.ports import Event, Lease
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.errors import DriverError
from noren.domain.verdict import Verdict
from noren.stores import database
from noren.stores.errors import stale, superseded, unknown, unreadable
from noren.stores.tables import DeploymentRow, EventRow, LeaseRow, RevisionRow, VerdictRow

Stored = TypeVar("Stored", Deployment, Revision, Verdict)

_deployment = TypeAdapter(Deployment)
_revision = TypeAdapter(Revision)
_verdict = TypeAdapter(Verdict)

log = structlog.get_logger()


class SqlStore:
    """See Store, History and Leases. Brings the tables up to date when it is made.

    Raises SpecError when the URL is wrong, DriverError when the database cannot be opened or written, is damaged, or
    is of a newer Noren. Every method raises DriverUnavailable while it cannot be reached, is locked, or its disk is
    full, and DriverError when its file turns out to be damaged.
    """

    def __init__(self, url: str) -> None:
        self.engine = database.reach(url)
        try:
            database.bring_up_to_date(self.engine)
        except BaseException:
            self.engine.dispose()  # of a file that is not ours to change nothing is kept open
            raise
        self._beats = database.reach_for_beats(self.engine)
        # By name: version and document as written, and as read; None: it cannot be.
        self._read: dict[str, tuple[int, str, Deployment | None]] = {}

    def deployments(self) -> Sequence[Deployment]:
        """See Store."""
        document = cast(DeploymentRow.document, Text)
        query = select(DeploymentRow.name, DeploymentRow.version, document).order_by(DeploymentRow.name)
        with self._session() as session:
            # Every tick asks, and hardly ever did one of them change: what is written the same is not read again.
            known, found = self._read, {}
            for name, version, text in session.execute(query):
                read = known.get(name)
                same = read is not None and read[:2] == (version, text)
                found[name] = read if read and same else (version, text, _if_readable(name, version, text))
        self._read = found
        return [deployment for _, _, deployment in found.values() if deployment]

    def load(self, name: str) -> Deployment:
        """See Store."""
        query = select(DeploymentRow.version, cast(DeploymentRow.document, Text)).where(DeploymentRow.name == name)
        with self._session() as session:
            row = session.execute(query).one_or_none()
        if row is None:
            raise unknown(name)
        return _parse(name, *row)

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
        name, saved = deployment.name, replace(deployment, version=deployment.version + 1)
        with self._session() as session:
            self._write_row(session, saved)
            _require_lead(session, name, epoch)
            if revision:
                session.add(RevisionRow(deployment=name, number=revision.number, document=_dump(_revision, revision)))
            if verdict:
                session.add(VerdictRow(deployment=name, document=_dump(_verdict, verdict)))
            session.add_all(_event_row(name, e) for e in events)
        return saved

    def delete(self, name: str, *, events: Sequence[Event] = (), epoch: int | None = None) -> None:
        """See Store."""
        with self._session() as session:
            if session.execute(delete(DeploymentRow).where(DeploymentRow.name == name)).rowcount:  # type: ignore[attr-defined]
                session.add_all(_event_row(name, e) for e in events)
            for table in (RevisionRow, VerdictRow):
                session.execute(delete(table).where(table.deployment == name))
            _require_lead(session, name, epoch)

    def note(self, name: str, event: Event) -> None:
        """See Store."""
        with self._session() as session:
            session.add(_event_row(name, event))

    def names(self) -> Sequence[str]:
        """See History."""
        with self._session() as session:
            return list(session.scalars(select(DeploymentRow.name).order_by(DeploymentRow.name)))

    def revisions(self, name: str) -> Sequence[Revision]:
        """See History."""
        query = select(RevisionRow.document).where(RevisionRow.deployment == name).order_by(RevisionRow.number)
        return [_validated(name, _revision, document) for document in self._past(name, query)]

    def verdicts(self, name: str) -> Sequence[Verdict]:
        """See History."""
        query = select(VerdictRow.document).where(VerdictRow.deployment == name).order_by(VerdictRow.id)
        return [_validated(name, _verdict, document) for document in self._past(name, query)]

    def events(self, name: str, *, after: int = 0) -> Sequence[Event]:
        """See History."""
        query = select(EventRow).where(EventRow.deployment == name, EventRow.id > after)
        rows = self._past(name, query.order_by(EventRow.id).limit(1000))
        return [_event(row) for row in rows]

    def history(self, name: str | None = None, *, since: datetime | None = None, limit: int = 100) -> Sequence[Event]:
        """See History."""
        query = select(EventRow).order_by(EventRow.id.desc()).limit(limit)
        if name is not None:
            query = query.where(EventRow.deployment == name)
        if since is not None:
            query = query.where(EventRow.at >= since.astimezone(UTC))
        with self._session() as session:
            return [_event(row) for row in session.scalars(query)][::-1]

    def lease(self) -> Lease:
        """See Leases."""
        with self._session() as session:
            row = session.scalars(select(LeaseRow)).one()
            return Lease(holder=row.holder, epoch=row.epoch, beat=row.beat, seconds=row.seconds, at=_utc(row.at))

    def take(self, lease: Lease, *, instead_of: Lease) -> bool:
        """See Leases."""
        guarded = update(LeaseRow).where(LeaseRow.epoch == instead_of.epoch, LeaseRow.beat == instead_of.beat)
        written = guarded.values(
            holder=lease.holder, epoch=lease.epoch, beat=lease.beat, seconds=lease.seconds, at=lease.at.astimezone(UTC)
        )
        with self._session(self._beats) as session:
            return bool(session.execute(written).rowcount)  # type: ignore[attr-defined]

    @contextmanager
    def _session(self, engine: Engine | None = None) -> Iterator[Session]:
        """One transaction: all of it or nothing."""
        chosen = engine or self.engine
        with database.explained(chosen), Session(chosen, expire_on_commit=False) as session, session.begin():
            yield session

    def _past(self, name: str, query: Any) -> list[Any]:
        self.load(name)
        with self._session() as session:
            return list(session.scalars(query))

    def _write_row(self, session: Session, saved: Deployment) -> None:
        document = _dump(_deployment, saved)
        if saved.version == 1:
            try:
                session.execute(insert(DeploymentRow).values(name=saved.name, version=1, document=document))
            except IntegrityError as error:
                raise stale(saved.name) from error
            return
        guarded = update(DeploymentRow).where(
            DeploymentRow.name == saved.name, DeploymentRow.version == saved.version - 1
        )
        if session.execute(guarded.values(version=saved.version, document=document)).rowcount != 1:  # type: ignore[attr-defined]
            raise stale(saved.name)


def _require_lead(session: Session, name: str, epoch: int | None) -> None:
    """Refuse what was written within the session by a control plane that does not lead any more.

    Asked afterwards: SQLite lets nobody else write from the first change on, and PostgreSQL keeps the row as it is.
    """
    if epoch is not None and session.scalar(select(LeaseRow.epoch).with_for_update(read=True)) != epoch:
        raise superseded(name)


def _dump(adapter: TypeAdapter[Any], value: Any) -> dict[str, Any]:
    document: dict[str, Any] = _worded(adapter.dump_python(value, mode="json"))
    return document


def _worded(value: Any) -> Any:
    """What could not be measured is NaN, for which JSON has no word; as "nan" it is read as a number again."""
    if isinstance(value, dict):
        return {key: _worded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_worded(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(said: str) -> str:
    """What others wrote may have characters that a database does not take; no decision is lost for them."""
    return said.encode(errors="replace").decode().replace("\0", "\ufffd")


def _if_readable(name: str, version: int, document: str) -> Deployment | None:
    """None for what a newer Noren wrote: the others are not to stand still for it."""
    try:
        return _parse(name, version, document)
    except DriverError as error:
        log.error("store", deployment=name, problem=str(error))
        return None


def _parse(name: str, version: int, document: str) -> Deployment:
    try:
        read = json.loads(document)
    except ValueError as error:
        raise unreadable(name, str(error)) from error
    return replace(_validated(name, _deployment, read), version=version)


def _validated(name: str, adapter: TypeAdapter[Stored], document: Any) -> Stored:
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise unreadable(name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _event_row(deployment: str, event: Event) -> EventRow:
    return EventRow(
        deployment=deployment,
        at=event.at.astimezone(UTC),
        kind=event.kind,
        message=_text(event.message),
        who=_text(event.who),
        claimed=event.claimed,
        reason=_text(event.reason),
        before=dict(event.before),
        after=dict(event.after),
    )


def _event(row: EventRow) -> Event:
    return Event(
        id=row.id,
        deployment=row.deployment,
        at=_utc(row.at),
        kind=row.kind,
        message=row.message,
        who=row.who,
        claimed=row.claimed,
        reason=row.reason,
        before=row.before,
        after=row.after,
    )


def _utc(at: datetime) -> datetime:
    """SQLite gives times back without their zone, others in a zone of their own; all were stored as UTC."""
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
