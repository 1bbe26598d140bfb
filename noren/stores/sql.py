"""A store in any database that SQLAlchemy speaks to; SQLite in WAL mode by default."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from pydantic import TypeAdapter
from sqlalchemy import Engine, create_engine, delete, event, insert, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision
from noren.domain.errors import DriverError, DriverUnavailable, SpecError
from noren.domain.verdict import Verdict
from noren.stores.errors import stale, unknown
from noren.stores.tables import DeploymentRow, EventRow, RevisionRow, VerdictRow

_deployment = TypeAdapter(Deployment)
_revision = TypeAdapter(Revision)
_verdict = TypeAdapter(Verdict)


class SqlStore:
    """See Store and History. Brings the tables up to date when it is made.

    Raises SpecError when the URL is wrong, DriverError when the database cannot be opened or written.
    Every method raises DriverUnavailable while it cannot be reached, is locked, or its disk is full.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        try:
            migrate(self.engine)
        except DBAPIError as error:
            raise DriverError(
                f"the database at {self.engine.url} cannot be used: {error.orig}",
                fix="check that its folder exists and is writable, or set NOREN_HOME",
            ) from error
        except CommandError as error:
            raise DriverError(
                f"the database at {self.engine.url} cannot be used: a newer Noren changed its tables ({error})",
                fix="use that version of Noren, or set NOREN_HOME",
            ) from error

    def deployments(self) -> Sequence[Deployment]:
        """See Store."""
        with self._session() as session:
            rows = session.scalars(select(DeploymentRow).order_by(DeploymentRow.name))
            return [_load(row) for row in rows]

    def load(self, name: str) -> Deployment:
        """See Store."""
        with self._session() as session:
            row = session.get(DeploymentRow, name)
            if row is None:
                raise unknown(name)
            return _load(row)

    def save(
        self,
        deployment: Deployment,
        *,
        events: Sequence[Event] = (),
        revision: Revision | None = None,
        verdict: Verdict | None = None,
    ) -> Deployment:
        """See Store."""
        name, saved = deployment.name, replace(deployment, version=deployment.version + 1)
        with self._session() as session:
            self._write_row(session, saved)
            if revision:
                session.add(RevisionRow(deployment=name, number=revision.number, document=_dump(_revision, revision)))
            if verdict:
                session.add(VerdictRow(deployment=name, document=_dump(_verdict, verdict)))
            session.add_all(
                EventRow(deployment=name, at=e.at.astimezone(UTC), kind=e.kind, message=e.message) for e in events
            )
        return saved

    def delete(self, name: str) -> None:
        """See Store."""
        with self._session() as session:
            session.execute(delete(DeploymentRow).where(DeploymentRow.name == name))
            for table in (RevisionRow, VerdictRow, EventRow):
                session.execute(delete(table).where(table.deployment == name))

    def revisions(self, name: str) -> Sequence[Revision]:
        """See History."""
        query = select(RevisionRow.document).where(RevisionRow.deployment == name).order_by(RevisionRow.number)
        return [_revision.validate_python(document) for document in self._past(name, query)]

    def verdicts(self, name: str) -> Sequence[Verdict]:
        """See History."""
        query = select(VerdictRow.document).where(VerdictRow.deployment == name).order_by(VerdictRow.id)
        return [_verdict.validate_python(document) for document in self._past(name, query)]

    def events(self, name: str, *, after: int = 0) -> Sequence[Event]:
        """See History."""
        query = select(EventRow).where(EventRow.deployment == name, EventRow.id > after)
        rows = self._past(name, query.order_by(EventRow.id).limit(1000))
        return [Event(id=r.id, at=_utc(r.at), kind=r.kind, message=r.message) for r in rows]

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """One transaction: all of it or nothing."""
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            raise DriverUnavailable(
                f"the database at {self.engine.url} does not work now: {error.orig}",
                fix="check its disk, or that its server runs; Noren tries again",
            ) from error

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


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest version. Raises DBAPIError."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url)
    except (ArgumentError, ImportError) as error:
        raise SpecError(
            f"setting database_url: {error}",
            fix="correct NOREN_DATABASE_URL, for example sqlite:////srv/noren.db, or install the driver that it names",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _use_wal)
    return engine


def _use_wal(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous=FULL")  # a decision that was stored survives a power cut
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _dump(adapter: TypeAdapter[Any], value: Any) -> dict[str, Any]:
    document: dict[str, Any] = adapter.dump_python(value, mode="json")
    return document


def _load(row: DeploymentRow) -> Deployment:
    return replace(_deployment.validate_python(row.document), version=row.version)


def _utc(at: datetime) -> datetime:
    """SQLite gives times back without their zone, others in a zone of their own; all were stored as UTC."""
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
