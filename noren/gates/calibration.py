"""What A/A runs tell of a machine: how far two launches of one Bento are apart, and which margins it can resolve. Pure.

One launch is a duet of two fresh copies of the same revision. Whatever it finds between them is chance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydantic import TypeAdapter

from noren.gates import judgement, statistics
from noren.gates.duet import QUANTILES, Samples
from noren.gates.statistics import Floats

FEWEST_LAUNCHES = 3  # two have one difference, which says next to nothing of a spread
SHORTEST_S = 2.0  # two blocks: one has no scatter
TIMES_S = (45, 120, 600)  # what a person may be ready to wait: `quick`, something between, `full`
PASSES = 0.9  # how often an equal version is to get through
_ALPHA = 0.05  # of the upper bound
_SHUFFLES = 40  # of one launch: the error of their mean is small beside that of what it is compared with
_RESAMPLED = 200
_NOTHING = 1e-18  # a variance that is rounding
_AMONG = list(QUANTILES.values())

Arms = Mapping[str, Samples]  # "green" and "blue", without the warm-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured. Raises ValueError where `launch_sigma` is none. By quantile: p50, p95, p99."""

    deployment: str
    bento: str
    cores: int
    launches: int
    duration_s: float  # of each launch, warm-up excluded
    rate: float  # requests per second to each copy
    measured_at: datetime
    launch_sigma: float  # standard deviation of the log latency (p50) of one launch
    launch_sigma_high: float  # its upper bound, with a confidence of 95 %
    latency_ms: Mapping[str, float]
    # How many times more a quantile varies than it would if requests were independent: they share pauses, queues and
    # cores. Below 1 where what happens to both arms alike cancels. Kish, Survey Sampling (1965), 8.2.
    design_effect: Mapping[str, float]
    # Variance of ln(green's quantile / blue's) of independent requests, times the number of requests of an arm.
    scatter: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 <= self.launch_sigma < math.inf:
            raise ValueError(f"launch_sigma {self.launch_sigma} is no standard deviation")

    def resolves(self, quantile: str, seconds: float) -> float:
        """The smallest margin that an equal version passes in 90 % of the cases; 0.15 is 15 % slower.

        quantile  "p50", "p95" or "p99"
        seconds   how long the gate measures at this rate, at least SHORTEST_S; the last look decides

        What the gate holds against the margin is the upper bound of its interval (judgement.py). Between equal
        versions the estimate scatters about zero by the noise of the requests and by that of two launches; the bound is
        above it by Student's t for the scatter of the blocks, and by what the gate adds for the launches. Requests
        twice as long are taken to halve the variance. `slack_ms` is left out: it can only help.
        """
        at, blocks = judgement.looks(seconds)[-1], judgement.blocks(seconds)
        noise = math.sqrt(self.design_effect[quantile] * self.scatter[quantile] / (self.rate * seconds))
        half_width = math.hypot(
            -statistics.student_quantile(blocks - 1, at.alpha) * noise,
            statistics.launch_half_width(self.launch_sigma, 1, at.alpha),
        )
        scatters = math.hypot(noise, self.launch_sigma * math.sqrt(2))
        return math.expm1(half_width + statistics.normal_quantile(PASSES) * scatters)


def calibrate(
    launches: Sequence[Arms],
    *,
    deployment: str,
    bento: str,
    cores: int,
    duration_s: float,
    rate: float,
    measured_at: datetime,
    seed: int = 0,
) -> Calibration:
    """What these launches say. The same samples give the same figures.

    Of launch i the difference d_i, the mean of its blocks' log ratios of p50, has the variance
    2 launch_sigma^2 + se_i^2: both copies were launched, and the requests scatter. statistics.variance_between takes
    the two apart. Raises ValueError when there are fewer than FEWEST_LAUNCHES, or answers in fewer than two blocks.
    """
    if len(launches) < FEWEST_LAUNCHES:
        raise ValueError(f"{len(launches)} launches do not tell how far launches are apart")
    rng = np.random.default_rng(seed)
    ratios = [_ratios(arms, duration_s) for arms in launches]
    of_p50 = [found[:, _AMONG.index(0.5)] for found in ratios]
    between, high = statistics.variance_between(of_p50, _ALPHA)
    seen = np.mean([_variances(found) for found in ratios], axis=0)
    expected = np.mean([_if_independent(arms, duration_s, rng) for arms in launches], axis=0)
    return Calibration(
        deployment=deployment,
        bento=bento,
        cores=cores,
        launches=len(launches),
        duration_s=duration_s,
        rate=rate,
        measured_at=measured_at,
        launch_sigma=math.sqrt(between / 2),
        launch_sigma_high=math.sqrt(high / 2),
        latency_ms=_named(_quantiles(np.concatenate([_latencies(s) for arms in launches for s in arms.values()]))),
        # Latencies that are all the same expect nothing, and show nothing.
        design_effect=_named(np.divide(seen, expected, out=np.ones_like(seen), where=expected > _NOTHING)),
        scatter=_named(np.mean([_scatter(a["green"], rng) + _scatter(a["blue"], rng) for a in launches], axis=0)),
    )


def _ratios(arms: Arms, duration_s: float) -> Floats:
    """ln(green's quantile / blue's) of each block in which both answered: (blocks, quantiles)."""
    parts = judgement.blocks(duration_s)
    green, blue = (judgement.cut(arms[arm], duration_s, parts) for arm in ("green", "blue"))
    logs = [_log_quantiles(g) - _log_quantiles(b) for g, b in zip(green, blue, strict=True) if g.size and b.size]
    if len(logs) < 2:
        raise ValueError("both copies answered in fewer than two blocks")
    return np.array(logs)


def _variances(ratios: Floats) -> Floats:
    found: Floats = np.var(ratios, axis=0, ddof=1)
    return found


def _if_independent(arms: Arms, duration_s: float, rng: np.random.Generator) -> Floats:
    """How much the blocks' ratios would vary if it were chance alone which request is slow, in either arm."""
    shuffled = ({arm: _shuffled(samples, rng) for arm, samples in arms.items()} for _ in range(_SHUFFLES))
    found: Floats = np.mean([_variances(_ratios(each, duration_s)) for each in shuffled], axis=0)
    return found


def _shuffled(samples: Samples, rng: np.random.Generator) -> Samples:
    rows = samples.known.copy()
    rows["latency_ms"] = rng.permutation(rows["latency_ms"])
    return Samples(rows=rows)


def _scatter(samples: Samples, rng: np.random.Generator) -> Floats:
    """Variance of the log quantiles of independent requests, times their number.

    By the bootstrap: Efron & Tibshirani, An Introduction to the Bootstrap (1993), 6.
    """
    latencies = _latencies(samples)
    drawn = [_log_quantiles(rng.choice(latencies, latencies.size)) for _ in range(_RESAMPLED)]
    return latencies.size * _variances(np.array(drawn))


def _latencies(samples: Samples) -> Floats:
    return judgement.cut(samples, 1.0, 1)[0]  # one block of all


def _quantiles(latencies: Floats) -> Floats:
    found: Floats = np.quantile(latencies, _AMONG)
    return found


def _log_quantiles(latencies: Floats) -> Floats:
    found: Floats = np.log(_quantiles(latencies))
    return found


def _named(values: Floats) -> dict[str, float]:
    return {name: float(value) for name, value in zip(QUANTILES, values, strict=True)}


_calibrations = TypeAdapter(Calibration)


def to_json(calibration: Calibration) -> bytes:
    """The file of a calibration."""
    return _calibrations.dump_json(calibration, indent=2)


def from_json(content: bytes) -> Calibration:
    """What `to_json` wrote. Raises ValueError when it is damaged."""
    return _calibrations.validate_json(content)
