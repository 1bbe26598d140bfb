"""What the load generator is asked, and what it hands back.

A duet sends every arrival of one schedule to both arms at the same time: what happens to the machine meanwhile
happens to both. Every single sample is kept, so a verdict can be computed again from its evidence.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from noren.gates import files

PLAN, SAMPLES, MEASURED = "plan.json", "samples.npz", "measured.json"
NO_ENDPOINT = -1  # a task that raised or never ended, not one request of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One arm: where it answers, and by which name the front door says so."""

    url: str
    revision: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One duet."""

    targets: Mapping[str, Target]  # "green", and "blue" if there is one
    locustfile: str | None = None  # its path; None: `examples` are sent
    examples: tuple[Mapping[str, object], ...] = ()
    rate: float  # arrivals per second
    warmup_s: float
    duration_s: float
    error_rate: float  # once green can no longer stay below it, the duet ends
    seed: int
    in_flight: int = 200  # tasks of one arm at a time; an arrival beyond that is dropped, and counted
    drain_s: float = 30.0  # how long the last answers may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One arm's answers; a row each, in the order in which they ended."""

    arrival: NDArray[np.int32]  # number of the arrival; the same in both arms
    due_s: NDArray[np.float64]  # when the arrival was intended, from the end of the warm-up
    latency_ms: NDArray[np.float64]  # from then; NaN when nothing was sent, a lower bound when nothing came
    ok: NDArray[np.bool_]
    endpoint: NDArray[np.int32]  # index into Measured.endpoints, or NO_ENDPOINT
    dropped: int = 0
    misrouted: int = 0  # answers that another revision signed
    failures: Mapping[str, int] = field(default_factory=dict)  # message -> how often

    @property
    def requests(self) -> int:
        """Everything that was tried, failed tasks included."""
        return len(self.ok)

    @property
    def errors(self) -> int:
        """How many of them failed."""
        return int(np.count_nonzero(~self.ok))

    def quantile_ms(self, q: float) -> float:
        """Latency of the fraction `q`; NaN when nothing was answered. Failed requests count as they lasted."""
        known = self.latency_ms[np.isfinite(self.latency_ms)]
        return float(np.quantile(known, q)) if known.size else float("nan")

    def counted(self) -> "Samples":
        """Without the warm-up."""
        rows = self.due_s >= 0
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Samples(**columns, dropped=self.dropped, misrouted=self.misrouted, failures=self.failures)


COLUMNS = ("arrival", "due_s", "latency_ms", "ok", "endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a duet measured. Without `problem` there is one entry in `arms` for each target."""

    arms: Mapping[str, Samples] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()  # "POST /predict"
    arrivals: int = 0  # that came due after the warm-up
    elapsed_s: float = 0.0  # from the first of them to the last
    generator_cpu: float = 0.0  # of one core
    dispatch_lag_p99_ms: float = 0.0  # from when an arrival was due to when its task began
    stopped: str | None = None  # why the schedule was not sent to its end
    problem: str | None = None  # why nothing could be measured


def write_measured(folder: Path, measured: Measured) -> None:
    """Write the samples, and then everything else: the second file says that the first is whole."""
    arrays = {f"{arm}_{name}": getattr(s, name) for arm, s in measured.arms.items() for name in COLUMNS}
    np.savez_compressed(folder / SAMPLES, allow_pickle=False, **arrays)
    rest = asdict(measured)
    for samples in rest["arms"].values():
        for name in COLUMNS:
            del samples[name]
    files.write(folder / MEASURED, json.dumps(rest, indent=2).encode())


def read_measured(folder: Path) -> Measured | None:
    """What the generator left in the folder; None when it did not come to its end."""
    if not (folder / MEASURED).exists():
        return None
    rest: dict[str, Any] = json.loads((folder / MEASURED).read_bytes())
    with np.load(folder / SAMPLES, allow_pickle=False) as arrays:
        arms = {
            arm: Samples(**{name: arrays[f"{arm}_{name}"] for name in COLUMNS}, **scalars)
            for arm, scalars in rest.pop("arms").items()
        }
    return Measured(arms=arms, endpoints=tuple(rest.pop("endpoints")), **rest)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write what the generator reads."""
    files.write(folder / PLAN, _plans.dump_json(plan, indent=2))


def read_plan(folder: Path) -> Plan:
    """What `write_plan` wrote."""
    return _plans.validate_json((folder / PLAN).read_bytes())


_plans = TypeAdapter(Plan)
