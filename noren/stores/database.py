"""The database below a store: how it is reached, brought up to date, and understood when it complains."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from noren.domain.errors import DriverError, DriverUnavailable, SpecError
from noren.stores import sqlite_file

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING = 7480  # any number, the same for all: PostgreSQL's locks of this kind have no names
# A peer that was stopped within a transaction does not keep its locks for ever, and we do not wait for it for long.
_PATIENCE = {"lock_timeout": "5s", "idle_in_transaction_session_timeout": "5s", "statement_timeout": "30s"}
_REACHED_WITHIN = {"connect_timeout": 5, "tcp_user_timeout": 10_000}  # s and ms; of libpq

log = structlog.get_logger()


def reach(url: str) -> Engine:
    """The engine of that URL. Nothing is connected yet. Raises SpecError when the URL is wrong."""
    try:
        place = make_url(url)
        if place.drivername == "postgresql":
            place = place.set(drivername="postgresql+psycopg")  # SQLAlchemy 2.0 would take psycopg2
        engine = create_engine(place, **_options(place))
    except (ArgumentError, ImportError) as error:
        raise SpecError(
            f"setting database_url: {error}",
            fix="correct NOREN_DATABASE_URL, for example sqlite:////srv/noren.db, or install the driver that it names: "
            "`pip install 'noren[postgresql]'`",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _use_wal)
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _lose_patience)
    return engine


def reach_for_beats(engine: Engine) -> Engine:
    """The engine that the lease is written by, every few seconds.

    Nobody waits for the disk: a beat that a power cut takes away was that of a control plane which has no power either.
    """
    if sqlite_file.file_of(engine) is None:
        return engine
    own = create_engine(engine.url)
    event.listen(own, "connect", _use_wal)
    event.listen(own, "connect", _hurry)
    return own


def bring_up_to_date(engine: Engine) -> None:
    """Make the newest tables of those that there are: all of it or nothing. A file is checked and copied before.

    Raises DriverError when the database cannot be opened or written, is damaged, or was made by a newer Noren: then
    nothing in it is changed.
    """
    known = sorted(file.name[:4] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    newest = known[-1]
    with explained(engine):
        with engine.connect() as connection:
            found = _version(connection)
            if found and found not in known:
                raise _too_new(engine, found, newest)
        if found:
            _secure(engine, found, needed=found != newest)
        if found != newest:
            _migrate(engine)


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Tell what the database complains of: DriverUnavailable for what may pass, DriverError for a damaged file."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, NoConnectionLeft) as error:
        what = " ".join(str(getattr(error, "orig", None) or error).split())
        fix = "check that its server runs, and lets us in"
        if engine.dialect.name == "sqlite":
            fix = "check that its folder exists and can be written, and that its disk has space left"
        raise DriverUnavailable(f"the database at {engine.url} cannot be used now: {what}", fix=fix) from error
    except DatabaseError as error:
        file = sqlite_file.file_of(engine)
        if file is None or not sqlite_file.is_damage(error.orig):
            raise
        raise sqlite_file.damage(file, str(error.orig)) from error


def _options(place: URL) -> dict[str, Any]:
    if place.get_backend_name() != "postgresql":
        return {}
    options: dict[str, Any] = {"pool_pre_ping": True}  # a server that was restarted has closed what is in the pool
    if place.get_driver_name() in ("psycopg", "psycopg2"):
        unsaid = {name: value for name, value in _REACHED_WITHIN.items() if name not in place.query}
        options["connect_args"] = unsaid
    return options


def _use_wal(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous=FULL")  # a decision that was stored survives a power cut
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _hurry(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=1000")  # while someone else writes for longer, nobody can take over either
    cursor.close()


def _lose_patience(connection: Any, _record: Any) -> None:
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _PATIENCE.items())
    connection.autocommit = True  # or the next rollback would undo it
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {settings}")
    connection.autocommit = False


def _secure(engine: Engine, revision: str, *, needed: bool) -> None:
    """Check the file and keep a copy of it. Where that cannot be kept, it is used, but not migrated (`needed`)."""
    file = sqlite_file.file_of(engine)
    if file is None:
        return
    with engine.connect() as connection:
        sqlite_file.require_sound(connection, file)
        try:
            sqlite_file.keep_copy(connection, file, revision)
        except (OSError, sqlite3.Error) as error:
            if needed:
                raise DriverError(
                    f"the database {file} cannot be used before its tables are changed, and no copy of it can be kept "
                    f"for that: {error}",
                    fix="see that its folder can be written, and that its disk has space left",
                ) from error
            log.warning("backup", file=str(file), problem=str(error))


def _version(connection: Connection) -> str | None:
    """The number of the last migration; None where there was none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    number: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return number


def _migrate(engine: Engine) -> None:
    from alembic import command  # a fifth of a start's CPU, and nearly all starts find the newest tables

    config = _config()
    with engine.begin() as connection:
        # One at a time. Python's sqlite3 begins no transaction before it changes tables: half of them might be left.
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _too_new(engine: Engine, found: str, newest: str) -> DriverError:
    return DriverError(
        f"the database at {engine.url} cannot be used: a newer Noren made it (its tables are at {found}, those of "
        f"this one at {newest}); nothing in it was changed",
        fix="use that version of Noren, or set NOREN_HOME to another folder",
    )
