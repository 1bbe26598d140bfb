"""The pure parts of `make bench-gate`: what guests really waited, what is missing, rows, tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gate import __main__ as command
from benchmarks.gate import plan, ramp, rivals, tables
from benchmarks.gate.ledger import Ledger, Run
from benchmarks.gate.scenarios import (
    EXPERIMENTS,
    RAMPS,
    SCENARIOS,
    STALL_EVERY_S,
    USUAL_P50_MS,
    Experiment,
    Injection,
    Scenario,
    own_tails,
    own_time,
    shift,
    tail,
)
from benchmarks.gate.serving import Placement
from benchmarks.gate.stalls import Record, read_record, truth
from benchmarks.gate.work import fitting
from benchmarks.rows import publish, published, today
from noren.gates.duet import ROW

STALLS = next(s for s in SCENARIOS if s.recorded)
NOTHING = SCENARIOS[0]
UNTIL_S, ZERO_S, WAY_S, WORK_S = 100.0, 5000.0, 0.001, 0.01


def schedule(rate: int = 50) -> Any:
    """Evenly spread, so that a quantile can be told by hand."""
    return np.arange(0, UNTIL_S, 1 / rate)


def rows_of(due_s: Any) -> Any:
    return np.array([(n, due, 0.0, 0, True, False) for n, due in enumerate(due_s)], dtype=ROW)


def served(due_s: Any, pauses: list[tuple[float, float]]) -> Record:
    """A service without a queue that stands still: who comes then is answered right after."""
    came = np.array([next((end for begin, end in pauses if begin <= due < end), due + WAY_S) for due in due_s])
    return Record(
        asked=np.arange(len(due_s)),
        came_s=ZERO_S + came,
        left_s=ZERO_S + came + WORK_S,
        pauses=ZERO_S + np.array(pauses).reshape(-1, 2),
    )


FIVE_STALLS = [(10.0 + 20 * n, 11.0 + 20 * n) for n in range(5)]  # 5 % of the time, so p99 lies at 0.8 of a stall


def test_the_wait_counts_from_when_a_request_was_due_and_not_from_when_it_came() -> None:
    found = truth(served(schedule(), FIVE_STALLS), rows_of(schedule()), UNTIL_S)

    assert found.p99_ms == pytest.approx(1000 * (0.8 + WORK_S), rel=0.02)
    assert found.stalls == 5
    assert found.due_in_stalls == pytest.approx(1.0, abs=0.02)


def test_an_arrival_that_the_gate_left_out_counts_all_the_same() -> None:
    rows = rows_of(schedule())
    kept = rows[[not any(begin <= due < end for begin, end in FIVE_STALLS) for due in rows["due_s"]]]

    assert truth(served(schedule(), FIVE_STALLS), kept, UNTIL_S).p99_ms == pytest.approx(810, rel=0.03)


def test_a_schedule_that_spares_the_stalls_is_seen() -> None:
    spared = np.array([due for due in schedule() if not any(begin <= due < end for begin, end in FIVE_STALLS)])

    assert truth(served(spared, FIVE_STALLS), rows_of(spared), UNTIL_S).due_in_stalls == 0.0


def test_who_was_never_answered_waited_longer_than_anybody() -> None:
    record = served(schedule(), [])
    half = slice(0, len(record.asked) // 2)
    cut = Record(asked=record.asked[half], came_s=record.came_s[half], left_s=record.left_s[half], pauses=record.pauses)

    assert truth(cut, rows_of(schedule()), UNTIL_S).p99_ms > 1e6


def test_only_what_was_looked_at_counts() -> None:
    late_stall = [(60.0, 61.0)]
    found = truth(served(schedule(), late_stall), rows_of(schedule()), 50.0)

    assert (found.stalls, found.due_in_stalls) == (0, 1.0)
    assert found.p99_ms == pytest.approx(1000 * WORK_S, abs=1)


def test_a_record_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "green.record"
    file.write_text("0 1.5 1.75\npause 2.0 3.0\n1 1.9 3.1\n2 4.0 4.")
    found = read_record(file)

    assert found.asked.tolist() == [0, 1]
    assert found.left_s.tolist() == [1.75, 3.1]
    assert found.pauses.tolist() == [[2.0, 3.0]]


def test_services_stand_still_on_the_same_clock_whenever_they_were_started() -> None:
    injection = Injection(pause_s=1, pause_every_s=20, pause_phase_s=7)
    assert injection.next_pause(100.0) == 107.0
    assert injection.next_pause(106.9) == 107.0
    assert injection.next_pause(107.5) == 127.0


def test_both_arms_stand_still_together_in_every_other_run_and_the_same_in_a_repetition() -> None:
    assert STALLS.both
    for number in range(6):
        blue, green = STALLS.both(number)
        apart_s = abs(blue.pause_phase_s - green.pause_phase_s)
        assert (apart_s == 0) == (number % 2 == 0)
        assert number % 2 == 0 or blue.pause_s < apart_s < STALL_EVERY_S - blue.pause_s
        assert STALLS.both(number) == (blue, green)


def test_the_first_look_at_services_that_stand_still_has_two_stalls_in_it() -> None:
    assert STALLS.gate.duration.total_seconds() / 3 >= 2 * STALL_EVERY_S


@pytest.mark.parametrize("usual_ms", [10.0, 25.0])
def test_a_delay_is_corrected_by_what_a_pilot_says_waiting_costs_besides(usual_ms: float) -> None:
    blue = np.full(1000, usual_ms)

    made = shift(0.15)(lambda injection: (blue, blue + 1.3 * injection.delay_ms + 0.5))  # 30 % and 0.5 ms more

    assert usual_ms + 1.3 * made.delay_ms + 0.5 == pytest.approx(1.15 * usual_ms, rel=0.05)


def test_a_tail_moves_p99_by_as_much_as_is_asked_for_and_p50_not_at_all() -> None:
    chance = np.random.default_rng(5)
    latencies = chance.lognormal(2.5, 0.5, size=400_000)

    half = latencies.size // 2
    made = tail(0.6)(lambda _: (latencies[:half], latencies[half:]))
    green = latencies + made.tail_ms * (chance.random(latencies.size) < made.tail_share)

    ratios = [float(np.quantile(green, q) / np.quantile(latencies, q)) for q in (0.5, 0.99)]
    assert ratios == pytest.approx([1.0, 1.6], rel=0.02)


@pytest.mark.parametrize("usual_ms", [8.0, USUAL_P50_MS, 20.0])
def test_time_of_its_own_makes_p50_grow_by_about_the_same_on_a_fast_and_on_a_slow_machine(usual_ms: float) -> None:
    blue, green = own_time(0.3)(3)

    assert (usual_ms + green.delay_ms) / (usual_ms + blue.delay_ms) == pytest.approx(1.3, abs=0.04)
    assert blue.seed != green.seed


def test_tails_of_their_own_differ_by_as_much_as_is_asked_for_and_nothing_else_does() -> None:
    chance = np.random.default_rng(5)
    arms = []
    for injection in own_tails(0.6)(3):
        latencies = chance.lognormal(np.log(USUAL_P50_MS), 0.3, size=400_000)
        arms.append(latencies + injection.tail_ms * (chance.random(latencies.size) < injection.tail_share))

    ratios = [float(np.quantile(arms[1], q) / np.quantile(arms[0], q)) for q in (0.5, 0.95, 0.99)]
    assert ratios == pytest.approx([1.0, 1.0, 1.6], rel=0.02)


@pytest.mark.parametrize(("took_ms", "trees"), [(0.1, 60), (2.7, 60), (5.4, 30), (1000.0, 10)])
def test_a_slow_machine_is_given_less_work_so_that_it_is_as_busy(took_ms: float, trees: int) -> None:
    assert fitting(took_ms) == trees


def test_a_pinned_service_gets_a_core_and_another_one_does_not() -> None:
    assert Placement(services=0, generator=1).argv(["serve"]) == ["taskset", "--cpu-list", "0", "serve"]
    assert Placement().argv(["serve"]) == ["serve"]


def test_locust_tells_the_p99_of_all_requests_together() -> None:
    head = "Type,Name,Request Count,99%\n"
    assert rivals.p99_ms(f"{head}POST,/predict,900,31\n,Aggregated,1000,140\n") == 140.0
    with pytest.raises(LookupError):
        rivals.p99_ms(f"{head},Aggregated,0,N/A\n")


def test_locust_alone_takes_as_long_for_both_as_the_gate_and_asks_about_as_often() -> None:
    argv = rivals.locust_argv("http://blue", Path("/somewhere/run"))
    assert argv[argv.index("--run-time") + 1] == "24s"
    assert argv[argv.index("--users") + 1] == "10"
    assert argv[argv.index("--host") + 1] == "http://blue"


def step(rate: int, outcome: str = "HOLD", distrust: str | None = None) -> Run:
    return {"rate": rate, "outcome": outcome, "distrust": distrust, "cpu": 0.5, "lag_ms": 1.0}


def test_a_generator_sustains_the_last_rate_before_the_one_that_is_refused() -> None:
    refusal = "the load generator used 80% of a core (limit 75%): it measured itself; lower the rate"
    steps = [step(50), step(100), step(200, "INVALID", refusal)]
    assert ramp.sustained(steps) == 100
    assert ramp.refused(steps)
    assert ramp.sustained([step(50, "INVALID", refusal)]) == 0


def test_a_rate_that_the_service_does_not_keep_says_nothing_of_the_generator() -> None:
    assert not ramp.refused([step(50), step(100, "FAIL")])
    assert not ramp.refused([step(50), step(100, "INVALID", "900 of 1000 requests to blue were dropped")])
    assert ramp.sustained([step(50), step(100, "FAIL")]) == 50


def run_of(experiment: Experiment, outcome: str = "PASS", **more: Any) -> Run:
    shared: Run = {"scenario": experiment.name, "took_s": 60.0, **more}
    if not isinstance(experiment, Scenario):
        return {**shared, "steps": [step(100), step(200, "INVALID", "the load generator was late")]}
    figures = {"p50": {"ratio": 1.01}, "p99": {"ratio": 0.97}, "errors": {"rate": 0.0}}
    return {
        "outcome": outcome,
        "seconds": 50.0,
        "figures": figures,
        "ratio": False,
        "mann_whitney": True,
        **shared,
    }


def arm(reported: float, true: float, due: float = 1.0) -> Run:
    return {"reported_p99_ms": reported, "p99_ms": true, "stalls": 6, "due_in_stalls": due}


def test_a_reported_p99_must_be_within_five_per_cent_of_the_truth_in_every_run() -> None:
    runs = [run_of(STALLS, arms={"blue": arm(800, 810), "green": arm(400, 810)})]
    found = {row.name.rpartition(": ")[2]: row for row in tables.rows(STALLS, runs)}
    assert not found["reported p99 / true p99, lowest of 2"].holds
    assert found["reported p99 / true p99, highest of 2"].holds
    assert found["arrivals due in stalls / expected"].value == 1.0


def test_a_rival_is_told_of_by_as_many_runs_as_it_was_asked_in() -> None:
    runs = [run_of(NOTHING, sequential=True), run_of(NOTHING, sequential=False), run_of(NOTHING)]
    names = {row.name: row.value for row in tables.rows(NOTHING, runs)}
    what = "nothing (quick): would fail by Locust's p99, one after the other, more than 10 %, of 2 runs"
    assert names[what] == 1
    assert "| 0 of 3 | 3 of 3 | 1 of 2 |" in tables.markdown(tables.rows(NOTHING, runs))


def test_an_experiment_without_a_run_has_no_row() -> None:
    assert not any(tables.rows(experiment, []) for experiment in EXPERIMENTS)


def test_runs_of_another_placement_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(run_of(NOTHING)) + "\n")  # before placement was recorded
    pinned, free = Ledger(file, pinned=True), Ledger(file, pinned=False)
    pinned.keep(run_of(NOTHING))
    pinned.keep(run_of(NOTHING))
    assert (len(pinned.of(NOTHING)), len(free.of(NOTHING))) == (2, 1)


def test_only_the_chosen_are_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs.jsonl", pinned=True)
    ledger.forget([NOTHING])  # nothing to forget is no error
    ledger.keep(run_of(NOTHING))
    ledger.keep(run_of(STALLS))
    ledger.forget([NOTHING])
    assert (len(ledger.of(NOTHING)), len(ledger.of(STALLS))) == (0, 1)


def test_what_is_left_is_told_by_how_long_it_took() -> None:
    runs = [run_of(STALLS)] * 4
    assert plan.minutes_left([(STALLS, runs)]) == pytest.approx((STALLS.runs - 4) * 1.0)
    assert plan.minutes_left([(STALLS, [])]) > STALLS.runs * 2
    assert "  4 of   6 runs,   2.0 minutes left" in plan.overview([(STALLS, runs)])


def test_locust_alone_is_expected_only_after_the_runs_in_which_it_is_asked() -> None:
    with_rival = plan.minutes_left([(NOTHING, [])])
    without = plan.minutes_left([(STALLS, [])])
    assert with_rival > without
    both_s = 2 * rivals.SECONDS
    early = [run_of(NOTHING) | {"took_s": 60.0 + both_s + 5}] * 10
    assert plan.minutes_left([(NOTHING, early)]) == pytest.approx(NOTHING.runs - 10)


def test_what_is_complete_is_published_and_what_is_not_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, published = tmp_path / "gate.md", tmp_path / "results"
    page.write_text("before\n<!-- bench-gate -->\nold\n<!-- /bench-gate -->\nafter\n")
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr("benchmarks.rows.RESULTS", published)
    monkeypatch.setattr(command, "FILE", tmp_path / "runs.jsonl")
    ledger = Ledger(tmp_path / "runs.jsonl", pinned=False)
    for _ in range(STALLS.runs):
        ledger.keep(run_of(STALLS, "HOLD", arms={"blue": arm(800, 810), "green": arm(805, 810)}))
    ledger.keep(run_of(NOTHING))
    ledger.keep(run_of(RAMPS[0]))

    assert command.main(["tables", "--no-pin"]) == 0

    rows = json.loads((published / "gate.json").read_text())["rows"]
    assert {row["name"].partition(" (")[0] for row in rows} == {STALLS.name}
    text = page.read_text()
    assert "| 1 s stall every 20 s in both | 120 s | 1.01x, 0.97x | 6 | 0 | 0 | 6 | 0 | 50 |" in text
    assert "reported p99 / true p99, lowest of 12 | 0.988 x | >= 0.95 | yes |" in text
    assert "nothing" not in text.partition("old")[0].replace("nothing is worse", "")
    said = capsys.readouterr().out
    assert "missing: nothing: 29 of 30 runs" in said
    assert f"missing: {RAMPS[0].name}: 2 of 3 runs" in said


def test_what_was_published_of_others_stays_with_its_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "gate.md"
    page.write_text("<!-- bench-gate -->\n<!-- /bench-gate -->\n")
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr("benchmarks.rows.RESULTS", tmp_path)
    monkeypatch.setattr(command, "FILE", tmp_path / "runs.jsonl")
    before = [*tables.rows(NOTHING, [run_of(NOTHING)] * 30), *tables.rows(STALLS, [run_of(STALLS, "FAIL")] * 6)]
    publish("gate", [replace(row, date="2026-01-31") for row in before], command="make bench-gate")
    ledger = Ledger(tmp_path / "runs.jsonl", pinned=False)
    for _ in range(STALLS.runs):
        ledger.keep(run_of(STALLS, "HOLD"))

    assert command.main(["tables", "--no-pin"]) == 0

    text = page.read_text()
    assert "| nothing | quick | 1.01x, 0.97x | 30 |" in text
    assert "| 1 s stall every 20 s in both | 120 s | 1.01x, 0.97x | 6 | 0 | 0 | 6 |" in text
    assert "2026-01-31 to " in text
    days = {row.name.partition(" (")[0]: row.date for row in published("gate")}
    assert days == {NOTHING.name: "2026-01-31", STALLS.name: today()}


def test_each_row_belongs_to_one_experiment() -> None:
    arms = {"blue": arm(1, 1)}
    runs = [run_of(e) | ({"arms": arms} if e is STALLS else {}) for e in EXPERIMENTS]
    every = [row for e, run in zip(EXPERIMENTS, runs, strict=True) for row in tables.rows(e, [run])]
    assert [row for e in EXPERIMENTS for row in tables.of(e, every)] == every
