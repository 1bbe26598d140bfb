"""What is found in a home: whose it is, when it was used, and what is never touched."""

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noren.control.ports import Leftover, LeftoverKind
from noren.domain.deployment import Revision, Route, Server
from noren.runtimes.attic import DiskAttic
from noren.runtimes.environment import name_of

FIRST = Revision(
    deployment="shop",
    number=1,
    bento="shop:v1",
    server=Server.BENTOML,
    route=Route(prefix="/shop", host="shop.localhost"),
)
SECOND = replace(FIRST, number=2, bento="shop:v2")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("logs", "gates", "envs", "stores"):
        (tmp_path / "home" / name).mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def attic(home: Path) -> DiskAttic:
    """With shop:v1 and shop:v2 in the BentoML store, which lock the same."""
    for version in ("v1", "v2"):
        bento = home.parent / f"bentoml/bentos/shop/{version}"
        (bento / "env/python").mkdir(parents=True)
        (bento / "env/python/requirements.txt").write_text("bentoml==1.4.39\n")
        (bento / "bento.yaml").write_text("image: {}\n")
    return DiskAttic(home, home.parent / "bentoml")


def date(path: Path, at: datetime = LONG_AGO) -> None:
    os.utime(path, (at.timestamp(), at.timestamp()))


def found(attic: DiskAttic, kind: LeftoverKind, *revisions: Revision) -> dict[str, set[str]]:
    """Who uses each thing of a kind."""
    return {one.name: set(one.users) for one in attic.find(revisions) if one.kind is kind}


def environment(attic: DiskAttic, home: Path) -> Leftover:
    """That of both Bentos, made and locked."""
    name = name_of(attic.bentos / "shop/v1", Server.BENTOML)
    (home / "envs" / name / "bin").mkdir(parents=True)
    (home / "envs" / name / ".complete").touch()
    (home / "envs" / f"{name}.lock").touch()
    (one,) = [one for one in attic.find([FIRST, SECOND]) if one.kind is LeftoverKind.ENVIRONMENT]
    return one


def test_logs_belong_to_the_revision_in_their_name_and_those_of_noren_itself_to_nobody(
    attic: DiskAttic, home: Path
) -> None:
    for name in ("shop-1.0.log", "shop-1.0.log.1", "shop-1_twin.12.log", "a-b-2-10.0.log", "calibrate_shop-3.0.log"):
        (home / "logs" / name).touch()
    for name in ("server.log", "server.log.1", "server.out", "envoy.log", "access.log", "shop.log", "shop-1.log"):
        (home / "logs" / name).touch()
    date(home / "logs/shop-1.0.log")

    assert found(attic, LeftoverKind.LOG) == {
        "shop-1.0.log": {"shop-1"},
        "shop-1.0.log.1": {"shop-1"},
        "shop-1_twin.12.log": {"shop-1"},
        "a-b-2-10.0.log": {"a-b-2-10"},
        "calibrate_shop-3.0.log": {"calibrate_shop-3"},
    }
    assert next(one.used_at for one in attic.find([]) if one.name == "shop-1.0.log") == LONG_AGO


def test_evidence_belongs_to_the_revision_that_was_judged(attic: DiskAttic, home: Path) -> None:
    for name in ("shop-1-20260101T120000-1", "shop-12-20260101T120000-10", "calibration", "shop-1"):
        (home / "gates" / name).mkdir()
    assert found(attic, LeftoverKind.GATE) == {
        "shop-1-20260101T120000-1": {"shop-1"},
        "shop-12-20260101T120000-10": {"shop-12"},
    }


def test_an_environment_belongs_to_all_that_lock_the_same_and_was_used_at_the_last_start(
    attic: DiskAttic, home: Path
) -> None:
    made = environment(attic, home)
    assert found(attic, LeftoverKind.ENVIRONMENT, FIRST, SECOND) == {made.name: {"shop-1", "shop-2"}}
    date(home / "envs" / f"{made.name}.lock")
    (again,) = [one for one in attic.find([FIRST]) if one.kind is LeftoverKind.ENVIRONMENT]
    assert again.used_at == LONG_AGO

    (attic.bentos / "shop/v2/env/python/requirements.txt").write_text("bentoml==1.4.38\n")
    assert found(attic, LeftoverKind.ENVIRONMENT, FIRST, SECOND) == {made.name: {"shop-1"}}
    served = replace(FIRST, number=3, server=Server.NOREN)  # noren-serve is in its environment too
    assert found(attic, LeftoverKind.ENVIRONMENT, served) == {made.name: set()}


@pytest.mark.parametrize("damage", ["gone", "no lock", "not YAML", "no mapping"])
def test_a_bento_that_cannot_be_read_claims_no_environment_and_stops_no_search(
    attic: DiskAttic, home: Path, damage: str
) -> None:
    made = environment(attic, home)
    bento = attic.bentos / "shop/v1"
    if damage == "gone":
        bento.rename(bento.with_name("elsewhere"))
    elif damage == "no lock":
        (bento / "env/python/requirements.txt").unlink()
    else:
        (bento / "bento.yaml").write_text("image: [" if damage == "not YAML" else "text")
    assert found(attic, LeftoverKind.ENVIRONMENT, FIRST, SECOND) == {made.name: {"shop-2"}}


def test_links_to_a_bento_belong_to_all_that_serve_it(attic: DiskAttic, home: Path) -> None:
    for name in ("shop-v1-01234567", "shop-v1-89abcdef", "shop-v10-01234567", ".shop-v1-01234567.x7"):
        (home / "stores" / name).mkdir()
    assert found(attic, LeftoverKind.STORE, FIRST, replace(FIRST, number=3), SECOND) == {
        "shop-v1-01234567": {"shop-1", "shop-3"},
        "shop-v1-89abcdef": {"shop-1", "shop-3"},
        "shop-v10-01234567": set(),
        ".shop-v1-01234567.x7": set(),  # left by a start that was killed
    }


def test_only_bentos_that_were_rolled_out_from_here_are_found(attic: DiskAttic) -> None:
    assert found(attic, LeftoverKind.BENTO, FIRST) == {"shop:v1": {"shop-1"}}
    assert found(attic, LeftoverKind.BENTO, replace(FIRST, bento="shop:gone")) == {}
    assert found(attic, LeftoverKind.BENTO) == {}


def test_a_folder_that_is_a_link_is_shared_with_other_homes_and_left_alone(attic: DiskAttic, home: Path) -> None:
    environment(attic, home)
    (home / "envs").rename(home.parent / "shared")
    (home / "envs").symlink_to(home.parent / "shared")
    assert found(attic, LeftoverKind.ENVIRONMENT, FIRST) == {}


# Removing


def test_an_environment_goes_with_its_lock(attic: DiskAttic, home: Path) -> None:
    assert attic.remove(environment(attic, home))
    assert list((home / "envs").iterdir()) == []


def test_an_environment_that_is_being_made_stays(attic: DiskAttic, home: Path) -> None:
    made = environment(attic, home)
    with (home / "envs" / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not attic.remove(made)
    assert (home / "envs" / made.name / ".complete").exists()
    assert attic.remove(made)


@pytest.mark.e2e
def test_an_environment_that_a_process_runs_from_stays(attic: DiskAttic, home: Path) -> None:
    made = environment(attic, home)
    python = home / "envs" / made.name / "bin/python"
    python.symlink_to(sys.executable)
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen([python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert not attic.remove(made)
        process.communicate("")
    assert attic.remove(made)


def test_links_are_removed_and_not_what_they_lead_to(attic: DiskAttic, home: Path) -> None:
    store = home / "stores/shop-v1-01234567"
    (store / "bentos/shop").mkdir(parents=True)
    (store / "bentos/shop/v1").symlink_to(attic.bentos / "shop/v1")
    (one,) = [one for one in attic.find([FIRST]) if one.kind is LeftoverKind.STORE]
    assert attic.remove(one)
    assert list((home / "stores").iterdir()) == []
    assert (attic.bentos / "shop/v1/bento.yaml").exists()


@pytest.mark.parametrize(("latest", "after"), [("v1", "v2"), ("v2", "v2")])
def test_a_bento_goes_as_bentoml_would_delete_it(attic: DiskAttic, latest: str, after: str) -> None:
    (attic.bentos / "shop/latest").write_text(latest)
    first, second = (one for one in attic.find([FIRST, SECOND]) if one.kind is LeftoverKind.BENTO)

    assert attic.remove(first)
    assert sorted(path.name for path in (attic.bentos / "shop").iterdir()) == ["latest", "v2"]
    assert (attic.bentos / "shop/latest").read_text() == after
    assert attic.remove(second)
    assert list(attic.bentos.iterdir()) == []


def test_what_cannot_be_removed_is_said_so_and_is_no_error(
    attic: DiskAttic, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "logs/shop-1.0.log").touch()
    (one,) = [one for one in attic.find([]) if one.kind is LeftoverKind.LOG]

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert not attic.remove(one)
