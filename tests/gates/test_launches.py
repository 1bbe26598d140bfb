"""Fresh copies of a live revision: asked what the gate would ask, and ended whatever happens."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noren.control.ports import Replica
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Slo, Strategy
from noren.domain.errors import Conflict, DriverError, NorenError, SpecError
from noren.domain.verdict import Check, Outcome
from noren.gates import files, launches
from noren.gates.duet import ROW, Measured, Plan, Samples, append, write_measured
from noren.gates.launches import Trial, measure
from noren.manifests.deployment_file import DeploymentFile
from noren.runtimes.memory import MemoryRuntime

LIVE = Revision(
    deployment="tea",
    number=7,
    bento="tea:v7",
    replicas=2,
    env={"KEY": "geheim"},
    route=Route(prefix="/tea", host="tea.localhost"),
    slo=Slo(p95_ms=1, error_rate=0.02),
    gates=Gates(load=LoadGate(enabled=False, rate=80, locustfile="# who asks\n")),
    strategy=Strategy(ready_within=timedelta(0)),
)
COPIES = ["calibrate_tea-1", "calibrate_tea-2"]
LENGTH = timedelta(seconds=3)
HELD = (Check(name="p50", outcome=Outcome.HOLD, detail="1.0x"),)

Measure = Callable[..., tuple[Check, ...]]  # gates.load.measure


class Told(MemoryRuntime):
    """Keeps what it was told, and has the live revision running."""

    def __init__(self, *, each_bytes: int = 0) -> None:
        super().__init__()
        self.each_bytes = each_bytes
        self.calls: list[str] = []
        super().start(LIVE)

    def start(self, revision: Revision) -> None:
        self.calls.append(f"start {revision.name}")
        super().start(revision)

    def stop(self, revision: str, *, grace: timedelta) -> None:
        self.calls.append(f"stop {revision}")
        super().stop(revision, grace=grace)

    def replicas(self) -> Sequence[Replica]:
        return [replace(replica, memory_bytes=self.each_bytes) for replica in super().replicas()]


def answering(checks: tuple[Check, ...] = HELD, seen: list[Plan] | None = None) -> Measure:
    """A load test that leaves four answers of each arm: one of the warm-up, one that was due too late."""

    def measured(plan: Plan, folder: Path, told: Callable[[Measured], None], *, core: int | None) -> tuple[Check, ...]:
        assert core is None  # the copies of this trial are no processes, so nothing of them can be placed
        if seen is not None:
            seen.append(plan)
        rows = [(number, due_s, 9.0, 0, True, False) for number, due_s in enumerate((-1.0, 0.5, 2.5, 3.5))]
        for arm in plan.targets:
            append(folder, arm, rows)
        empty = {arm: Samples(rows=np.empty(0, dtype=ROW)) for arm in plan.targets}
        found = Measured(arms=empty, ended=True)
        write_measured(folder, found, dict.fromkeys(plan.targets, len(rows)))
        told(found)
        return checks

    return measured


@pytest.fixture
def once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """One launch, with a load test of the test's own."""
    monkeypatch.setattr(launches, "_ASK_EVERY_S", 0.0)

    def run(runtime: Told, load: Measure, live: Revision = LIVE, **rest: Any) -> Any:
        monkeypatch.setattr("noren.gates.load.measure", load)
        trial = Trial(runtime=runtime, live=live, examples=rest.pop("examples", ()))
        return measure(trial, LENGTH, tmp_path / "launch-1", rest.pop("told", lambda _: None))

    return run


def test_two_copies_are_measured_as_the_gate_would_and_ended(once: Callable[..., Any], tmp_path: Path) -> None:
    runtime, plans, told = Told(), list[Plan](), list[Measured]()

    arms = once(runtime, answering(seen=plans), told=told.append)

    assert {name: samples.rows["due_s"].tolist() for name, samples in arms.items()} == {
        "green": [0.5, 2.5],
        "blue": [0.5, 2.5],
    }
    (plan,) = plans
    assert {arm: target.url for arm, target in plan.targets.items()} == {
        "green": "http://calibrate_tea-1-0:3000",
        "blue": "http://calibrate_tea-2-0:3000",
    }
    assert Path(plan.locustfile or "").read_text() == "# who asks\n"
    assert (plan.gate.rate, plan.gate.warmup, plan.gate.duration) == (40, LIVE.gates.load.warmup, LENGTH)
    assert plan.slo == Slo(error_rate=0.02)  # the limits of latency are not what is asked about
    assert len(told) == 1
    assert [call for call in runtime.calls if "start" in call] == [f"start {name}" for name in COPIES]
    assert runtime.wanted == {"tea-7": 2}
    assert "geheim" not in (tmp_path / "launch-1" / files.REQUEST).read_text()


def test_each_launch_has_a_schedule_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = list[Plan]()
    monkeypatch.setattr("noren.gates.load.measure", answering(seen=plans))
    for number in (1, 2):
        measure(Trial(runtime=Told(), live=LIVE, examples=()), LENGTH, tmp_path / f"launch-{number}", lambda _: None)
    assert plans[0].seed != plans[1].seed


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_the_copies_are_ended_whatever_happens(once: Callable[..., Any], error: type[BaseException]) -> None:
    runtime = Told()

    def breaks(*_: object, **_core: object) -> tuple[Check, ...]:
        assert set(runtime.wanted) == {"tea-7", *COPIES}
        raise error

    with pytest.raises(error):
        once(runtime, breaks)

    assert runtime.wanted == {"tea-7": 2}


def test_what_an_earlier_calibration_left_is_ended_first(once: Callable[..., Any]) -> None:
    runtime = Told()
    runtime.wanted[COPIES[0]] = 1

    once(runtime, answering())

    assert runtime.calls[:4] == [f"stop {name}" for name in COPIES] + [f"start {name}" for name in COPIES]


def test_a_copy_that_does_not_get_ready_is_shown_by_its_last_words(once: Callable[..., Any]) -> None:
    runtime = Told()
    runtime.sick.add(COPIES[1])

    with pytest.raises(DriverError, match=r"(?s)copy of tea-7 did not get ready \(not within 0:00:00\).*-2 started"):
        once(runtime, answering())

    assert runtime.wanted == {"tea-7": 2}


def test_a_copy_that_crashes_is_not_waited_for(once: Callable[..., Any]) -> None:
    runtime = Told()
    runtime.broken[COPIES[0]] = "ImportError: no tea"

    with pytest.raises(DriverError, match=r"(?s)did not get ready \(it ended\).*ImportError: no tea"):
        once(runtime, answering(), replace(LIVE, strategy=Strategy()))

    assert runtime.wanted == {"tea-7": 2}


def test_a_copy_that_was_stopped_by_someone_else_is_not_waited_for(once: Callable[..., Any]) -> None:
    class Stopped(Told):
        def replicas(self) -> Sequence[Replica]:
            return [replica for replica in super().replicas() if replica.revision != COPIES[1]]

    with pytest.raises(DriverError, match="it ended"):
        once(Stopped(), answering(), replace(LIVE, strategy=Strategy()))


def test_a_copy_that_ends_while_it_is_measured_spoils_the_measurement(once: Callable[..., Any]) -> None:
    runtime = Told()

    def meanwhile(*given: Any, **core: Any) -> tuple[Check, ...]:
        runtime.wanted.pop(COPIES[0])
        return answering()(*given, **core)

    with pytest.raises(DriverError, match="copy of tea-7 ended while it was measured"):
        once(runtime, meanwhile)

    assert runtime.wanted == {"tea-7": 2}


def test_copies_that_have_no_room_are_not_started(once: Callable[..., Any]) -> None:
    runtime = Told(each_bytes=100_000_000)
    runtime.spare = 230_000_000

    with pytest.raises(Conflict, match="230 MB of memory are to spare, and 2 copies of tea-7 ask for 240"):
        once(runtime, answering())

    assert not any("start" in call for call in runtime.calls)
    runtime.spare = 240_000_000
    once(runtime, answering())


@pytest.mark.parametrize(
    ("check", "error"),
    [
        (Check(name="trust", outcome=Outcome.INVALID, detail="too busy to measure on"), Conflict),
        (Check(name="load", outcome=Outcome.INVALID, detail="no user class in it"), DriverError),
        (Check(name="errors", outcome=Outcome.FAIL, detail="all 9 requests failed"), DriverError),
    ],
)
def test_what_cannot_be_trusted_is_said_and_not_used(
    once: Callable[..., Any], check: Check, error: type[NorenError]
) -> None:
    with pytest.raises(error, match=f"nothing was stored: {check.detail}"):
        once(Told(), answering((*HELD, check)))


def test_a_service_that_nobody_knows_what_to_ask_is_not_copied(once: Callable[..., Any]) -> None:
    runtime, live = Told(), replace(LIVE, gates=Gates())

    with pytest.raises(SpecError, match="nothing to send to tea-7"):
        once(runtime, answering(), live)

    assert runtime.calls == []
    once(runtime, answering(), live, examples=({"path": "/brew", "body": {}},))


def test_copies_that_do_not_end_are_named(once: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Told):
        def stop(self, revision: str, *, grace: timedelta) -> None:
            pass

    monkeypatch.setattr(launches, "_GONE_WITHIN_S", 0.0)
    with pytest.raises(DriverError, match="do not end: calibrate_tea-1, calibrate_tea-2") as raised:
        once(Endless(), answering())
    assert "noren down" in raised.value.fix


def test_no_deployment_can_have_the_name_of_a_copy() -> None:
    with pytest.raises(ValueError, match="name"):
        DeploymentFile.model_validate({"name": COPIES[0].rpartition("-")[0], "bento": "tea"})
