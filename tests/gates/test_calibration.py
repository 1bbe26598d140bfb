"""What A/A runs tell of a machine, by launches whose truth is known because they are made up."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from noren.control.ports import GateRun
from noren.domain.deployment import Gates, LoadGate, Revision, Route, Slo
from noren.gates import files, load
from noren.gates.calibration import Calibration, calibrate, from_json, to_json
from noren.gates.duet import QUANTILES, ROW, Measured, Plan, Samples, Target
from noren.gates.judgement import judge, looks
from noren.gates.process import ProcessGate
from noren.machine import Machine

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DURATION_S = 20.0
SPREAD = 0.3  # of the log latency of requests


def arm(logs: Any, duration_s: float = DURATION_S) -> Samples:
    """Answers at a steady pace; `logs`: of latencies around 20 ms."""
    rows = np.zeros(len(logs), dtype=ROW)
    rows["arrival"] = np.arange(len(logs))
    rows["due_s"] = np.arange(len(logs)) * duration_s / len(logs)
    rows["latency_ms"] = 20 * np.exp(logs)
    rows["ok"] = True
    return Samples(rows=rows)


def launch(
    rng: np.random.Generator,
    *,
    sigma: float = 0.0,
    requests: int = 1000,
    alike: int = 1,
    shared: float = 0.0,
    duration_s: float = DURATION_S,
) -> Mapping[str, Samples]:
    """Two copies, each quicker or slower by `sigma`; `alike` requests in a row take equally long, and what happens to
    the machine in each of 40 stretches, with the spread `shared`, happens to both copies."""

    def one(common: Any) -> Samples:
        own = np.repeat(rng.normal(0, SPREAD, requests // alike), alike)
        return arm(rng.normal(0, sigma) + own + common, duration_s)

    common = np.repeat(rng.normal(0, shared, 40), requests // 40)
    return {"green": one(common), "blue": one(common)}


def calibrated(launches: list[Mapping[str, Samples]], **changes: Any) -> Calibration:
    facts: dict[str, Any] = {"rate": 50.0, "duration_s": DURATION_S} | changes
    return calibrate(launches, deployment="tea", bento="tea:v1", cores=2, measured_at=NOON, **facts)


def some(**changes: Any) -> Calibration:
    facts: dict[str, Any] = {
        "deployment": "tea", "bento": "tea:v1", "cores": 2, "launches": 5, "duration_s": 20.0, "rate": 50.0,
        "measured_at": NOON, "launch_sigma": 0.03, "launch_sigma_high": 0.06, "latency_ms": dict.fromkeys(QUANTILES, 9),
        "design_effect": dict.fromkeys(QUANTILES, 1.0), "scatter": dict.fromkeys(QUANTILES, 1.0),
    }  # fmt: skip
    return Calibration(**(facts | changes))


# How far launches are apart


@pytest.mark.parametrize("sigma", [0.02, 0.08])
def test_the_sigma_of_a_launch_is_found(sigma: float) -> None:
    rng = np.random.default_rng(1)
    found = calibrated([launch(rng, sigma=sigma) for _ in range(40)])

    assert found.launch_sigma == pytest.approx(sigma, rel=0.35)
    assert 0.9 * sigma < found.launch_sigma_high < 1.6 * sigma


def test_the_scatter_of_requests_is_not_taken_for_that_of_launches() -> None:
    rng = np.random.default_rng(2)
    launches = [launch(rng) for _ in range(20)]
    found = calibrated(launches)

    medians = [[arms[name].quantile_ms(0.5) for name in ("green", "blue")] for arms in launches]
    assert np.std(np.diff(np.log(medians))) > 0.012  # copies that are equal do differ
    assert found.launch_sigma < 0.006
    assert found.launch_sigma <= found.launch_sigma_high


def test_few_launches_leave_the_bound_far_above_the_estimate() -> None:
    rng = np.random.default_rng(3)
    few = calibrated([launch(rng, sigma=0.05) for _ in range(3)])
    many = calibrated([launch(rng, sigma=0.05) for _ in range(30)])

    assert few.launch_sigma_high > 3 * few.launch_sigma
    assert many.launch_sigma_high < 1.5 * many.launch_sigma


@pytest.mark.parametrize("launches", [0, 2])
def test_too_few_launches_are_refused(launches: int) -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="do not tell"):
        calibrated([launch(rng) for _ in range(launches)])


def test_answers_of_one_block_have_no_scatter() -> None:
    rng = np.random.default_rng(5)
    early = {name: Samples(rows=samples.rows[:20]) for name, samples in launch(rng).items()}
    with pytest.raises(ValueError, match="two blocks"):
        calibrated([early] * 3)


# How much less requests tell than their number says


@pytest.mark.parametrize("alike", [1, 4])
def test_the_design_effect_of_requests_that_come_in_clusters_is_their_size(alike: int) -> None:
    """Kish: clusters of `alike` equal values tell as much as one value each."""
    rng = np.random.default_rng(6)
    found = calibrated([launch(rng, requests=6400, alike=alike) for _ in range(12)])

    for name in ("p50", "p95"):
        assert found.design_effect[name] == pytest.approx(alike, rel=0.35), name


def test_what_happens_to_both_copies_alike_cancels() -> None:
    rng = np.random.default_rng(7)
    apart = calibrated([launch(rng, requests=4000, alike=10) for _ in range(8)])
    together = calibrated([launch(rng, requests=4000, shared=0.5) for _ in range(8)])

    assert together.design_effect["p50"] < 1 < apart.design_effect["p50"]


def test_latencies_that_are_all_the_same_have_no_design() -> None:
    same = {"green": arm(np.zeros(1000)), "blue": arm(np.zeros(1000))}
    found = calibrated([same] * 3)

    assert found.design_effect == dict.fromkeys(QUANTILES, 1.0)
    assert (found.launch_sigma, found.launch_sigma_high) == (0, 0)
    assert found.resolves("p99", 45) == pytest.approx(0)


# Which margins can be resolved


def test_a_margin_that_is_resolved_is_one_that_equal_versions_pass() -> None:
    """The promise, held against the gate's own judgement of made-up A/A runs."""
    rng, sigma, seconds = np.random.default_rng(8), 0.02, 45.0
    known = replace(calibrated([launch(rng) for _ in range(12)]), launch_sigma=sigma)
    highs = [_ratios_high(launch(rng, sigma=sigma, requests=2240, duration_s=seconds), sigma) for _ in range(60)]

    for name in QUANTILES:
        margin = known.resolves(name, seconds)
        passed = np.mean([high[name] < 1 + margin for high in highs])
        assert passed >= 0.8, (name, margin)
        stricter = np.mean([high[name] < 1 + 0.6 * margin for high in highs])
        assert stricter < 0.7, (name, margin)  # nor is it much more than what is needed


def _ratios_high(arms: Mapping[str, Samples], sigma: float) -> dict[str, float]:
    """The upper bound of each quantile's ratio at the gate's last look."""
    seconds = 45.0
    gate = LoadGate(duration=timedelta(seconds=seconds), launch_sigma=sigma)
    targets = {name: Target(url=f"http://{name}") for name in arms}
    plan = Plan(targets=targets, gate=gate, slo=Slo(), seed=1)
    measured = Measured(arms=arms, endpoints=("POST /",), arrivals=2240, elapsed_s=seconds, ended=True)
    checks = judge(plan, measured, looks(seconds)[-1])
    return {check.name: check.figures["ratio_high"] for check in checks if check.name in QUANTILES}


def test_more_time_resolves_more_until_launches_are_all_that_is_left() -> None:
    found = some(launch_sigma=0.03)
    margins = [found.resolves("p50", seconds) for seconds in (2, 45, 120, 600, 1e6)]

    assert margins == sorted(margins, reverse=True)
    # z of the last look for the gate's interval, and of 90 % for where the estimate comes to lie.
    assert margins[-1] == pytest.approx(math.expm1((1.812 + 1.282) * 0.03 * math.sqrt(2)), rel=0.01)
    assert some(launch_sigma=0).resolves("p50", 1e6) < 0.01


@pytest.mark.parametrize("worse", [{"design_effect": dict.fromkeys(QUANTILES, 3.0)}, {"rate": 10.0}])
def test_requests_that_tell_less_resolve_less(worse: dict[str, Any]) -> None:
    assert some(**worse).resolves("p95", 45) > some().resolves("p95", 45)


# The file


def test_the_same_samples_give_the_same_figures_and_a_file_gives_them_back() -> None:
    launches = [launch(np.random.default_rng(seed), sigma=0.02) for seed in range(3)]
    found = calibrated(launches)

    assert calibrated(launches) == found
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", to_json(some())[:100], *(json.dumps(json.loads(to_json(some())) | {"launch_sigma": bad}).encode()
     for bad in (-0.1, math.nan, math.inf, "much", None))],
)  # fmt: skip
def test_a_damaged_file_is_no_calibration(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"launch_sigma|JSON|[Mm]issing|required"):
        from_json(content)


# The gate that uses it

GREEN = Revision(
    deployment="tea", number=2, bento="tea:v2", route=Route(prefix="/tea", host="tea.localhost"),
    gates=Gates(load=LoadGate(launch_sigma=0.02)),
)  # fmt: skip
RUN = GateRun(name="tea-2-1", green=GREEN, blue=None, attempt=1, green_url="http://g", blue_url=None, headers={})


@pytest.mark.parametrize(
    ("estimate", "high", "used"), [(0.05, 0.09, 0.05), (0.01, 0.03, 0.02), (0.0, 0.03, 0.02), (0.0, 0.01, 0.01)]
)
def test_a_run_of_the_gate_reckons_with_what_was_measured(
    tmp_path: Path, estimate: float, high: float, used: float
) -> None:
    (tmp_path / files.CALIBRATION).write_bytes(to_json(some(launch_sigma=estimate, launch_sigma_high=high)))

    assert load.make_plan(RUN, tmp_path).gate.launch_sigma == used
    said = (tmp_path / files.LOG).read_text()
    assert f"launch_sigma {used:.4f}, by 5 launches at 2026-01-01 12:00 UTC" in said


def test_without_a_calibration_the_default_counts(tmp_path: Path) -> None:
    assert load.make_plan(RUN, tmp_path).gate == GREEN.gates.load
    assert not (tmp_path / files.LOG).exists()


def test_a_damaged_calibration_is_left_alone_with_a_line_in_the_log(tmp_path: Path) -> None:
    (tmp_path / files.CALIBRATION).write_text('{"launch_sigma":')

    assert load.make_plan(RUN, tmp_path).gate == GREEN.gates.load
    (line,) = (tmp_path / files.LOG).read_text().splitlines()
    assert "the default, for the file is damaged" in line


class _Idle:
    """A machine on which nothing is started."""

    def start(self, *_: object, **__: object) -> None:
        pass


@pytest.mark.parametrize("deployment", ["tea", "coffee"])
def test_a_run_takes_the_calibration_of_its_deployment_with_it(tmp_path: Path, deployment: str) -> None:
    stored = files.calibration(tmp_path, deployment)
    stored.parent.mkdir()
    files.write(stored, to_json(some(deployment=deployment)))

    ProcessGate(tmp_path, cast(Machine, _Idle())).start(RUN)

    taken = tmp_path / "gates" / RUN.name / files.CALIBRATION
    assert (taken.exists() and taken.read_bytes() == stored.read_bytes()) is (deployment == "tea")
    assert files.read_request(taken.parent).green == GREEN  # what is judged is what was declared
