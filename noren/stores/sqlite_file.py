"""The file of a SQLite database: whether it is sound, the copy that is kept of it, and what to do without it."""

import os
import shlex
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from noren.domain.errors import DriverError

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def file_of(engine: Engine) -> Path | None:
    """Where it is; None for other databases, and for those that are in no file."""
    name = engine.url.database or ""
    in_a_file = name not in ("", ":memory:") and not name.startswith("file:")
    return Path(name).resolve() if engine.dialect.name == "sqlite" and in_a_file else None


def is_damage(error: object) -> bool:
    """Whether this is how SQLite says that the file is not, or not any more, a database."""
    return getattr(error, "sqlite_errorname", "").startswith(_DAMAGED)


def require_sound(connection: Connection, path: Path) -> None:
    """Raise DriverError when a page of the file cannot be what was written to it."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise damage(path, str(found))


def damage(path: Path, what: str) -> DriverError:
    """What is wrong with the file, and how to go on: with the last copy, or without what it knew."""
    file = shlex.quote(str(path))
    away = f"`mv {file} {file}.damaged; rm -f {file}-wal {file}-shm`"
    if copy := _newest_copy(path):
        known = datetime.fromtimestamp(copy.stat().st_mtime, UTC)
        then = f"`cp {shlex.quote(str(copy))} {file}`, which has what was known on {known:%Y-%m-%d at %H:%M} UTC"
    else:
        then = "apply the deployment files again, as there is no copy of it"
    return DriverError(
        f"the database {path} is damaged and cannot be used: {' '.join(what.split())}",
        fix=f"guests are served without it; end the control plane if it runs (`kill`, not `noren down`), {away}, "
        f"then {then}; `noren up`",
    )


def keep_copy(connection: Connection, path: Path, revision: str) -> None:
    """Copy it to `<file>.backup-<revision of its tables>`, in the place of the last such copy.

    A migration leaves the copy of the revision before it alone. Raises OSError or sqlite3.Error when it cannot be kept.
    """
    source = connection.connection.driver_connection
    assert isinstance(source, sqlite3.Connection)
    copy = path.with_name(f"{path.name}.backup-{revision}")
    fresh = copy.with_name(f"{copy.name}.{os.getpid()}")
    try:
        fresh.touch(mode=0o600)  # environment variables of services are in it
        with closing(sqlite3.connect(fresh)) as target:
            source.backup(target)
        shutil.copymode(path, fresh)
        fresh.replace(copy)
    finally:
        fresh.unlink(missing_ok=True)


def _newest_copy(path: Path) -> Path | None:
    # A copy that was being written when its writer died has one more suffix, the number of that process.
    copies = [copy for copy in path.parent.glob(f"{path.name}.backup-*") if not copy.suffix.removeprefix(".").isdigit()]
    return max(copies, key=lambda copy: copy.stat().st_mtime, default=None)
