"""What of old revisions may go, and what never does."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from noren.control import retention
from noren.control.audit import Asker
from noren.control.ports import Leftover, LeftoverKind
from noren.control.retention import Needs, Policy, Sweeper, expired, in_words, needs
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route, Strategy
from noren.domain.errors import DriverError, DriverUnavailable
from noren.domain.rollout import Rollout
from noren.runtimes.memory import MemoryAttic

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.control.conftest import House

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(revisions=2, age=30 * DAY)
LOG, GATE, ENVIRONMENT, STORE, BENTO = LeftoverKind
EVERYTHING_BUT_BENTOS = (LOG, GATE, ENVIRONMENT, STORE)


def revision(number: int, deployment: str = "shop") -> Revision:
    route = Route(prefix=f"/{deployment}", host=deployment)
    return Revision(deployment=deployment, number=number, bento=f"shop:v{number}", route=route)


def left(*users: str, kind: LeftoverKind = LOG, days_ago: float = 0) -> Leftover:
    return Leftover(kind=kind, name="x", used_at=NOON - days_ago * DAY, users=frozenset(users))


def needed(*used: int, newest: tuple[int, ...] = (8, 9), known: int = 9) -> Needs:
    return Needs(
        used=frozenset(f"shop-{n}" for n in used),
        newest=frozenset(f"shop-{n}" for n in newest),
        known=frozenset(f"shop-{n}" for n in range(1, known + 1)),
    )


@pytest.mark.parametrize("kind", LeftoverKind)
@pytest.mark.parametrize("days_ago", [0, 1000])
def test_what_is_in_use_stays_whatever_its_age_and_number(kind: LeftoverKind, days_ago: float) -> None:
    assert not expired(left("shop-1", kind=kind, days_ago=days_ago), needed(1), POLICY, NOON)
    assert not expired(left("shop-1", "shop-2", kind=kind, days_ago=days_ago), needed(2), POLICY, NOON)


@pytest.mark.parametrize("kind", LeftoverKind)
def test_the_newest_revisions_keep_theirs_and_older_ones_do_not(kind: LeftoverKind) -> None:
    assert not expired(left("shop-8", kind=kind), needed(), POLICY, NOON)
    assert expired(left("shop-7", kind=kind), needed(), POLICY, NOON)


@pytest.mark.parametrize("kind", LeftoverKind)
def test_what_is_shared_goes_with_the_last_who_shares_it(kind: LeftoverKind) -> None:
    assert not expired(left("shop-1", "shop-9", kind=kind), needed(), POLICY, NOON)
    assert expired(left("shop-1", "shop-2", kind=kind), needed(), POLICY, NOON)


@pytest.mark.parametrize("kind", EVERYTHING_BUT_BENTOS)
def test_what_nobody_used_for_long_goes_also_of_the_newest(kind: LeftoverKind) -> None:
    assert not expired(left("shop-9", kind=kind, days_ago=30), needed(), POLICY, NOON)
    assert expired(left("shop-9", kind=kind, days_ago=30.001), needed(), POLICY, NOON)


@pytest.mark.parametrize("kind", EVERYTHING_BUT_BENTOS)
def test_what_belongs_to_nobody_that_is_known_goes_by_its_age_alone(kind: LeftoverKind) -> None:
    for users in ((), ("gone-1",)):
        assert not expired(left(*users, kind=kind, days_ago=29), needed(), POLICY, NOON)
        assert expired(left(*users, kind=kind, days_ago=31), needed(), POLICY, NOON)


def test_a_bento_is_never_too_old_and_one_that_was_not_rolled_out_from_here_is_not_ours() -> None:
    assert not expired(left("shop-9", kind=BENTO, days_ago=1000), needed(), POLICY, NOON)
    assert not expired(left(kind=BENTO, days_ago=1000), needed(), POLICY, NOON)
    assert not expired(left("gone-1", kind=BENTO, days_ago=1000), needed(), POLICY, NOON)


def test_a_clock_that_was_moved_backwards_removes_nothing() -> None:
    assert not expired(left("shop-9"), needed(), POLICY, NOON - 1000 * DAY)


def test_live_previous_queued_rolling_and_running_revisions_are_in_use() -> None:
    rollout = Rollout(green=revision(7), blue=revision(3), started_at=NOON)
    shop = Deployment(name="shop", live=revision(3), previous=revision(2), queued=revision(8), rollout=rollout)
    made = {"shop": [revision(n) for n in range(1, 10)], "other": [revision(n, "other") for n in (1, 2, 3)]}

    found = needs([shop, Deployment(name="other")], made, {"shop-5_twin", "calibrate_shop-3"}, POLICY)

    assert found.used == {"shop-2", "shop-3", "shop-5", "shop-7", "shop-8", "calibrate_shop-3"}
    assert found.newest == {"shop-8", "shop-9", "other-2", "other-3"}
    assert len(found.known) == 12

    ended = replace(shop, rollout=replace(rollout, ended_at=NOON))
    assert "shop-7" not in needs([ended], made, (), POLICY).used


def sweeper(house: House, attic: MemoryAttic, **changes: Any) -> Sweeper:
    look = changes.pop("look", lambda: house.loop.look())
    return Sweeper(house.store, attic, POLICY, look=look, now=lambda: house.clock)


def filled(*kinds: LeftoverKind) -> MemoryAttic:
    """An attic in which each thing belongs to shop-1."""
    attic = MemoryAttic()
    attic.things = [
        Leftover(kind=kind, name=f"{kind} of shop-1", used_at=NOON, users=frozenset({"shop-1"})) for kind in kinds
    ]
    return attic


def outdate(house: House) -> None:
    """Roll out so many revisions that shop-1 is neither in use nor new."""
    for number in range(1, 5):
        house.live(f"shop:v{number}", strategy=Strategy(steps=(100,), bake=timedelta(0)))


def test_a_sweep_removes_what_has_expired_and_writes_it_down(house: House) -> None:
    outdate(house)
    attic = filled(LOG, GATE, BENTO)

    gone = sweeper(house, attic).sweep()

    assert [(one.kind, one.size_bytes) for one in gone] == [(LOG, 1000), (GATE, 1000)]
    assert [one.kind for one in attic.things] == [BENTO]
    told = house.store.history()[-1]
    assert (told.kind, told.deployment, told.who, told.message) == ("prune", "", "", "removed 1 log, 1 gate; 0.0 MB")
    assert sweeper(house, attic).sweep() == []
    assert house.store.history()[-1] == told


def test_nothing_goes_while_a_deployment_cannot_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(name: str) -> Deployment:
        raise DriverError(f"what is stored of {name} cannot be read", fix="use a newer Noren")

    outdate(house)
    house.live("cart:v1")
    readable = house.deployment()
    monkeypatch.setattr(house.store, "deployments", lambda: [readable])
    monkeypatch.setattr(house.store, "load", unread)
    attic = filled(LOG)

    with pytest.raises(DriverError, match="what is stored of cart cannot be read"):
        sweeper(house, attic).sweep()
    assert attic.things


def test_bentos_go_only_when_a_person_asks_for_it(house: House) -> None:
    outdate(house)
    attic = filled(BENTO)
    gone = sweeper(house, attic).sweep(bentos=True, by=Asker(who="ada", reason="the disk is full"))
    assert ([one.kind for one in gone], attic.things) == ([BENTO], [])
    told = house.store.history()[-1]
    assert (told.who, told.claimed, told.reason) == ("ada", True, "the disk is full")


def test_a_dry_run_tells_and_removes_nothing(house: House) -> None:
    outdate(house)
    attic, lines = filled(LOG, BENTO), len(house.store.history(limit=1000))
    assert [one.kind for one in sweeper(house, attic).sweep(bentos=True, dry_run=True)] == [LOG, BENTO]
    assert (len(attic.things), len(house.store.history(limit=1000))) == (2, lines)


def test_what_cannot_be_removed_is_not_said_to_be(house: House) -> None:
    outdate(house)
    attic = filled(LOG, ENVIRONMENT)
    attic.stuck.add("environment of shop-1")  # a process runs from it
    assert [one.kind for one in sweeper(house, attic).sweep()] == [LOG]
    assert house.store.history()[-1].message == "removed 1 log; 0.0 MB"


def test_what_a_rollback_goes_back_to_stays_while_it_is_under_way(house: House) -> None:
    outdate(house)
    attic = filled(LOG, ENVIRONMENT, BENTO)
    house.commands.rollback("shop", 1)
    assert sweeper(house, attic).sweep(bentos=True) == []
    house.run(30)
    assert sweeper(house, attic).sweep(bentos=True) == []


def test_without_a_look_at_the_machine_nothing_is_removed(house: House) -> None:
    outdate(house)
    attic = filled(LOG)

    def blind() -> Any:
        raise DriverUnavailable("Envoy does not answer", fix="wait")

    with pytest.raises(DriverUnavailable):
        sweeper(house, attic, look=blind).sweep()
    assert len(attic.things) == 1


def test_a_sweep_that_fails_is_not_the_last_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_FIRST", timedelta(0))
    monkeypatch.setattr(retention, "_EVERY", timedelta(0))
    outdate(house)
    attic, faults = filled(LOG), [ZeroDivisionError(), DriverUnavailable("no", fix="wait")]

    def look() -> Any:
        if faults:
            raise faults.pop()
        if not attic.things:
            swept.stop()
        return house.loop.look()

    swept = sweeper(house, attic, look=look)
    thread = threading.Thread(target=swept.run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert (faults, attic.things) == ([], [])


def test_what_was_removed_is_told_by_kind_and_size() -> None:
    some = [Leftover(kind=kind, name="x", used_at=NOON, size_bytes=1_234_000) for kind in (GATE, LOG, ENVIRONMENT, LOG)]
    assert in_words(some) == "2 logs, 1 gate, 1 environment; 4.9 MB"
    assert in_words([]) == "nothing; 0.0 MB"
