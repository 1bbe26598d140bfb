"""What people ask for: what is stored, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from noren.control.audit import Asker
from noren.control.use_cases import Commands
from noren.domain.capacity import Room
from noren.domain.deployment import Resources, Revision, Route, Server, Slo, Strategy, digest
from noren.domain.errors import Conflict, NotFound, SpecError, Stale
from noren.manifests.built import BentoStore

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
    asked = [line.partition(" ")[2] for line in house.history() if "apply" in line]
    assert asked == ["apply: shop-1: shop:v1", *["unchanged: apply: shop-1 is that already"] * 2]


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


@pytest.mark.parametrize("seconds", [None, 1, 6, 12], ids=["starting", "shifting(10)", "shifting(50)", "baking"])
def test_apply_of_what_is_live_during_a_rollout_calls_that_one_off_and_judges_nothing(
    house: House, seconds: int | None
) -> None:
    first = house.live("shop:v1")
    house.apply("shop:v2")
    if seconds is not None:
        house.run(seconds)
    gates = len(house.gate.runs)

    applied = house.commands.apply(replace(first, number=0))
    assert (applied.revision, applied.changed, applied.called_off) == (first, True, "shop-2")
    house.run(15)

    assert house.end() == ("undone", "shop-1 was applied again", first, None, None, {"shop-1": 100}, {"shop-1": 1})
    assert house.store.revisions("shop")[-1].number == 2
    assert len(house.gate.runs) == gates
    assert not house.commands.apply(replace(first, number=0)).changed


def test_apply_of_what_is_live_forgets_what_is_queued(house: House) -> None:
    first = house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.apply("shop:v3")
    applied = house.commands.apply(replace(first, number=0))
    house.run(20)

    assert applied.called_off == "shop-3"
    assert house.weights() == {"shop-1": 100}
    assert "shop-3" not in house.runtime.ever


def test_apply_of_what_was_live_when_its_replicas_are_being_stopped_rolls_it_out_anew(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(12)
    house.runtime.stop = lambda *_, **__: None  # type: ignore[method-assign]
    house.run(12)
    active = house.deployment().active
    assert active
    assert active.released

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


def test_a_command_that_changes_nothing_is_written_down_and_wakes_nobody(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.commands.pause("shop")
    before, woken, version = house.history(), house.woken, house.deployment().version

    house.commands.pause("shop")
    house.apply("shop:v2")

    assert house.history()[len(before) :] == [
        "13 unchanged: pause shop: it was so already",
        "13 unchanged: apply: shop-2 is that already",
    ]
    assert (house.woken, house.deployment().version) == (woken, version)


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


# Rollbacks


def test_a_rollback_to_a_revision_that_is_the_same_as_the_live_one_is_refused(house: House) -> None:
    at_once = Strategy(steps=(100,), bake=timedelta(0))
    for bento in ("shop:v1", "shop:v2", "shop:v1"):
        house.live(bento, strategy=at_once)
    assert house.weights() == {"shop-3": 100}

    with pytest.raises(Conflict, match="shop-1 is the same as shop-3, which is live: shop:v1"):
        house.commands.rollback("shop", 1)
    house.commands.rollback("shop", 2)
    house.settle()
    assert house.weights() == {"shop-2": 100}


def test_a_rollback_to_a_bento_that_is_gone_is_refused_before_anything_starts(house: House) -> None:
    house.live("shop:v1")
    house.live("shop:v2", strategy=Strategy(steps=(100,), bake=timedelta(0)))
    (house.folder / "bentos/shop/v1/bento.yaml").unlink()

    with pytest.raises(SpecError, match="'shop:v1' is not in the BentoML store"):
        house.commands.rollback("shop")
    assert house.deployment().active is None


def test_a_rollback_to_a_route_that_another_deployment_has_by_now_is_refused(house: House) -> None:
    at_once = Strategy(steps=(100,), bake=timedelta(0))
    house.live("shop:v1", route=Route(prefix="/old", host="old.localhost"), strategy=at_once)
    house.live("shop:v2", strategy=at_once)
    house.live("cart:v1", route=Route(prefix="/old", host="cart.localhost"), strategy=at_once)

    with pytest.raises(SpecError, match=r"route\.prefix '/old' belongs to the deployment 'cart'"):
        house.commands.rollback("shop")
    assert house.deployment().active is None


# Room


def cramped(house: House, **room: Any) -> None:
    """From here on the machine has only so much left."""
    house.commands = Commands(
        house.store,
        BentoStore(house.folder),
        now=lambda: house.clock,
        wake=lambda: None,
        room=lambda: Room(**room),
    )


def test_what_does_not_fit_beside_blue_is_refused_with_the_numbers_and_stores_no_revision(house: House) -> None:
    house.live("shop:v1", replicas=2)
    cramped(house, spare_bytes=500_000_000, memory_bytes={"shop-1": 1_000_000_000})
    said = (
        "2 replicas of shop:v2 would take 1200 MB of memory beside shop-1, which keeps its size until the bake ends, "
        "and 500 MB are to spare"
    )
    with pytest.raises(Conflict, match=said) as refused:
        house.apply("shop:v2", replicas=2)

    assert "resources.memory" in refused.value.fix
    assert [r.number for r in house.store.revisions("shop")] == [1]
    assert house.history()[-1] == f"12 refused: apply: {said}"
    cramped(house, spare_ports=1)
    with pytest.raises(Conflict, match=r"would take 2 TCP ports beside shop-1, .* and 1 are to spare"):
        house.apply("shop:v2", replicas=2)


def test_in_an_emergency_what_a_broken_blue_takes_refuses_nothing(house: House) -> None:
    first = house.live("shop:v1")
    house.build("shop:v2")
    cramped(house, spare_bytes=1, memory_bytes={"shop-1": 9_000_000_000})

    wanted = replace(first, bento="shop:v2")
    house.commands.apply(wanted, Asker(reason="it eats all memory"), emergency=True)
    house.run(3)
    assert house.state() == "baking"


def test_a_green_that_is_smaller_than_blue_is_said_to_be(house: House) -> None:
    first = house.live("shop:v1", replicas=3)
    house.build("shop:v2")

    applied = house.commands.apply(replace(first, bento="shop:v2", replicas=1))

    assert applied.notes == (
        "shop-1 has 3 replicas, and 1 will take their place: each of them gets more guests than one has now",
    )
    assert house.history()[-1] == f"12 apply: shop-2: shop:v2 ({applied.notes[0]})"


def test_green_is_as_large_as_blue_before_it_gets_half_of_the_traffic_and_blue_keeps_its_size(house: House) -> None:
    house.live("shop:v1", replicas=3)
    house.apply("shop:v2", replicas=3)
    shares = set()
    for _ in range(25):
        house.run(1)
        share = house.weights().get("shop-2", 0)
        shares.add(share)
        ready = house.loop.look().observation("shop").ready
        assert share < 50 or ready["shop-2"] >= 3
        assert house.state() == "done" or ready["shop-1"] == 3
    assert shares == {10, 50, 100}


def test_a_green_that_lost_a_replica_does_not_get_half_of_the_traffic(house: House) -> None:
    house.live("shop:v1", replicas=3)
    house.apply("shop:v2", replicas=3)
    house.run(1)
    house.runtime.wanted["shop-2"] = 2
    house.run(10)
    assert (house.state(), house.weights()) == ("undone", {"shop-1": 100})
