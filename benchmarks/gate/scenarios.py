"""What is put into a service, and what the gate should say of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from noren.domain.deployment import Margins

TAIL_SHARE = 0.015  # of the requests: enough to move p99, and too few to move p95


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What makes a service worse. Nothing, by default."""

    delay_ms: float = 0.0  # of every request
    tail_ms: float = 0.0  # of `tail_share` of the requests
    tail_share: float = 0.0
    pause_s: float = 0.0  # every so often nobody is served for so long
    pause_every_s: float = 20.0
    error_rate: float = 0.0
    broken_endpoint: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """Latencies of the unchanged service on this machine now, ms."""

    p33: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table. `injection` makes green worse by what it says of the unchanged service."""

    name: str
    runs: int
    full: bool = False
    injection: Injection | Callable[[Base], Injection] = Injection()
    at_least: dict[str, float] = field(default_factory=dict)  # outcome -> share of the runs
    at_most: dict[str, int] = field(default_factory=dict)  # outcome -> runs


def _shift(part: float) -> Callable[[Base], Injection]:
    return lambda base: Injection(delay_ms=part * base.p50)


def _tail(part: float) -> Callable[[Base], Injection]:
    """Such that p99 grows by this part: it then lies at the 33rd percentile of the requests that are delayed."""
    return lambda base: Injection(tail_ms=(1 + part) * base.p99 - base.p33, tail_share=TAIL_SHARE)


_QUICK = Margins()
SCENARIOS = (
    Scenario(name="nothing", runs=30, at_least={"PASS": 0.9}, at_most={"FAIL": 0}),
    Scenario(name="p50 +30 %", runs=12, injection=_shift(2 * _QUICK.p50), at_least={"FAIL": 0.95}, at_most={"PASS": 0}),
    Scenario(name="p99 +60 %", runs=12, injection=_tail(2 * _QUICK.p99), at_least={"FAIL": 0.95}, at_most={"PASS": 0}),
    Scenario(name="p50 +15 %: the margin", runs=12, injection=_shift(_QUICK.p50), at_most={"PASS": 1}),
    Scenario(name="0.5 % errors", runs=6, injection=Injection(error_rate=0.005), at_most={"PASS": 0}),
    Scenario(name="one endpoint fails", runs=3, injection=Injection(broken_endpoint=True), at_least={"FAIL": 1.0}),
    Scenario(name="p99 +20 %", runs=5, full=True, injection=_tail(0.2), at_most={"PASS": 0}),
    Scenario(
        name="250 ms pause every 20 s",
        runs=5,
        full=True,
        injection=Injection(pause_s=0.25),
        at_most={"PASS": 0},
    ),
)
