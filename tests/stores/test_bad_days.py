"""A store that cannot be written for a while, or not any more: nothing of it is lost, and it says what to do."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import event, text
from structlog.testing import capture_logs

from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.ports import Event
from noren.control.reconcile import Drivers
from noren.control.use_cases import Commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route, Strategy
from noren.domain.errors import DriverError, DriverUnavailable
from noren.domain.verdict import Outcome
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.manifests.built import BentoStore
from noren.runtimes.memory import MemoryRuntime
from noren.stores import database, sqlite_file
from noren.stores.sql import SqlStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Bad = Callable[[SqlStore], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "noren.db"


@pytest.fixture
def store(file: Path) -> Iterator[SqlStore]:
    made = opened(file)
    yield made
    made.engine.dispose()


def opened(file: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{file}")


def said(message: str) -> Event:
    return Event(at=NOON, kind="state", message=message)


@contextmanager
def with_pragma(store: SqlStore, pragma: str) -> Iterator[None]:
    """All connections of the store have it, and nobody waits five seconds for a lock."""

    def set_it(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=1")
        connection.execute(f"PRAGMA {pragma}")

    engines = (store.engine, store._beats)
    for engine in engines:
        event.listen(engine, "connect", set_it)
        engine.dispose()
    try:
        yield
    finally:
        for engine in engines:
            event.remove(engine, "connect", set_it)
            engine.dispose()


@contextmanager
def locked(store: SqlStore) -> Iterator[None]:
    file = sqlite_file.file_of(store.engine)
    assert file
    with with_pragma(store, "busy_timeout=1"), closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def read_only(store: SqlStore) -> AbstractContextManager[None]:
    return with_pragma(store, "query_only=ON")


def disk_full(store: SqlStore) -> AbstractContextManager[None]:
    return with_pragma(store, "max_page_count=1")  # not below what it has, but no page more


BAD: list[Bad] = [locked, read_only, disk_full]


# For a while


@pytest.mark.parametrize("bad", BAD)
def test_a_store_that_cannot_be_written_is_unavailable_reads_on_and_loses_nothing(store: SqlStore, bad: Bad) -> None:
    saved = store.save(Deployment(name="shop"), events=[said("before")])

    with bad(store):
        with pytest.raises(DriverUnavailable, match="cannot be used now") as raised:
            store.save(replace(saved, revisions=1), events=[said("x" * 1_000_000)])
        assert "disk has space left" in raised.value.fix
        assert store.load("shop") == saved
        assert [e.message for e in store.events("shop")] == ["before"]

    assert store.save(saved, events=[said("after")]).version == 2
    assert [e.message for e in store.events("shop")] == ["before", "after"]


class Plane:
    """A control plane over a real store and drivers in memory. Time passes only by `run`."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.seconds, self.store, self._folder = 0.0, store, folder
        self.runtime, self.door = MemoryRuntime(), MemoryFrontDoor()
        clock = SteadyClock(lambda: NOON + timedelta(seconds=self.seconds), lambda: self.seconds)
        leadership = Leadership(
            store, holder="us", seconds=5.0, now=clock, clock=lambda: self.seconds, heard=self.door.epoch
        )
        drivers = Drivers(
            runtime=self.runtime,
            front_door=self.door,
            gate=MemoryGate(Outcome.PASS),
            catalog=BentoStore(folder),
            front_door_url="http://127.0.0.1:7480",
        )
        self.loop = LedLoop(store, drivers, clock, leadership)
        self.commands = Commands(store, BentoStore(folder), now=clock, wake=self.loop.wake)

    def apply(self, bento: str) -> None:
        manifest = self._folder / "bentos" / bento.replace(":", "/") / "bento.yaml"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("schema: {routes: [{route: /predict, input: {type: object, properties: {}}}]}")
        wanted = Revision(
            deployment="shop",
            number=0,
            bento=bento,
            route=Route(prefix="/shop", host="shop.localhost"),
            strategy=Strategy(step_wait=timedelta(seconds=5), step_requests=0, bake=timedelta(seconds=10)),
        )
        self.commands.apply(wanted)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            for _ in range(10):
                with suppress(DriverError):
                    self.loop.tick()
            self.seconds += 1

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.door.look().weights["shop"])


@pytest.mark.parametrize("bad", BAD)
def test_a_rollout_goes_on_after_half_a_minute_and_what_serves_is_looked_after_meanwhile(
    store: SqlStore, tmp_path: Path, bad: Bad
) -> None:
    plane = Plane(tmp_path, store)
    plane.apply("shop:v1")
    plane.run(20)
    plane.apply("shop:v2")
    plane.run(3)
    assert plane.weights == {"shop-1": 90, "shop-2": 10}

    with bad(store):
        plane.runtime.wanted.pop("shop-1")  # it crashed
        plane.run(1)
        assert plane.runtime.wanted.keys() == {"shop-1", "shop-2"}
        plane.run(29)
        assert sum(plane.weights.values()) == 100
        if bad is not disk_full:  # what fits into the pages that there are can still be stored
            assert plane.weights == {"shop-1": 90, "shop-2": 10}

    plane.run(60)
    assert plane.weights == {"shop-2": 100}
    assert plane.runtime.wanted.keys() == {"shop-2"}
    rollout = store.load("shop").rollout
    assert rollout
    assert rollout.phase == "done"


# For good


def of_a_newer_noren(file: Path) -> None:
    store = opened(file)
    store.save(Deployment(name="shop"))
    store.engine.dispose()
    store._beats.dispose()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("ALTER TABLE deployments RENAME COLUMN document TO documents")
    for copy in file.parent.glob("*.backup-*"):
        copy.unlink()


def test_a_store_of_a_newer_noren_is_refused_and_left_as_it_is(file: Path) -> None:
    of_a_newer_noren(file)
    before = {path: path.read_bytes() for path in file.parent.iterdir()}

    with pytest.raises(DriverError, match=r"a newer Noren made it .*9999") as raised:
        opened(file)

    assert str(file) in raised.value.problem
    assert "use that version of Noren" in raised.value.fix
    assert {path: path.read_bytes() for path in file.parent.iterdir()} == before


def filled(file: Path) -> None:
    """Two lives of a store: at the beginning of the second a copy is kept."""
    for name in ("shop", "other"):
        store = opened(file)
        store.save(Deployment(name=name), events=[said("x" * 20_000)])
        store.engine.dispose()
        store._beats.dispose()


def damage(file: Path) -> None:
    with file.open("r+b") as pages:
        pages.seek(4096)  # all but the first page, which has the schema
        pages.write(b"\xff" * (file.stat().st_size - 4096))


def test_a_damaged_file_is_named_with_the_way_back_to_its_last_copy(file: Path) -> None:
    filled(file)
    damage(file)

    with pytest.raises(DriverError, match="is damaged and cannot be used") as raised:
        opened(file)

    assert not isinstance(raised.value, DriverUnavailable)
    assert str(file) in raised.value.problem
    (copy,) = file.parent.glob("noren.db.backup-*")
    assert f"`cp {copy} {file}`" in raised.value.fix
    assert f"mv {file} {file}.damaged" in raised.value.fix
    shutil.move(file, f"{file}.damaged")
    shutil.copy(copy, file)
    assert [d.name for d in opened(file).deployments()] == ["shop"]


def test_a_damaged_file_without_a_copy_says_so(file: Path) -> None:
    file.write_text("this is no database, and it is longer than a header" * 100)

    with pytest.raises(DriverError, match="is damaged and cannot be used") as raised:
        opened(file)
    assert "apply the deployment files again" in raised.value.fix


def test_a_file_that_is_damaged_while_it_is_open_is_no_fault_of_ours(file: Path) -> None:
    filled(file)
    store = opened(file)
    store.engine.dispose()
    store._beats.dispose()
    damage(file)

    with pytest.raises(DriverError, match="is damaged and cannot be used"):
        store.deployments()


def test_a_copy_is_for_its_owner_only_and_a_database_of_its_own(file: Path) -> None:
    filled(file)
    file.chmod(0o600)
    opened(file).engine.dispose()

    (copy,) = file.parent.glob("noren.db.backup-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM deployments").fetchone() == (2,)


# Migrations


def of_an_older_noren(file: Path) -> None:
    """The first tables, with one deployment."""
    engine, config = database.reach(f"sqlite:///{file}"), database._config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO deployments VALUES ('shop', 1, '{\"name\": \"shop\"}')"))
    engine.dispose()


def version(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_what_an_older_noren_stored_is_copied_and_then_brought_up_to_date(file: Path) -> None:
    of_an_older_noren(file)

    for _ in range(2):  # the next start leaves the older copy alone
        store = opened(file)
        assert store.deployments() == [Deployment(name="shop", version=1)]
        assert store.lease().epoch == 0
        store.engine.dispose()

    assert version(file.with_name("noren.db.backup-0001")) == "0001"
    assert version(file) != "0001"


def test_without_a_copy_nothing_is_migrated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_an_older_noren(file)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(sqlite_file, "keep_copy", refuse)
        with pytest.raises(DriverError, match=r"no copy of it can be kept.*No space left"):
            opened(file)
        assert version(file) == "0001"

    opened(file).engine.dispose()
    monkeypatch.setattr(sqlite_file, "keep_copy", refuse)
    assert opened(file).deployments() != []  # nothing to migrate: it is used without a copy


def test_a_migration_that_fails_leaves_nothing_of_itself(file: Path) -> None:
    of_an_older_noren(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("ALTER TABLE events ADD COLUMN reason TEXT")  # what a later migration stumbles over

    with pytest.raises(DriverError, match="duplicate column"):
        opened(file)

    assert version(file) == "0001"
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    assert "lease" not in tables
    assert "who" not in columns
