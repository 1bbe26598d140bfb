"""What only a store on a disk must keep: its file, its tables, and the peace between writers."""

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from structlog.testing import capture_logs

from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route
from noren.domain.errors import DriverError, DriverUnavailable, SpecError, Stale
from noren.stores import database
from noren.stores.sql import SqlStore
from noren.stores.tables import Base

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'noren.db'}"


def bump(store: SqlStore, name: str) -> bool:
    """Load, count one up, save with an event; False when someone else was faster."""
    before = store.load(name)
    after = Deployment(name=name, revisions=before.revisions + 1, version=before.version)
    try:
        store.save(after, events=[Event(at=NOON, kind="state", message="bump")])
    except Stale:
        return False
    return True


def test_readers_do_not_wait_for_the_writer_and_what_is_stored_survives_a_power_cut(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))

    with store.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 5000


@pytest.mark.parametrize(
    ("document", "why"),
    [('{"name": "shop", "rollout": {"phase": "frozen"}}', "rollout.green: "), ("{", "Expecting property name")],
)
def test_what_a_newer_noren_wrote_of_one_deployment_stops_none_of_the_others(
    tmp_path: Path, document: str, why: str
) -> None:
    store = SqlStore(url(tmp_path))
    cart, shop = store.save(Deployment(name="cart")), store.save(Deployment(name="shop"))
    with store.engine.begin() as connection:
        connection.execute(text("update deployments set document=:d where name='shop'"), {"d": document})

    with capture_logs() as told:
        for _ in range(3):
            assert store.deployments() == [cart]
    assert [entry["deployment"] for entry in told] == ["shop"]
    assert store.names() == ["cart", "shop"]
    for ask in (store.load, store.revisions, store.verdicts, store.events):
        with pytest.raises(DriverError, match=f"what is stored of shop cannot be read: {why}"):
            ask("shop")

    store.save(shop)  # as its writer would
    assert [found.name for found in store.deployments()] == ["cart", "shop"]


def test_a_revision_that_cannot_be_read_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    first = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop"))
    store.save(Deployment(name="shop"), revision=first)
    with store.engine.begin() as connection:
        connection.execute(text("""update revisions set document=replace(document, '"noren"', '"granian"')"""))
    with pytest.raises(DriverError, match="what is stored of shop cannot be read: server: Input should be 'noren'"):
        store.revisions("shop")


def test_everything_is_there_again_after_reopening(tmp_path: Path) -> None:
    first = SqlStore(url(tmp_path))
    saved = first.save(Deployment(name="shop"), events=[Event(at=NOON, kind="state", message="a")])
    first.engine.dispose()

    again = SqlStore(url(tmp_path))

    assert again.load("shop") == saved
    assert [e.message for e in again.events("shop")] == ["a"]
    assert again.save(saved).version == 2


def test_a_revision_that_was_stored_before_a_field_was_thought_of_has_its_default(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    revision = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.x"))
    store.save(Deployment(name="shop"), revision=revision)
    with store.engine.begin() as connection:
        removed = "json_remove(document, '$.server', '$.resources')"
        connection.execute(text(f"UPDATE revisions SET document = {removed}"))  # noqa: S608  a constant

    assert store.revisions("shop") == [revision]


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))

    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_time_of_another_zone_comes_back_as_the_same_instant(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))

    store.save(Deployment(name="shop"), events=[Event(at=tokyo, kind="state", message="a")])

    assert store.events("shop")[0].at == NOON


def test_migrations_are_known_by_the_names_of_their_files_and_alembic_is_only_needed_to_migrate(tmp_path: Path) -> None:
    scripts = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))
    for script in scripts.walk_revisions():
        assert Path(script.path).name.startswith(f"{script.revision}_")
    SqlStore(url(tmp_path)).engine.dispose()
    code = (
        "import sys; from noren.stores.sql import SqlStore; SqlStore(sys.argv[1]); assert 'alembic' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code, url(tmp_path)], check=True)

    with SqlStore(url(tmp_path)).engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == scripts.get_current_head()


def unwritable(tmp_path: Path) -> str:
    (tmp_path / "file").touch()
    return f"sqlite:///{tmp_path / 'file' / 'noren.db'}"


def not_a_database(tmp_path: Path) -> str:
    (tmp_path / "noren.db").write_text("this is no database, and it is longer than a header" * 100)
    return url(tmp_path)


def of_a_newer_noren(tmp_path: Path) -> str:
    SqlStore(url(tmp_path)).engine.dispose()
    with sqlite3.connect(tmp_path / "noren.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return url(tmp_path)


@pytest.mark.parametrize("broken", [unwritable, not_a_database, of_a_newer_noren])
def test_a_database_that_cannot_be_used_is_a_driver_error_with_a_fix(broken: object, tmp_path: Path) -> None:
    assert callable(broken)
    with pytest.raises(DriverError, match="cannot be used") as raised:
        SqlStore(broken(tmp_path))
    assert raised.value.fix


@pytest.mark.parametrize("wrong", ["nonsense", "", "nosuchsql://x", "postgresql+nosuchdriver://x"])
def test_a_wrong_database_url_is_named_with_the_setting_to_correct(wrong: str) -> None:
    with pytest.raises(SpecError, match="database_url") as raised:
        SqlStore(wrong)
    assert "NOREN_DATABASE_URL" in raised.value.fix


def test_a_password_in_the_url_is_not_in_the_error() -> None:
    with pytest.raises(SpecError) as raised:
        SqlStore("sqlite://guest:geheim@/noren.db")
    assert "geheim" not in str(raised.value)


def test_a_locked_database_is_unavailable_for_now(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    blocker = sqlite3.connect(tmp_path / "noren.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with store.engine.connect() as connection:  # the pool keeps this one connection: no 5 s for the test
        connection.execute(text("PRAGMA busy_timeout=1"))

    with pytest.raises(DriverUnavailable, match="locked"):
        store.save(Deployment(name="shop"))

    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.save(Deployment(name="shop")).version == 1


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    store.save(Deployment(name="shop"))
    done: list[bool] = []

    def write() -> None:
        done.extend(bump(store, "shop") for _ in range(10))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 40
    assert store.load("shop").revisions == sum(done) == len(store.events("shop")) > 0


_OTHER_PROCESS = """
import sys
from noren.control.ports import Event
from noren.domain.commands import Deployment
from noren.domain.errors import Stale
from noren.stores import database
from noren.stores.sql import SqlStore
from datetime import UTC, datetime
store, done = SqlStore(sys.argv[1]), 0
print("open", flush=True)
sys.stdin.readline()
while done < 20:
    before = store.load("shop")
    event = Event(at=datetime.now(UTC), kind="state", message="other")
    try:
        store.save(Deployment(name="shop", revisions=before.revisions + 1, version=before.version), events=[event])
    except Stale:
        continue
    done += 1
"""


@pytest.mark.e2e
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    store = SqlStore(url(tmp_path))
    store.save(Deployment(name="shop"))
    other = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, url(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin
    assert other.stdout
    assert other.stdout.readline() == "open\n"
    other.stdin.write("\n")
    other.stdin.flush()

    ours = 0
    while ours < 20:
        ours += bump(store, "shop")

    other.communicate(timeout=120)
    assert other.returncode == 0
    assert store.load("shop").revisions == 40
    assert len(store.events("shop")) == 40
