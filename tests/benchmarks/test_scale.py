"""What the control loop asks of its store and of itself for many deployments: counted, as no time can be relied on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from benchmarks.scale.__main__ import STEPS
from benchmarks.scale.figures import Figures, rows
from benchmarks.scale.plane import REPLICAS, Plane
from noren.control.ports import Replica


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture(params=[3, 30])
def plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path, request.param)
    yield made
    made.close()


def test_a_tick_at_rest_is_one_statement_however_many_deployments_there_are(plane: Plane) -> None:
    assert [plane.tick().statements for _ in range(2)] == [1, 1]


def test_only_a_deployment_that_takes_a_step_asks_the_store_again(plane: Plane) -> None:
    plane.apply(2)
    statements = [plane.tick().statements for _ in range(STEPS)]

    assert len(plane.store.events("shop0")) >= 4  # it did take steps
    assert max(statements) <= 1 + 2 * 5
    assert plane.store.load("shop0").version > plane.store.load("shop2").version


class Counted(list[Replica]):
    """Replicas, and how often somebody went through all of them."""

    times = 0

    def __iter__(self) -> Iterator[Replica]:
        self.times += 1
        return super().__iter__()


def test_a_tick_goes_through_all_replicas_once_and_not_once_for_each_deployment(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Counted] = []
    look = plane.runtime.replicas

    def counted() -> Sequence[Replica]:
        seen.append(Counted(look()))
        return seen[-1]

    monkeypatch.setattr(plane.runtime, "replicas", counted)
    plane.tick()

    assert [len(replicas) % REPLICAS for replicas in seen] == [0]
    assert [replicas.times for replicas in seen] == [1]


def figures(size: int, *, rest_s: float, rest_statements: int = 1) -> Figures:
    return Figures(
        size=size,
        rest_s=rest_s,
        rest_statements=rest_statements,
        memory_mb=100,
        stepping=size // 100,
        busy_s=2 * rest_s,
        busy_statements=1 + 4 * size // 100,
    )


def test_what_grows_with_the_number_of_deployments_holds_and_what_grows_faster_does_not() -> None:
    linear = rows([figures(1_000, rest_s=0.1), figures(10_000, rest_s=1.1)])
    quadratic = rows([figures(1_000, rest_s=0.1), figures(10_000, rest_s=9.0, rest_statements=10_001)])

    assert all(row.holds for row in linear)
    assert [row.value for row in linear if row.unit == "x"] == [1.1, 1.1]
    assert len([row for row in quadratic if not row.holds]) == 3


def test_a_small_number_of_deployments_is_not_what_growth_is_judged_by() -> None:
    assert [row for row in rows([figures(100, rest_s=0.1), figures(1_000, rest_s=0.1)]) if row.unit == "x"] == []
