"""The history of a home that is older than the audit log: it is all there, and nobody is said to have asked for it."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import noren.stores
from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.stores.sql import SqlStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def before_the_audit_log(file: Path) -> None:
    """The tables as they were, with one deployment and one event."""
    config = Config()
    config.set_main_option("script_location", str(Path(noren.stores.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()
    with sqlite3.connect(file) as connection_:
        connection_.execute("INSERT INTO deployments VALUES ('shop', 1, '{\"name\": \"shop\"}')")
        connection_.execute(
            "INSERT INTO events (deployment, at, kind, message) "
            "VALUES ('shop', '2026-01-01 12:00:00.000000', 'state', 'shop-1: done')"
        )
    connection_.close()


def test_older_lines_of_history_are_kept_and_newer_ones_come_after_them(tmp_path: Path) -> None:
    before_the_audit_log(tmp_path / "noren.db")

    store = SqlStore(f"sqlite:///{tmp_path / 'noren.db'}")

    (old,) = store.history("shop")
    assert old == Event(id=1, deployment="shop", at=NOON, kind="state", message="shop-1: done")
    assert store.load("shop") == Deployment(name="shop", version=1)
    store.note("shop", Event(at=NOON, kind="refused", message="no", who="ada", claimed=True))
    assert [line.id for line in store.history("shop")] == [1, 2]
    store.engine.dispose()
