"""One of several control planes acts, whatever dies, stops or sets its clock; the others change nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noren.control.clock import SteadyClock
from noren.control.leading import Leadership, LedLoop
from noren.control.ports import Lease, Table
from noren.control.reconcile import Drivers
from noren.control.use_cases import Commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route, Strategy
from noren.domain.errors import DriverUnavailable, Stale
from noren.domain.verdict import Outcome
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.manifests.built import BentoStore
from noren.runtimes.memory import MemoryRuntime
from noren.stores.memory import MemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEASE_S = 5.0


class Fickle(MemoryStore):
    """A store that can be out of reach, or not be written."""

    readable = writable = True

    def lease(self) -> Lease:
        if not self.readable:
            raise DriverUnavailable("no database", fix="wait")
        return super().lease()

    def take(self, lease: Lease, *, instead_of: Lease) -> bool:
        if not self.writable:
            raise DriverUnavailable("no space", fix="wait")
        return super().take(lease, instead_of=instead_of)


@dataclass
class Town:
    """A store, a front door, and control planes that may set their clocks."""

    seconds: float = 0.0  # that passed, as nobody can change it

    def __post_init__(self) -> None:
        self.store, self.door = Fickle(), MemoryFrontDoor()

    def plane(self, name: str, *, ahead: timedelta = timedelta(0)) -> Plane:
        return Plane(self, name, ahead)


class Plane:
    def __init__(self, town: Town, name: str, ahead: timedelta) -> None:
        self.town, self.ahead = town, ahead
        self.now = SteadyClock(lambda: NOON + timedelta(seconds=town.seconds) + self.ahead, lambda: town.seconds)
        self.leadership = Leadership(
            town.store,
            holder=name,
            seconds=LEASE_S,
            now=self.now,
            clock=lambda: town.seconds,
            heard=town.door.epoch,
        )

    def claim(self) -> bool:
        return self.leadership.claim()


@pytest.fixture
def town() -> Town:
    return Town()


def pass_time(town: Town, seconds: float, *living: Plane) -> list[bool]:
    """Every living plane claims twice a second. Who leads at the end."""
    for _ in range(int(seconds * 2)):
        town.seconds += 0.5
        for plane in living:
            plane.claim()
    return [plane.leadership.epoch is not None for plane in living]


# The lease


def test_the_first_that_claims_leads_and_the_second_waits(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")

    assert first.claim()
    assert not second.claim()
    assert pass_time(town, 60, first, second) == [True, False]
    assert (first.leadership.epoch, town.store.lease().epoch) == (1, 1)
    assert first.leadership.leader == second.leadership.leader == "first"


def test_when_the_leader_dies_the_other_goes_on_within_the_lease_by_a_higher_epoch(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 10, first, second)

    assert pass_time(town, LEASE_S - 0.5 - 0.4 * LEASE_S, second) == [False]
    assert pass_time(town, 0.4 * LEASE_S + 1, second) == [True]

    assert second.leadership.epoch == 2
    assert second.leadership.leader == "second"


def test_a_leader_that_is_ended_in_order_is_not_waited_for(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 3, first, second)

    first.leadership.resign()
    first.leadership.resign()

    assert second.claim()
    assert second.leadership.epoch == 2


def test_a_control_plane_that_is_started_again_takes_over_from_itself_at_once(town: Town) -> None:
    first = town.plane("first")
    first.claim()

    again = town.plane("first")

    assert again.claim()
    assert again.leadership.epoch == 2
    assert pass_time(town, 3, first, again) == [False, True]  # should both live after all, they do not take turns
    assert again.leadership.epoch == 2


def test_a_leader_that_was_stopped_for_a_while_finds_out_before_it_changes_anything(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 3, first, second)
    pass_time(town, 10, second)

    with pytest.raises(DriverUnavailable, match="second leads now"):
        first.leadership.require()
    assert not first.claim()
    assert second.leadership.require() == 2


def test_a_leader_asks_the_store_only_when_a_beat_is_due(town: Town) -> None:
    first = town.plane("first")
    first.claim()
    town.store.readable = town.store.writable = False

    town.seconds += 1.9
    assert first.claim()
    town.seconds += 0.2
    with pytest.raises(DriverUnavailable):
        first.claim()


def test_nobody_takes_over_from_who_could_only_not_say_that_it_lives(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 3, first, second)

    town.store.writable = False
    for _ in range(60):
        town.seconds += 0.5
        assert first.claim()  # nobody else can have taken the lease, and what serves is to be looked after
        with suppress(DriverUnavailable):
            assert not second.claim()
    town.store.writable = True

    assert not second.claim()
    assert pass_time(town, 10, first, second) == [True, False]
    assert first.leadership.epoch == 1


def test_an_outage_of_the_store_makes_no_other_leader(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 3, first, second)

    town.store.readable = False
    for plane in (first, second) * 30:
        town.seconds += 0.5
        with suppress(DriverUnavailable):
            plane.claim()
    town.store.readable = True

    assert not second.claim()
    assert pass_time(town, 10, first, second) == [True, False]
    assert first.leadership.epoch == 1


def test_an_epoch_is_above_all_that_the_front_door_has_heard(town: Town) -> None:
    town.door.publish(Table(deployment="shop", route=Route(prefix="/s", host="s"), backends={}, weights={}), epoch=57)

    first = town.plane("first")  # with a store that was put back from a copy

    assert first.claim()
    assert first.leadership.epoch == 58


hours = st.integers(-48, 48).map(lambda hours: timedelta(hours=hours))
steps = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 2.0, 4.9, 5.0, 20.0]), st.sets(st.sampled_from([0, 1, 2])), hours), max_size=40
)


@given(steps)
def test_however_they_stop_and_set_their_clocks_only_one_can_change_anything(
    story: list[tuple[float, set[int], timedelta]],
) -> None:
    town = Town()
    planes = [town.plane(name) for name in "abc"]
    last = 0
    for passed, awake, ahead in story:
        town.seconds += passed
        for number in awake:
            planes[number].ahead = ahead
            planes[number].claim()
        epoch = town.store.lease().epoch
        assert epoch >= last
        last = epoch
        able = [plane for plane in planes if _can_save(town, plane)]
        assert len(able) <= 1


def _can_save(town: Town, plane: Plane) -> bool:
    epoch = plane.leadership.epoch
    if epoch is None:
        return False
    stored = next(iter(town.store.deployments()), Deployment(name="shop"))
    try:
        town.store.save(stored, epoch=epoch)
    except Stale:
        return False
    return True


# The loop


class Kitchen:
    """Two control planes over the same drivers in memory."""

    def __init__(self, folder: Path) -> None:
        self.town, self.runtime = Town(), MemoryRuntime()
        self.gate = MemoryGate(Outcome.PASS)
        self.planes = [self.town.plane(name) for name in ("first", "second")]
        drivers = Drivers(
            runtime=self.runtime,
            front_door=self.town.door,
            gate=self.gate,
            catalog=BentoStore(folder),
            front_door_url="http://127.0.0.1:7480",
        )
        self.loops = [LedLoop(self.town.store, drivers, plane.now, plane.leadership) for plane in self.planes]
        self.commands = [
            Commands(self.town.store, BentoStore(folder), now=plane.now, wake=loop.wake)
            for plane, loop in zip(self.planes, self.loops, strict=True)
        ]
        for number in (1, 2):
            manifest = folder / f"bentos/shop/v{number}/bento.yaml"
            manifest.parent.mkdir(parents=True)
            manifest.write_text("schema: {routes: [{route: /predict, input: {type: object, properties: {}}}]}")

    def apply(self, bento: str, *, through: int = 0) -> None:
        wanted = Revision(
            deployment="shop",
            number=0,
            bento=bento,
            route=Route(prefix="/shop", host="shop.localhost"),
            strategy=Strategy(step_wait=timedelta(seconds=5), step_requests=0, bake=timedelta(seconds=10)),
        )
        self.commands[through].apply(wanted)

    def run(self, seconds: int, *living: int) -> None:
        for _ in range(seconds):
            for number in living * 10:
                self.loops[number].tick()
            self.town.seconds += 1

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.town.door.look().weights.get("shop", {}))

    @property
    def phase(self) -> str:
        rollout = self.town.store.load("shop").rollout
        return rollout.phase if rollout else ""


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def test_a_command_to_one_that_waits_is_carried_out_by_the_one_that_leads(kitchen: Kitchen) -> None:
    kitchen.run(1, 0, 1)

    kitchen.apply("shop:v1", through=1)
    kitchen.run(3, 1)
    assert kitchen.runtime.wanted == {}

    kitchen.run(20, 0, 1)
    assert (kitchen.phase, kitchen.weights) == ("done", {"shop-1": 100})
    assert kitchen.planes[1].leadership.epoch is None


@pytest.mark.parametrize("dies_after_s", range(0, 25, 2))
def test_a_rollout_goes_on_wherever_its_leader_died(kitchen: Kitchen, dies_after_s: int) -> None:
    kitchen.apply("shop:v1")
    kitchen.run(20, 0, 1)
    kitchen.apply("shop:v2")
    kitchen.run(dies_after_s, 0, 1)

    kitchen.run(60, 1)

    assert (kitchen.phase, kitchen.weights) == ("done", {"shop-2": 100})
    assert kitchen.runtime.wanted.keys() == {"shop-2"}
    assert kitchen.town.door.epoch() == 2


def _stopped_before(call: Callable[..., object], meanwhile: Callable[[], None]) -> Callable[..., object]:
    """The call of a control plane that is stopped for a while right before it."""
    done: list[bool] = []

    def late(*arguments: object, **named: object) -> object:
        if not done:
            done.append(True)
            meanwhile()
        return call(*arguments, **named)

    return late


def test_a_leader_that_was_stopped_between_asking_and_writing_changes_nothing(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.apply("shop:v1")
    kitchen.run(20, 0, 1)
    kitchen.apply("shop:v2")
    kitchen.run(3, 0, 1)
    assert kitchen.weights == {"shop-1": 90, "shop-2": 10}

    def meanwhile() -> None:
        kitchen.run(7, 1)  # it takes over
        kitchen.commands[1].abort("shop")
        kitchen.run(3, 1)
        assert kitchen.weights == {"shop-1": 100}

    store = kitchen.town.store
    kitchen.town.seconds += 3  # the next step is due
    monkeypatch.setattr(store, "save", _stopped_before(store.save, meanwhile))
    kitchen.loops[0].tick()

    assert kitchen.weights == {"shop-1": 100}
    kitchen.run(60, 0, 1)
    assert (kitchen.phase, kitchen.weights) == ("undone", {"shop-1": 100})
    assert kitchen.planes[0].leadership.epoch is None


def test_a_leader_that_was_stopped_before_the_front_door_is_refused_there(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.apply("shop:v1")
    kitchen.run(20, 0, 1)
    kitchen.apply("shop:v2")
    kitchen.run(3, 0, 1)
    door = kitchen.town.door

    def meanwhile() -> None:
        kitchen.run(7, 1)
        kitchen.commands[1].abort("shop")
        kitchen.run(3, 1)

    kitchen.town.seconds += 3
    monkeypatch.setattr(door, "publish", _stopped_before(door.publish, meanwhile))
    kitchen.loops[0].tick()

    assert kitchen.weights == {"shop-1": 100}
    assert "another control plane leads this front door" in (kitchen.loops[0].trouble("shop") or "")
    kitchen.run(60, 0, 1)
    assert (kitchen.phase, kitchen.weights) == ("undone", {"shop-1": 100})
    assert kitchen.loops[0].trouble("shop") is None  # that is the leader's to say


def test_a_loop_that_was_stopped_lets_another_lead_at_once(kitchen: Kitchen) -> None:
    kitchen.run(1, 0, 1)
    kitchen.loops[0].stop()
    kitchen.loops[0].run()

    kitchen.loops[1].tick()

    assert kitchen.planes[1].leadership.epoch == 2


# The clock


def test_a_clock_that_is_set_moves_no_deadline_by_more_than_a_tenth() -> None:
    for jump in (timedelta(hours=-3), timedelta(hours=3), timedelta(days=-4000)):
        town = Town()
        plane = town.plane("only")
        began = plane.now()
        plane.ahead = jump
        for _ in range(600):
            town.seconds += 1
            before = plane.now()
            assert before >= began
        assert timedelta(seconds=540) <= plane.now() - began <= timedelta(seconds=660)


def test_a_clock_that_is_right_again_is_followed_until_it_is_reached() -> None:
    town = Town()
    plane = town.plane("only")
    plane.ahead = timedelta(seconds=-30)

    town.seconds += 400
    assert plane.now() == NOON + timedelta(seconds=370)


def test_after_a_restart_or_a_change_of_leader_what_was_stored_is_not_in_the_future() -> None:
    town = Town()
    first = town.plane("first")
    pass_time(town, 60, first)
    stored = first.now()

    second = town.plane("second", ahead=timedelta(hours=-5))
    pass_time(town, 10, second)

    assert second.leadership.epoch == 2
    assert stored <= second.now() <= stored + timedelta(seconds=12)


def test_a_lease_is_as_long_for_a_clock_that_was_set(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 10, first, second)

    second.ahead = timedelta(hours=-1)
    assert pass_time(town, LEASE_S + 1, second) == [True]


def test_a_lease_is_not_over_for_a_clock_that_jumped(town: Town) -> None:
    first, second = town.plane("first"), town.plane("second")
    pass_time(town, 10, first, second)

    second.ahead = first.ahead = timedelta(hours=1)

    assert pass_time(town, 10, first, second) == [True, False]
    assert town.store.lease().epoch == 1


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=300)])
def test_who_waits_dates_by_the_leaders_clock_whatever_its_own_says(town: Town, ahead: timedelta) -> None:
    first, second = town.plane("first"), town.plane("second", ahead=ahead)
    for _ in range(20):
        pass_time(town, 3, first, second)
        assert abs(second.now() - first.now()) <= timedelta(seconds=1.1 * LEASE_S)


def test_who_finds_a_leader_that_died_long_ago_goes_on_by_its_own_clock(town: Town) -> None:
    first = town.plane("first")
    pass_time(town, 10, first)

    town.seconds += 3 * 86_400
    second = town.plane("second")
    assert pass_time(town, LEASE_S + 1, second) == [True]

    assert second.now() == NOON + timedelta(seconds=town.seconds)


def test_a_deadline_comes_in_time_when_the_wish_came_through_one_whose_clock_is_ahead(kitchen: Kitchen) -> None:
    kitchen.planes[1].ahead = timedelta(hours=1)
    kitchen.run(5, 0, 1)
    kitchen.runtime.sick.add("shop-1")
    kitchen.apply("shop:v1", through=1)  # within 600 s it is ready, or undone

    kitchen.run(550, 0, 1)
    assert kitchen.phase == "warming"
    kitchen.run(100, 0, 1)
    assert kitchen.phase == "undone"
