"""What every attic promises, run by each of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noren.control.ports import Attic, Leftover, LeftoverKind
from noren.domain.deployment import Revision, Route
from noren.runtimes.attic import DiskAttic
from noren.runtimes.memory import MemoryAttic

NAMES = {
    LeftoverKind.LOG: "shop-1.0.log",
    LeftoverKind.GATE: "shop-1-20260101T120000-1",
    LeftoverKind.ENVIRONMENT: "0123456789abcdef",
    LeftoverKind.STORE: "shop-v1-01234567",
    LeftoverKind.BENTO: "shop:v1",
}
PLACES = {
    LeftoverKind.LOG: "home/logs/shop-1.0.log",
    LeftoverKind.GATE: "home/gates/shop-1-20260101T120000-1/request.json",
    LeftoverKind.ENVIRONMENT: "home/envs/0123456789abcdef/bin/python",
    LeftoverKind.STORE: "home/stores/shop-v1-01234567/bentos/shop/latest",
    LeftoverKind.BENTO: "bentoml/bentos/shop/v1/bento.yaml",
}
REVISION = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.localhost"))
Leave = Callable[[LeftoverKind], None]


@pytest.fixture(params=["memory", "disk"])
def attic_and_leave(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Attic, Leave]:
    """An attic, and what puts a thing of each kind into it."""
    if request.param == "memory":
        memory = MemoryAttic()

        def remember(kind: LeftoverKind) -> None:
            memory.things.append(Leftover(kind=kind, name=NAMES[kind], used_at=datetime.now(UTC)))

        return memory, remember

    def write(kind: LeftoverKind) -> None:
        place = tmp_path / PLACES[kind]
        place.parent.mkdir(parents=True)
        place.write_text("image: {}\n")

    return DiskAttic(tmp_path / "home", tmp_path / "bentoml"), write


def names(attic: Attic) -> list[str]:
    return [leftover.name for leftover in attic.find([REVISION])]


def test_an_empty_attic_has_nothing_in_it(attic_and_leave: tuple[Attic, Leave]) -> None:
    attic, _ = attic_and_leave
    assert names(attic) == []


@pytest.mark.parametrize("kind", LeftoverKind)
def test_what_was_left_is_found_and_once_removed_found_no_more(
    attic_and_leave: tuple[Attic, Leave], kind: LeftoverKind
) -> None:
    attic, leave = attic_and_leave
    leave(kind)

    (found,) = attic.find([REVISION])
    assert (found.kind, found.name, found.size_bytes) == (kind, NAMES[kind], 0)
    assert found.used_at.tzinfo is UTC
    assert attic.size_bytes(found) > 0
    assert attic.remove(found)
    assert attic.remove(found)  # a crash in between repeats it
    assert names(attic) == []


def test_removing_one_thing_leaves_the_others(attic_and_leave: tuple[Attic, Leave]) -> None:
    attic, leave = attic_and_leave
    for kind in LeftoverKind:
        leave(kind)
    for number, kind in enumerate(LeftoverKind, start=1):
        (one,) = [leftover for leftover in attic.find([REVISION]) if leftover.kind is kind]
        assert attic.remove(one)
        assert len(names(attic)) == len(LeftoverKind) - number
