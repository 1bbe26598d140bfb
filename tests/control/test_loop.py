"""When the loop ticks, and what it does with trouble."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from noren.control.loop import Loop
from noren.control.ports import GateRun, Replica, made_of
from noren.domain.deployment import Revision, Strategy
from noren.domain.errors import DriverError, DriverUnavailable
from noren.domain.verdict import Outcome

if TYPE_CHECKING:
    from tests.control.conftest import House


def refuse_to_start(house: House, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    start = house.runtime.start

    def refuse(revision: Revision) -> None:
        if revision.deployment == name:
            raise error
        start(revision)

    monkeypatch.setattr(house.runtime, "start", refuse)


@pytest.mark.parametrize(
    "error",
    [DriverError("no", fix="mend it"), DriverUnavailable("no", fix="wait"), RuntimeError("a fault of ours")],
)
def test_one_deployments_trouble_does_not_stop_another(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    refuse_to_start(house, monkeypatch, "a", error)
    house.apply("a:v1")
    house.apply("b:v1")

    house.run(1)

    assert (house.state("a"), house.state("b")) == ("starting", "done")


def test_guests_of_a_green_that_a_person_gives_up_do_not_wait_for_another_look(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.settle()
    assert house.weights() == {"shop-1": 90, "shop-2": 10}
    house.clock += timedelta(seconds=0.1)
    house.commands.abort("shop")

    with monkeypatch.context() as changed:
        changed.setattr(house.runtime, "replicas", lambda: pytest.fail("it looked"))
        assert house.loop.tick() == 0.0

    assert house.weights() == {"shop-1": 100}
    house.settle()
    assert house.state() == "undone"


def test_what_was_seen_a_while_ago_is_looked_at_again_before_guests_are_moved(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.settle()
    house.clock += timedelta(seconds=1.1)
    house.runtime.wanted.pop("shop-1")
    house.commands.abort("shop")

    house.loop.tick()

    assert house.weights() == {"shop-1": 90, "shop-2": 10}  # nothing of blue answers


def test_trouble_is_told_to_who_asks_until_it_is_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        refuse_to_start(house, broken, "a", DriverError("no", fix="mend it"))
        house.apply("a:v1")
        house.run(1)
        assert house.loop.trouble("a") == "no\n  fix: mend it"
        assert house.loop.trouble("b") is None

    house.run(1)

    assert house.loop.trouble("a") is None


def test_a_bento_that_was_deleted_before_its_gate_stops_no_other_deployment(house: House) -> None:
    house.apply("a:v1")
    (house.folder / "bentos/a/v1/bento.yaml").unlink()
    house.apply("b:v1")

    house.run(1)

    assert (house.state("a"), house.state("b")) == ("gating", "done")


def test_a_driver_that_never_starts_green_ends_the_rollout_in_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_start(house, monkeypatch, "shop", DriverError("no", fix="mend it"))
    house.apply("shop:v1", strategy=Strategy(ready_within=timedelta(seconds=5)))

    house.run(6)

    assert house.state() == "undone"


def test_a_gate_that_cannot_be_started_leaves_the_decision_to_a_person_in_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: GateRun) -> None:
        raise DriverError("no locust here", fix="install it")

    monkeypatch.setattr(house.gate, "start", refuse)
    house.apply("shop:v1", strategy=Strategy(gate_within=timedelta(seconds=5)))

    house.run(16)

    assert house.state() == "held"
    assert "15 hold: no valid measurement in 3 attempts: the gate could not be started within 0:00:05" in (
        house.history()
    )


def test_the_same_complaint_is_logged_once_and_again_when_it_comes_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    house.runtime.wanted.clear()

    with monkeypatch.context() as trouble, capture_logs() as told:
        refuse_to_start(house, trouble, "shop", DriverError("no", fix="mend it"))
        for _ in range(3):
            house.loop.tick()
    assert [entry["problem"] for entry in told] == ["no\n  fix: mend it"]
    house.settle()

    house.runtime.wanted.clear()
    with capture_logs() as told:
        refuse_to_start(house, monkeypatch, "shop", DriverError("no", fix="mend it"))
        house.loop.tick()
    assert len(told) == 1


def test_values_of_environment_variables_are_never_logged(house: House) -> None:
    with capture_logs() as told:
        house.apply("shop:v1", env={"TOKEN": "geheim"})
        house.run(1)
    assert told
    assert "geheim" not in str(told)
    assert "geheim" not in repr(house.deployment())


def test_the_next_tick_is_sooner_the_more_there_is_to_do(house: House) -> None:
    idle = house.loop.tick()
    house.live("shop:v1")
    at_rest = house.loop.tick()
    house.gate.outcome = None
    house.apply("shop:v2")
    stepped = house.loop.tick()
    house.settle()
    waiting = house.loop.tick()

    assert idle == at_rest
    assert stepped < waiting < at_rest


class OneTick(Loop):
    """Remembers the pauses it was asked for, and stops after `ticks`."""

    ticks = 1
    error: Exception | None = None

    def tick(self) -> float:
        self.ticks -= 1
        if self.ticks <= 0:
            self.stop()
        if self.error:
            raise self.error
        return super().tick()


@pytest.mark.parametrize("error", [DriverUnavailable("no door", fix="wait"), ZeroDivisionError()])
def test_no_error_of_a_tick_ends_the_loop(house: House, error: Exception) -> None:
    loop = OneTick(house.store, house.drivers, lambda: house.clock)
    loop.ticks, loop.error = 3, error
    loop.wake()

    thread = threading.Thread(target=loop.run, daemon=True)
    with capture_logs() as told:
        thread.start()
        while thread.is_alive():
            loop.wake()
    assert loop.ticks == 0
    assert told


def test_a_loop_that_was_stopped_does_not_tick(house: House) -> None:
    loop = OneTick(house.store, house.drivers, lambda: house.clock)
    loop.stop()
    loop.run()
    assert loop.ticks == 1


def test_the_status_is_asked_of_the_drivers_even_between_ticks(house: House) -> None:
    house.live("shop:v1")
    house.runtime.wanted.clear()

    assert house.loop.look().of("shop") == []


def test_a_door_that_cannot_be_reached_stops_nothing_that_runs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.live("shop:v1")

    def gone() -> Sequence[Replica]:
        raise DriverUnavailable("Envoy does not answer", fix="wait")

    monkeypatch.setattr(house.door, "look", gone)
    with pytest.raises(DriverUnavailable):
        house.loop.tick()
    assert house.replicas() == {"shop-1": 1}


def test_a_deployment_that_cannot_be_read_is_served_as_it_was_while_the_others_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.live("shop:v1")
    deployments = house.store.deployments
    monkeypatch.setattr(house.store, "deployments", lambda: [d for d in deployments() if d.name != "shop"])
    house.restart()
    house.live("cart:v1")

    house.run(60, stride=5)

    assert house.weights() == {"shop-1": 100}
    assert house.replicas() == {"shop-1": 1, "cart-1": 1}


def test_after_a_history_is_lost_nothing_of_it_is_judged_or_served_in_the_place_of_a_new_revision(
    house: House,
) -> None:
    first = house.live("shop:v1")
    house.runtime.start(replace(first, number=2, bento="shop:lost"))
    house.gate.outcome = None

    green = house.apply("shop:v3")
    house.settle()

    assert (green.name, house.state()) == ("shop-2", "gating")
    assert house.runtime.made["shop-2"] == made_of(green)


def test_replicas_of_which_nobody_took_down_what_they_are_stay(house: House) -> None:
    house.live("shop:v1")
    house.runtime.made.clear()
    house.run(5)
    assert house.replicas() == {"shop-1": 1}
    assert house.runtime.made == {}


FULL = OSError(errno.ENOSPC, "No space left on device", "/home/x/replicas/a-1/0.json")


def test_a_full_disk_is_told_with_the_path_to_who_asks_and_stops_no_other_deployment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_start(house, monkeypatch, "a", FULL)
    house.apply("a:v1")
    house.apply("b:v1")

    house.run(1)

    assert (house.state("a"), house.state("b")) == ("starting", "done")
    assert "/home/x/replicas/a-1/0.json: No space left on device" in (house.loop.trouble("a") or "")


def test_a_look_that_the_disk_refuses_is_a_passing_trouble_of_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Sequence[Replica]:
        raise FULL

    house.live("shop:v1")
    monkeypatch.setattr(house.runtime, "replicas", refuse)
    with pytest.raises(DriverUnavailable, match="No space left on device"):
        house.loop.look()

    loop = OneTick(house.store, house.drivers, lambda: house.clock)
    loop.run()

    assert "0.json: No space left on device" in (loop.trouble("shop") or "")


def test_what_the_disk_refuses_before_the_look_is_told_too(house: House) -> None:
    loop = OneTick(house.store, house.drivers, lambda: house.clock)
    loop.error = FULL
    loop.run()
    assert "0.json: No space left on device" in (loop.trouble("shop") or "")


def test_a_command_that_comes_between_look_and_store_wins(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.settle()
    look = house.gate.look

    def abort_first(name: str) -> Any:
        monkeypatch.undo()
        house.commands.abort("shop")
        house.gate.give(name, Outcome.PASS)
        return look(name)

    monkeypatch.setattr(house.gate, "look", abort_first)
    house.loop.tick()  # would take down the verdict, but its deployment is stale now

    assert [v.outcome for v in house.store.verdicts("shop")] == [Outcome.PASS]
    assert house.state() == "undoing"
    house.settle()
    assert house.weights() == {"shop-1": 100}
