"""Two control planes of one home and one PostgreSQL: one acts, the other goes on when it cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from noren.machine import Marked, free_port
from noren.stores.sql import SqlStore

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from benchmarks.chaos.postgresql import PostgreSql
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same home, by the API of one and by that of the other."""

    houses: tuple[House, House]
    store: SqlStore

    def leads(self, house: House) -> bool:
        """In the words of the database."""
        return self.store.lease().holder.endswith(f":{house.ports['NOREN_PORT']}")

    def roles(self) -> tuple[House, House]:
        """The one that leads, and the one that waits."""
        first, second = self.houses
        return (first, second) if self.leads(first) else (second, first)

    def server(self, house: House) -> Marked:
        port = str(house.ports["NOREN_PORT"])
        (found,) = [p for p in house.processes("server") if p.leads and p.env["NOREN_PORT"] == port]
        return found


@pytest.fixture(scope="module")
def pair(new_house: Callable[[], House], postgresql: PostgreSql) -> Iterator[Pair]:
    """Both run, and echo:v1 is live."""
    first, url = new_house(), postgresql.new_url()
    (first.home / "noren.toml").write_text(f'database_url = "{url}"\n')
    second = replace(first, ports=first.ports | {"NOREN_PORT": free_port()})
    first.up()
    second.up()
    first.apply("echo:v1", "--wait", strategy={"steps": [100], "bake": "0s"})
    both = Pair(houses=(first, second), store=SqlStore(url))
    yield both
    both.store.engine.dispose()
    first.close()


def test_when_the_leader_dies_or_is_stopped_the_other_goes_on_and_no_guest_notices(pair: Pair) -> None:
    _, waits = pair.roles()
    with waits.traffic() as traffic:
        waits.apply("echo:v2", strategy={"step_wait": "8s"})  # the leader notices that another stored a command
        waits.until_state("shifting(50)")
        leads, waits = pair.roles()
        os.kill(pair.server(leads).pid, signal.SIGKILL)
        waits.until(partial(pair.leads, waits))
        assert waits.until_state("done", "undone") == "done"
        waits.until(waits.settled)
        leads.up()

        leads, waits = pair.roles()
        assert waits.live()[1] == "echo:v2"  # who waits answers too, and says who leads
        assert f"led by {pair.store.lease().holder}" in waits.run("status").out
        assert "led by" not in leads.run("status").out
        stopped = pair.server(leads)
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            waits.until(partial(pair.leads, waits))
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        waits.apply("echo:v1", "--wait", strategy={"step_wait": "1s", "bake": "1s"})
        waits.until(waits.settled)

    assert traffic.failures == []
    assert pair.store.lease().epoch >= 3
    assert [house.live()[1] for house in pair.houses] == ["echo:v1", "echo:v1"]
    assert len([p for p in waits.processes("envoy") if p.leads]) == 1
    assert len([p for p in waits.processes("replica") if p.leads]) == 1


def test_a_database_that_is_gone_for_a_while_loses_nothing_and_no_guest_notices(
    pair: Pair, postgresql: PostgreSql
) -> None:
    house = pair.houses[0]
    with house.traffic() as traffic:
        house.apply("echo:v2", strategy={"step_wait": "10s"})
        house.until_state("shifting(50)")
        house.run("pause", "echo")
        weights = house.weights()
        assert sorted(weights.values()) == [50, 50]

        postgresql.stop()
        try:
            for one in pair.houses:
                one.until(partial(_is_silent, one))
                assert "cannot be used now" in one.run("status", expect=5).err
            assert house.weights() == weights
        finally:
            postgresql.start()

        for one in pair.houses:
            one.until(one.look)
        assert (house.state(), house.weights()) == ("shifting(50)", weights)
        house.run("promote", "echo")
        assert house.until_state("done", "undone") == "done"
        house.until(house.settled)

    assert traffic.failures == []
    assert house.live()[1] == "echo:v2"


def _is_silent(house: House) -> bool:
    return house.look() == {}
