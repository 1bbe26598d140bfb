"""A control plane that dies or fails at any of its steps comes to the same end as one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from noren.domain.errors import DriverError
from noren.domain.observation import Counts
from noren.domain.verdict import Outcome

if TYPE_CHECKING:
    from tests.control.conftest import Fault, House


def first(house: House) -> None:
    house.apply("shop:v1")


def promotion(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")


def invalid_then_held(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.INVALID
    house.apply("shop:v2")


def failed_gate(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = Outcome.FAIL
    house.apply("shop:v2")


def too_many_errors(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(1)
    house.door.counts["shop-2"] = Counts(requests=100, errors=50)


def aborted_gate(house: House) -> None:
    house.live("shop:v1")
    house.gate.outcome = None
    house.apply("shop:v2")
    house.run(1)
    house.commands.abort("shop")


def superseded(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.apply("shop:v3")


def cold_rollback(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(30, stride=5)
    house.commands.rollback("shop")


def removal(house: House) -> None:
    house.live("shop:v1")
    house.apply("shop:v2")
    house.run(6)
    house.commands.remove("shop")


STORIES = [
    first,
    promotion,
    invalid_then_held,
    failed_gate,
    too_many_errors,
    aborted_gate,
    superseded,
    cold_rollback,
    removal,
]
Story = Callable[["House"], None]


@pytest.mark.parametrize("afterwards", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("error", [None, DriverError("no", fix="mend it")], ids=["killed", "DriverError"])
@pytest.mark.parametrize("story", STORIES)
def test_the_end_is_the_same_wherever_the_control_plane_breaks(
    story: Story, error: Exception | None, afterwards: bool, make_house: Callable[[Fault], House], never: Fault
) -> None:
    undisturbed = make_house(never)
    story(undisturbed)
    began = never.made
    undisturbed.run(75, stride=15)
    assert never.made > began

    for call in range(began, never.made):
        fault = replace(never, at=call, afterwards=afterwards, made=0, **({"error": error} if error else {}))
        house = make_house(fault)
        story(house)
        house.run(75, stride=15)
        assert house.end() == undisturbed.end(), f"broken at call {call}"
