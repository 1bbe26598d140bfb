"""A rollout goes on after everything of it ended at once; one that ends alone is undone as ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from noren.domain.actions import Action, Fail, Shift, Start, Wait
from noren.domain.decide import decide
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Strategy
from noren.domain.observation import Counts, Observation
from noren.domain.rollout import Rollout, record

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STRATEGY = Strategy(steps=(50, 100), step_wait=30 * SECOND, step_requests=0, bake=60 * SECOND)
GATES = Gates(smoke=False, load=LoadGate(enabled=False))


def revision(number: int) -> Revision:
    route = Route(prefix="/shop", host="shop.localhost")
    return Revision(deployment="shop", number=number, bento="shop:v1", route=route, strategy=STRATEGY, gates=GATES)


BLUE, GREEN = revision(1), revision(2)
SPLIT = {GREEN.name: 50, BLUE.name: 50}
SHIFTING = Rollout(
    green=GREEN,
    blue=BLUE,
    started_at=NOON,
    running_at=NOON,
    ready_at=NOON,
    step=0,
    step_at=NOON,
    counted_from=Counts(),
    step_green=Counts(),
    step_blue=Counts(),
)
BAKING = replace(SHIFTING, step=1, switched_at=NOON)


class World:
    """What runs, what answers, and how guests are split; every decision is recorded, as in a tick."""

    def __init__(self, rollout: Rollout, weights: dict[str, int]) -> None:
        self.rollout, self.weights, self.now = rollout, dict(weights), NOON
        self.running: dict[str, int] = {}
        self.ready: dict[str, int] = {}
        self.counts: dict[str, Counts] = {}

    def tick(self, seconds: float = 1, **ready: int) -> Action:
        self.now += seconds * SECOND
        self.ready |= {name.replace("_", "-"): count for name, count in ready.items()}
        seen = Observation(
            now=self.now,
            present={GREEN.name: 1, BLUE.name: 1},
            running=self.running | self.ready,
            ready=self.ready,
            weights=self.weights,
            counts=self.counts,
        )
        action = decide(self.rollout, seen)
        self.rollout = record(self.rollout, action, seen)
        if isinstance(action, Shift):
            self.weights = dict(action.weights)
        if isinstance(action, Start):
            self.running[action.revision.name] = 1
        return action


def test_after_a_reboot_guests_go_to_blue_until_both_are_back_and_then_as_before() -> None:
    world = World(SHIFTING, SPLIT)
    assert [world.tick(), world.tick()] == [Start(BLUE), Start(GREEN)]
    assert isinstance(world.tick(), Wait)
    world.counts = {GREEN.name: Counts(requests=100, errors=100)}  # nobody was there to answer

    assert world.tick(shop_1=1) == Shift({BLUE.name: 100}, 0)
    assert isinstance(world.tick(), Wait)
    assert world.tick(shop_2=1) == Wait("shop-2 and shop-1 are back")
    back = world.now
    assert world.tick() == Shift(SPLIT, 0)

    assert (world.rollout.phase, world.rollout.step_at, world.rollout.recovered_at) == ("shifting(50)", back, back)
    assert world.tick() == Wait("watching shop-2 at 50 %")
    assert world.tick(30) == Shift({GREEN.name: 100}, 1)


def test_after_a_reboot_in_the_bake_green_gets_its_guests_back_and_the_bake_begins_anew() -> None:
    world = World(BAKING, {GREEN.name: 100})
    for _ in range(3):
        world.tick()
    assert world.tick(50, shop_1=1) == Shift({BLUE.name: 100}, 1)
    world.tick(shop_2=1)

    assert world.tick() == Shift({GREEN.name: 100}, 1)
    assert world.tick(10) == Wait("baking: shop-1 stays warm")
    assert world.rollout.switched_at == NOON


def test_a_green_that_does_not_come_back_is_undone() -> None:
    world = World(SHIFTING, SPLIT)
    for _ in range(3):
        world.tick()
    world.tick(shop_1=1)

    assert isinstance(world.tick(590), Wait)
    assert world.tick(20) == Fail("shop-2 became unhealthy")


def test_a_green_that_ends_alone_or_for_the_second_time_is_undone() -> None:
    alone = World(SHIFTING, SPLIT)
    assert alone.tick(shop_1=1) == Fail("shop-2 became unhealthy")

    again = World(replace(SHIFTING, outage_at=NOON, recovered_at=NOON), SPLIT)
    assert again.tick() == Fail("shop-2 became unhealthy")


def test_a_reboot_is_no_reason_to_keep_what_was_superseded_or_has_no_blue() -> None:
    superseded = World(replace(SHIFTING, superseded_by=3), SPLIT)
    assert superseded.tick() == Fail("superseded by revision 3")

    first: Any = replace(SHIFTING, blue=None)
    assert World(first, {GREEN.name: 100}).tick() == Fail("shop-2 became unhealthy")
