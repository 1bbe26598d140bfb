"""What the load generator is asked, and what it hands back.

A duet sends every arrival of one schedule to both arms at the same time: what happens to the machine meanwhile
happens to both. Every single sample is kept, so a verdict can be computed again from its evidence.

plan.json        what was asked
green.rows ...   one ROW for each request of an arm, in the order in which they ended; grows while it is measured
measured.json    everything else as of now, replaced once a second: rows beyond its counts are not yet of the record
look-N.json      measured.json as it was when the verdict was looked for the Nth time
answers.jsonl    what the first arrivals were answered, for parity.py
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from noren.domain.deployment import LoadGate, Slo
from noren.gates import files

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}  # those that are limited and compared
WARM_UPS = 4  # the warm-up is repeated until latencies have settled, so often at most
COMPLETED = 0.99  # of what is offered, or the arm does not keep up
PLAN, MEASURED, ANSWERS = "plan.json", "measured.json", "answers.jsonl"
NO_ENDPOINT = -1  # a task that raised or never ended, not one request of it
DROPPED = -2  # an arrival that was not sent, because too many were open
ROW = np.dtype(
    [("arrival", "<i4"), ("due_s", "<f8"), ("latency_ms", "<f8"), ("endpoint", "<i2"), ("ok", "?"), ("misrouted", "?")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One arm: where it answers, and by which name the front door says so."""

    url: str
    revision: str = ""  # "": nobody signs the answers
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One duet, and what its figures are held against."""

    targets: Mapping[str, Target]  # "green", and "blue" if there is one
    locustfile: str | None = None  # its path; None: `examples` are sent
    examples: tuple[Mapping[str, object], ...] = ()
    gate: LoadGate
    slo: Slo
    seed: int
    in_flight: int = 200  # tasks of one arm at a time; an arrival beyond that is dropped, and counted
    drain_s: float = 30.0  # how long the last answers may take

    @property
    def warmup_s(self) -> float:
        """Sent first, and not counted; more than once where latencies still fall."""
        return self.gate.warmup.total_seconds()

    @property
    def duration_s(self) -> float:
        """Sent after the warm-up."""
        return self.gate.duration.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One arm's answers; a row each, in the order in which they ended."""

    rows: NDArray[np.void]  # of ROW: number of the arrival, the same in both arms; seconds from the end of the
    # warm-up when it was intended; latency from then, NaN when nothing was sent, a lower bound when nothing came;
    # index into Measured.endpoints, NO_ENDPOINT or DROPPED; whether it was good; whether another revision signed it
    failures: Mapping[str, int] = field(default_factory=dict)  # message -> how often

    @property
    def requests(self) -> int:
        """Everything that was tried, failed tasks included."""
        return len(self.rows) - self.dropped

    @property
    def dropped(self) -> int:
        """Arrivals that were not tried."""
        return int(np.count_nonzero(self.rows["endpoint"] == DROPPED))

    @property
    def errors(self) -> int:
        """How many requests failed."""
        return int(np.count_nonzero(~self.rows["ok"])) - self.dropped

    @property
    def misrouted(self) -> int:
        """How many answers another revision signed."""
        return int(np.count_nonzero(self.rows["misrouted"]))

    @property
    def known(self) -> NDArray[np.void]:
        """Rows with a latency. Failed requests count as they lasted."""
        known: NDArray[np.void] = self.rows[np.isfinite(self.rows["latency_ms"])]
        return known

    def quantile_ms(self, q: float) -> float:
        """Latency of the fraction `q`; NaN when nothing was answered."""
        known = self.known["latency_ms"]
        return float(np.quantile(known, q)) if known.size else float("nan")

    def until(self, seconds: float) -> "Samples":
        """Without the warm-up, and without what was due later."""
        due_s = self.rows["due_s"]
        return Samples(rows=self.rows[(due_s >= 0) & (due_s < seconds)], failures=self.failures)

    def of(self, endpoint: int) -> NDArray[np.void]:
        """Rows of one endpoint."""
        found: NDArray[np.void] = self.rows[self.rows["endpoint"] == endpoint]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a duet measured so far. Without `problem` there is one entry in `arms` for each target."""

    arms: Mapping[str, Samples] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()  # "POST /predict"
    arrivals: int = 0  # that came due after the warm-up
    elapsed_s: float = 0.0  # from the end of the warm-up to the last of them
    warm_ups: int = 1  # until latencies had settled
    generator_cpu: float = 0.0  # of one core
    dispatch_lag_p99_ms: float = 0.0  # from when an arrival was due to when its task began
    stopped: str | None = None  # why the schedule was not sent to its end
    problem: str | None = None  # why nothing could be measured
    ended: bool = False  # nothing more comes


def append(folder: Path, arm: str, rows: list[tuple[Any, ...]]) -> None:
    """Add rows to an arm's record."""
    with (folder / f"{arm}.rows").open("ab") as file:
        file.write(np.array(rows, dtype=ROW).tobytes())


def write_measured(folder: Path, measured: Measured, counts: Mapping[str, int]) -> None:
    """Say how things stand, with `counts` rows of each arm appended before."""
    rest = asdict(measured) | {
        "arms": {name: {"rows": counts[name], "failures": arm.failures} for name, arm in measured.arms.items()}
    }
    files.write(folder / MEASURED, json.dumps(rest, indent=2).encode())


def read_measured(folder: Path, name: str = MEASURED) -> Measured | None:
    """What the generator has left in the folder; None when it has not begun to send."""
    if not (folder / name).exists():
        return None
    rest: dict[str, Any] = json.loads((folder / name).read_bytes())
    arms = {
        arm: Samples(
            rows=np.fromfile(folder / f"{arm}.rows", dtype=ROW, count=found["rows"]), failures=found["failures"]
        )
        for arm, found in rest.pop("arms").items()
    }
    return Measured(arms=arms, endpoints=tuple(rest.pop("endpoints")), **rest)


def look_file(number: int) -> str:
    """Where what was seen at the look of this number is kept."""
    return f"look-{number}.json"


def last_look(folder: Path) -> int | None:
    """The number of the newest look, if there was one."""
    return max((int(file.stem.removeprefix("look-")) for file in folder.glob("look-*.json")), default=None)


def write_plan(folder: Path, plan: Plan) -> None:
    """Write what the generator reads."""
    files.write(folder / PLAN, _plans.dump_json(plan, indent=2))


def read_plan(folder: Path) -> Plan:
    """What `write_plan` wrote."""
    return _plans.validate_json((folder / PLAN).read_bytes())


_plans = TypeAdapter(Plan)
