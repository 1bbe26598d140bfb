"""What people ask for: what is stored, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from noren.domain.deployment import Resources, Revision, Route, Server, Slo, digest
from noren.domain.errors import Conflict, NotFound, SpecError, Stale

if TYPE_CHECKING:
    from tests.control.conftest import House


def test_apply_resolves_latest_to_the_exact_bento_of_that_moment(house: House) -> None:
    house.build("shop:v1")
    made = house.commands.apply(
        Revision(deployment="shop", number=77, bento="shop:latest", route=Route(prefix="/shop", host="shop.localhost"))
    )
    assert (made.revision.bento, made.revision.number, made.changed) == ("shop:v1", 1, True)
    assert house.store.revisions("shop") == [made.revision]


def test_apply_of_exactly_what_is_on_its_way_or_live_changes_nothing(house: House) -> None:
    first = house.apply("shop:v1")
    again = house.apply("shop:v1")
    house.run(1)
    live = house.apply("shop:v1")

    assert first == again == live
    assert house.store.revisions("shop") == [first]
    assert len([line for line in house.history() if "apply" in line]) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": 2},
        {"workers": 2},
        {"server": Server.BENTOML},
        {"resources": Resources(cpu=0.5)},
        {"env": {"A": "1"}},
        {"slo": Slo(p95_ms=1)},
        {"route": Route(prefix="/x", host="x")},
    ],
    ids=str,
)
def test_apply_of_anything_different_is_a_new_revision(house: House, change: dict[str, Any]) -> None:
    house.live("shop:v1")
    assert house.apply("shop:v1", **change).number == 2


def test_apply_of_what_is_live_during_another_rollout_supersedes_that_one(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    assert house.apply("shop:v1").number == 3


def test_apply_again_after_an_abort_tries_again(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.commands.abort("shop")
    house.settle()
    assert house.apply("shop:v2").number == 3


def test_two_revisions_are_the_same_but_for_their_number(house: House) -> None:
    made = house.apply("shop:v1", env={"A": "1", "B": "2"})
    assert digest(made) == digest(replace(made, number=99, env={"B": "2", "A": "1"}))
    assert digest(made) != digest(replace(made, bento="shop:v2"))


def test_apply_of_a_bento_that_was_never_built_stores_nothing(house: House) -> None:
    house.build("shop:v1")
    with pytest.raises(SpecError, match=r"'shop:v9' is not in the BentoML store.*shop:v1"):
        house.commands.apply(
            Revision(deployment="shop", number=0, bento="shop:v9", route=Route(prefix="/", host="shop"))
        )
    assert house.store.deployments() == []


@pytest.mark.parametrize(
    ("route", "taken"),
    [
        (Route(prefix="/shop", host="other.localhost"), "route.prefix '/shop'"),
        (Route(prefix="/other", host="shop.localhost"), "route.host 'shop.localhost'"),
    ],
)
def test_a_route_that_belongs_to_another_deployment_is_refused(house: House, route: Route, taken: str) -> None:
    house.apply("shop:v1")  # on its way, not yet live
    with pytest.raises(SpecError, match=f"{taken} belongs to the deployment 'shop'"):
        house.apply("other:v1", route=route)
    assert not house.exists("other")


def test_a_route_is_free_again_when_its_deployment_is_gone(house: House) -> None:
    house.live("shop:v1")
    house.commands.remove("shop")
    house.settle()
    house.apply("other:v1", route=Route(prefix="/shop", host="shop.localhost"))
    assert house.exists("other")


def test_a_route_that_still_has_guests_is_not_free_while_the_next_revision_moves_away(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2", route=Route(prefix="/new", host="new.localhost"))
    with pytest.raises(SpecError, match="'/shop' belongs to the deployment 'shop'"):
        house.apply("other:v1", route=Route(prefix="/shop", host="other.localhost"))
    with pytest.raises(SpecError, match="'/new' belongs to the deployment 'shop'"):
        house.apply("third:v1", route=Route(prefix="/new", host="third.localhost"))


@pytest.mark.parametrize("verb", ["promote", "abort", "pause", "resume", "rollback", "remove"])
def test_every_command_of_an_unknown_deployment_is_not_found(house: House, verb: str) -> None:
    with pytest.raises(NotFound, match="no deployment named 'nosuch'"):
        getattr(house.commands, verb)("nosuch")


def test_a_command_that_changes_nothing_is_not_written_down(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.pause("shop")
    before, woken = house.history(), house.woken

    house.commands.pause("shop")

    assert (house.history(), house.woken) == (before, woken)


def test_a_command_wakes_the_loop_once_it_is_stored(house: House) -> None:
    house.apply("shop:v1")
    house.commands.abort("shop")
    assert house.woken == 2


def test_a_command_that_meets_a_tick_is_decided_again_on_what_the_tick_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    load = house.store.load

    def tick_in_between(name: str) -> Any:
        monkeypatch.undo()
        loaded = load(name)
        house.loop.tick()
        house.loop.tick()
        return loaded

    monkeypatch.setattr(house.store, "load", tick_in_between)
    after = house.commands.pause("shop")

    assert after.rollout
    assert after.rollout.paused
    assert after.rollout.running_at  # what the ticks stored is still there


def test_a_command_gives_up_when_someone_else_is_always_faster(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.apply("shop:v1")

    def never(*_: object, **__: object) -> Any:
        raise Stale("shop was changed", fix="repeat")

    monkeypatch.setattr(house.store, "save", never)
    with pytest.raises(Conflict):
        house.commands.pause("shop")
