"""What only a database server can do: let many in at once, and be gone for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from noren.control.ports import Event, Lease
from noren.domain.commands import Deployment
from noren.domain.errors import DriverUnavailable, Stale
from noren.stores import database
from noren.stores.sql import SqlStore
from noren.stores.tables import Base

if TYPE_CHECKING:
    from benchmarks.chaos.postgresql import PostgreSql

pytestmark = pytest.mark.e2e

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def url(postgresql: PostgreSql) -> str:
    return postgresql.new_url()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    made = SqlStore(url)
    yield made
    made.engine.dispose()


def test_several_control_planes_may_make_the_tables_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as starting:
        stores = list(starting.map(SqlStore, [url] * 4))

    stores[0].save(Deployment(name="shop"))
    assert [d.name for d in stores[3].deployments()] == ["shop"]
    with stores[0].engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    for made in stores:
        made.engine.dispose()


def test_many_that_write_at_once_lose_nothing(url: str) -> None:
    stores = [SqlStore(url) for _ in range(4)]
    stores[0].save(Deployment(name="shop"))

    def write(store: SqlStore) -> int:
        done = 0
        for _ in range(20):
            before = store.load("shop")
            told = Event(at=NOON, kind="state", message="bump")
            try:
                store.save(replace(before, revisions=before.revisions + 1), events=[told])
            except Stale:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(4) as writers:
        done = sum(writers.map(write, stores))

    assert stores[0].load("shop").revisions == done == len(stores[0].events("shop")) > 0
    for made in stores:
        made.engine.dispose()


def test_a_server_that_is_gone_for_a_while_loses_nothing(postgresql: PostgreSql, store: SqlStore) -> None:
    saved = store.save(Deployment(name="shop"), events=[Event(at=NOON, kind="state", message="before")])
    lease = Lease(holder="us", epoch=1, beat=1, seconds=5.0, at=NOON)
    assert store.take(lease, instead_of=store.lease())

    postgresql.stop()
    try:
        for _ in range(2):  # a connection of the pool, and a new one
            with pytest.raises(DriverUnavailable, match="cannot be used now") as raised:
                store.save(saved)
            assert "check that its server runs" in raised.value.fix
    finally:
        postgresql.start()

    assert (store.load("shop"), store.lease()) == (saved, lease)
    assert [e.message for e in store.events("shop")] == ["before"]
    assert store.save(saved, epoch=1).version == 2


def test_a_database_that_only_reads_is_unavailable_for_writing(url: str) -> None:
    store = SqlStore(url)
    saved = store.save(Deployment(name="shop"))
    with store.engine.begin() as connection:
        connection.execute(text("ALTER ROLE noren SET default_transaction_read_only = on"))
    store.engine.dispose()
    try:
        with pytest.raises(DriverUnavailable, match="read-only transaction"):
            store.save(saved)
        assert store.load("shop") == saved
    finally:
        with store.engine.begin() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            connection.execute(text("ALTER ROLE noren RESET default_transaction_read_only"))
        store.engine.dispose()
    assert store.save(saved).version == 2
    store.engine.dispose()


def test_a_peer_that_was_stopped_while_it_wrote_keeps_nobody_from_leading(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = {"lock_timeout": "200ms", "idle_in_transaction_session_timeout": "400ms", "statement_timeout": "5s"}
    monkeypatch.setattr(database, "_PATIENCE", patience)
    stopped, other = SqlStore(url), SqlStore(url)
    lease = Lease(holder="other", epoch=1, beat=1, seconds=5.0, at=NOON)

    def takes() -> bool:
        try:
            return other.take(lease, instead_of=Lease())
        except DriverUnavailable:
            return False

    with stopped.engine.connect() as connection:
        connection.execute(text("UPDATE lease SET beat = beat"))
        deadline = time.monotonic() + 60
        while not takes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        connection.invalidate()  # the server has ended it

    assert other.lease() == lease
    for made in (stopped, other):
        made.engine.dispose()


def test_a_password_is_in_no_complaint(postgresql: PostgreSql) -> None:
    url = postgresql.new_url().replace("noren@", "noren:geheim@").replace(str(postgresql.folder), "/nowhere")

    with pytest.raises(DriverUnavailable, match="cannot be used now") as raised:
        SqlStore(url)
    assert "geheim" not in str(raised.value)
