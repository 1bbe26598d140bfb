"""200 rollouts in a row leave what one leaves: no process, port, descriptor, log, environment or evidence more."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noren.control.ports import GateRun
from noren.control.retention import Policy, Sweeper
from noren.domain.deployment import Revision, Server, Strategy
from noren.runtimes.attic import DiskAttic
from noren.runtimes.environment import name_of

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.control.conftest import House

ROLLOUTS, KEPT, SHARING = 200, 5, 4  # so many revisions in a row lock the same libraries
AT_ONCE = Strategy(steps=(100,), bake=timedelta(0))


@pytest.fixture
def home(tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder in which the drivers in memory leave what the real ones leave."""
    folder = tmp_path / "home"
    for name in ("logs", "gates", "envs", "stores"):
        (folder / name).mkdir(parents=True)
    start, judge = house.runtime.start, house.gate.start

    def start_and_litter(revision: Revision) -> None:
        name, version = revision.bento.split(":")
        bento = house.folder / "bentos" / name / version
        for index in range(revision.replicas):
            (folder / f"logs/{revision.name}.{index}.log").write_text("hello\n")
        environment = name_of(bento, revision.server)
        (folder / "envs" / environment).mkdir(exist_ok=True)
        (folder / f"envs/{environment}.lock").touch()
        (folder / f"stores/{name}-{version}-0a1b2c3d").mkdir(exist_ok=True)
        start(revision)

    def judge_and_litter(run: GateRun) -> None:
        (folder / "gates" / run.name).mkdir(exist_ok=True)
        (folder / "gates" / run.name / "request.json").write_text("{}")
        judge(run)

    monkeypatch.setattr(house.runtime, "start", start_and_litter)
    monkeypatch.setattr(house.gate, "start", judge_and_litter)
    return folder


def build(house: House, number: int) -> str:
    """A Bento whose locked libraries change now and then."""
    bento = f"shop:v{number}"
    house.build(bento)
    python = house.folder / f"bentos/shop/v{number}/env/python"
    python.mkdir(parents=True)
    (python / "requirements.txt").write_text(f"bentoml==1.4.{number // SHARING}\n")
    return bento


def sweeper(house: House, home: Path, *, kept: int) -> Sweeper:
    policy = Policy(revisions=kept, age=timedelta(days=36_500))
    attic = DiskAttic(home, house.folder)
    return Sweeper(house.store, attic, policy, look=house.loop.look, now=lambda: house.clock)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def counted(home: Path) -> Counter[str]:
    """How much of each kind lies in the home."""
    return Counter(
        {
            "logs": len(list((home / "logs").iterdir())),
            "gates": len(list((home / "gates").iterdir())),
            "environments": len([path for path in (home / "envs").iterdir() if path.is_dir()]),
            "locks": len([path for path in (home / "envs").iterdir() if path.is_file()]),
            "stores": len(list((home / "stores").iterdir())),
        }
    )


def test_two_hundred_rollouts_in_a_row_leave_what_a_few_leave(house: House, home: Path) -> None:
    before = descriptors(), threading.active_count()

    for number in range(1, ROLLOUTS + 1):
        house.live(build(house, number), strategy=AT_ONCE, server=Server.BENTOML)
        if number % 20 == 0:
            sweeper(house, home, kept=KEPT).sweep()

    assert house.weights() == {f"shop-{ROLLOUTS}": 100}
    # Of each of the revisions that are kept: its log, that of its copy as the next one's baseline, and a verdict.
    found = counted(home)
    assert found["logs"] <= 2 * KEPT
    assert found["gates"] == found["stores"] == KEPT
    assert found["environments"] == found["locks"] <= KEPT // SHARING + 2
    assert house.replicas() == {f"shop-{ROLLOUTS}": 1}
    assert list(house.door.tables) == ["shop"]
    assert set(house.door.tables["shop"].backends) == {f"shop-{ROLLOUTS}"}
    assert (descriptors(), threading.active_count()) == before
    assert len(house.store.revisions("shop")) == ROLLOUTS  # what was decided is remembered for good
    assert len([line for line in house.store.history(limit=100_000) if line.kind == "apply"]) == ROLLOUTS


def test_a_sweep_between_any_two_steps_takes_nothing_that_the_rollout_needs(house: House, home: Path) -> None:
    house.live(build(house, 1), strategy=AT_ONCE)
    house.live(build(house, 2 * SHARING), strategy=AT_ONCE)
    bento = build(house, 4 * SHARING)
    house.apply(bento)
    for _ in range(60):
        house.loop.tick()
        house.clock += timedelta(seconds=1)
        sweeper(house, home, kept=1).sweep(bentos=True)
        for revision in (1, 2, 3):  # the one before, which a rollback would go to, and both of the rollout
            assert (home / f"logs/shop-{revision}.0.log").exists() or revision == 1
        assert (house.folder / "bentos/shop" / bento.partition(":")[2] / "bento.yaml").exists()
    assert house.state() == "done"
    house.commands.rollback("shop")
    house.run(15)
    assert house.weights() == {"shop-2": 100}
