"""Who leads no more writes nothing to a front door, whatever it believes. No Envoy runs here: only its files count."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from noren.control.ports import Table
from noren.domain.deployment import Route
from noren.domain.errors import DriverUnavailable
from noren.domain.observation import Weights
from noren.frontdoors import fence
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.frontdoors.memory import MemoryFrontDoor
from noren.machine import Machine

Door = MemoryFrontDoor | EnvoyFrontDoor


def envoy(home: Path) -> EnvoyFrontDoor:
    return EnvoyFrontDoor(home, Machine(home), port=7480, admin_port=7490)


def table(name: str, weights: Weights) -> Table:
    route = Route(prefix=f"/{name}", host=f"{name}.localhost")
    return Table(
        deployment=name, route=route, backends={revision: ["127.0.0.1:1"] for revision in weights}, weights=weights
    )


BLUE, GREEN = table("shop", {"shop-1": 100}), table("shop", {"shop-2": 100})


@pytest.fixture(params=["memory", "envoy"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Door:
    return MemoryFrontDoor() if request.param == "memory" else envoy(tmp_path)


def all_of(door: Door, home: Path) -> object:
    if isinstance(door, MemoryFrontDoor):
        return dict(door.tables)
    return {path.name: path.read_bytes() for path in (home / "frontdoor").iterdir()}


def tables(home: Path) -> Any:
    return json.loads((home / "frontdoor" / "tables.json").read_text())


@pytest.mark.parametrize(
    "write",
    [
        lambda door: door.publish(BLUE, epoch=1),
        lambda door: door.publish(GREEN, epoch=1),
        lambda door: door.publish(table("other", {}), epoch=1),
        lambda door: door.withdraw("shop", epoch=1),
        lambda door: door.withdraw("shop"),
    ],
    ids=["the old table", "the same table", "another deployment", "a withdrawal", "without an epoch"],
)
def test_a_write_of_a_lower_epoch_is_refused_and_changes_nothing(
    door: Door, tmp_path: Path, write: Callable[[Door], None]
) -> None:
    door.publish(BLUE, epoch=1)
    door.publish(GREEN, epoch=2)
    before = all_of(door, tmp_path)

    with pytest.raises(DriverUnavailable, match="another control plane leads this front door: its epoch is 2"):
        write(door)

    assert all_of(door, tmp_path) == before
    assert door.epoch() == 2


def test_every_write_makes_lower_epochs_stale_also_one_that_changes_nothing(door: Door) -> None:
    assert door.epoch() == 0
    door.publish(BLUE, epoch=1)
    door.publish(BLUE, epoch=2)
    assert door.epoch() == 2
    door.withdraw("never-published", epoch=3)
    assert door.epoch() == 3
    door.publish(BLUE, epoch=3)


def test_another_process_is_refused_too_and_after_a_restart(tmp_path: Path) -> None:
    envoy(tmp_path).publish(BLUE, epoch=2)

    with pytest.raises(DriverUnavailable):
        envoy(tmp_path).publish(GREEN, epoch=1)
    assert envoy(tmp_path).epoch() == 2


def test_who_leads_again_knows_what_the_others_wrote_meanwhile(tmp_path: Path) -> None:
    first, second = envoy(tmp_path), envoy(tmp_path)
    first.publish(BLUE, epoch=1)
    second.publish(table("other", {"other-1": 100}), epoch=2)
    second.publish(GREEN, epoch=2)

    first.publish(BLUE, epoch=3)

    assert {name: row["weights"] for name, row in tables(tmp_path).items()} == {
        "shop": {"shop-1": 100},
        "other": {"other-1": 100},
    }
    assert "shop-1" in (tmp_path / "frontdoor" / "rds.json").read_text()


def test_what_a_leader_left_half_written_is_written_whole_by_the_next(tmp_path: Path) -> None:
    first, routes = envoy(tmp_path), tmp_path / "frontdoor" / "rds.json"
    first.publish(BLUE, epoch=1)
    before = routes.read_bytes()
    first.publish(GREEN, epoch=1)
    after = routes.read_bytes()
    routes.write_bytes(before)  # it was killed after the tables and before the routes

    envoy(tmp_path).publish(GREEN, epoch=2)

    assert routes.read_bytes() == after != before


def test_what_a_full_disk_kept_from_being_written_is_written_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, routes, rename = envoy(tmp_path), tmp_path / "frontdoor" / "rds.json", os.replace
    door.publish(BLUE, epoch=1)

    def full(source: Path, target: Path) -> None:
        if Path(target) == routes:
            raise OSError(28, "No space left on device")
        rename(source, target)

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        with pytest.raises((OSError, DriverUnavailable), match="No space left"):
            door.publish(GREEN, epoch=1)
    door.publish(GREEN, epoch=1)

    assert "shop-2" in routes.read_text()


def test_of_many_that_write_at_once_the_highest_epoch_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "_PATIENCE_S", 60)
    barrier = threading.Barrier(8)

    def write(epoch: int) -> None:
        door = envoy(tmp_path)
        barrier.wait()
        for share in (10, 50, 100):
            with suppress(DriverUnavailable):
                door.publish(table("shop", {f"shop-{epoch}": share}), epoch=epoch)

    threads = [threading.Thread(target=write, args=(epoch,)) for epoch in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert envoy(tmp_path).epoch() == 8
    assert tables(tmp_path)["shop"]["weights"] == {"shop-8": 100}
    assert "shop-8" in (tmp_path / "frontdoor" / "rds.json").read_text()


def test_a_writer_that_was_stopped_in_the_middle_is_told_of_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "_PATIENCE_S", 0.05)
    door = envoy(tmp_path)
    door.publish(BLUE, epoch=1)

    with (tmp_path / "frontdoor" / "epoch.lock").open("w") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with pytest.raises(DriverUnavailable, match="does not come to an end") as raised:
            door.publish(GREEN, epoch=2)
    assert "kill it" in raised.value.fix

    door.publish(GREEN, epoch=2)


def test_an_epoch_that_a_power_cut_left_unreadable_is_none(tmp_path: Path) -> None:
    envoy(tmp_path).publish(BLUE, epoch=7)
    (tmp_path / "frontdoor" / "epoch").write_text("")

    assert envoy(tmp_path).epoch() == 0
    envoy(tmp_path).publish(GREEN, epoch=1)
