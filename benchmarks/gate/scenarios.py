"""What is put into a service, and what the gate should say of it."""

import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from noren.domain.deployment import LoadGate, Margins

TAIL_SHARE = 0.015  # of the requests: enough to move p99, and too few to move p95
USUAL_P50_MS = 13.0  # of the unchanged service, about
OWN_TIME_MS = 40.0  # of a service that waits for others before it answers: what it takes is mostly not the machine's
OWN_TAIL_MS, OWN_TAIL_SHARE = 150.0, 0.03  # of a service whose p99 is its own and not the machine's; p95 is not in it
STALL_S, STALL_EVERY_S = 1.0, 20.0
QUICK = replace(LoadGate(), slack_ms=0.0)
FULL = replace(QUICK, duration=timedelta(minutes=10), margins=Margins(p50=0.10, p95=0.12, p99=0.15))
# The first look comes after a third of it, and may be the last: it, too, has two stalls in it.
STALLED = replace(QUICK, duration=timedelta(seconds=6 * STALL_EVERY_S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What makes a service worse. Nothing, by default."""

    delay_ms: float = 0.0  # of every request
    tail_ms: float = 0.0  # of `tail_share` of the requests
    tail_share: float = 0.0
    pause_s: float = 0.0  # every so often nobody is served for so long
    pause_every_s: float = STALL_EVERY_S
    pause_phase_s: float = 0.0  # on the machine's own clock, so that two services may stand still together, or not
    error_rate: float = 0.0
    broken_endpoint: bool = False
    seed: int = 1

    def next_pause(self, now_s: float) -> float:
        """When the next pause begins; `now_s` on the machine's monotonic clock, as is what it gives."""
        passed = math.floor((now_s - self.pause_phase_s) / self.pause_every_s)
        return self.pause_phase_s + (passed + 1) * self.pause_every_s


Latencies = tuple[NDArray[np.float64], NDArray[np.float64]]  # of blue and of green, ms
Pilot = Callable[[Injection], Latencies]  # serves green with an injection beside the unchanged blue, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table. `injection` makes green worse by what it says of the unchanged service."""

    name: str
    runs: int
    gate: LoadGate = QUICK
    injection: Injection | Callable[[Pilot], Injection] = Injection()
    both: Callable[[int], tuple[Injection, Injection]] | None = None  # blue's and green's, by the number of the run
    sequential: int = 0  # runs after which Locust alone is asked as well
    at_least: dict[str, float] = field(default_factory=dict)  # outcome -> share of the runs
    at_most: dict[str, int] = field(default_factory=dict)  # outcome -> runs

    @property
    def mode(self) -> str:
        """As docs/gate.md calls it."""
        seconds = f"{self.gate.duration.total_seconds():.0f} s"
        return {QUICK.duration: "quick", FULL.duration: "full"}.get(self.gate.duration, seconds)

    @property
    def recorded(self) -> bool:
        """Whether the services note what they did, since both stand still and their true p99 is wanted."""
        return self.both is not None and self.both(0)[0].pause_s > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """Rising rates, until the gate says that one core of the generator is not enough."""

    users: str  # file of the locustfile beside this one
    client: str  # the class of Locust's that asks
    arms: int
    runs: int = 3

    @property
    def name(self) -> str:
        """How its rows begin."""
        return f"one generator core: {self.client} to {'two arms' if self.arms == 2 else 'one arm'}"


Experiment = Scenario | Ramp


def shift(part: float) -> Callable[[Pilot], Injection]:
    """Such that p50 grows by this part.

    What p50 is just now, and what a shared core makes of a delay, shows a pilot with about the right one. It is then
    corrected by what it was off: by half at most, because a pilot errs as well.
    """

    def made(pilot: Pilot) -> Injection:
        guess_ms = part * USUAL_P50_MS
        blue, green = pilot(Injection(delay_ms=guess_ms))
        wanted_ms = part * float(np.median(blue))  # on a machine at half its speed twice as much
        missing_ms = wanted_ms - float(np.median(green) - np.median(blue))
        return Injection(delay_ms=guess_ms + float(np.clip(missing_ms, -guess_ms / 2, wanted_ms / 2)))

    return made


def tail(part: float) -> Callable[[Pilot], Injection]:
    """Such that p99 grows by this part: 1 % of all, the delayed and the others, are then beyond it."""

    def made(pilot: Pilot) -> Injection:
        latencies = np.concatenate(pilot(Injection()))
        aim_ms = (1 + part) * float(np.quantile(latencies, 0.99))
        beyond_undelayed = float(np.mean(latencies > aim_ms))
        beyond_delayed = (0.01 - (1 - TAIL_SHARE) * beyond_undelayed) / TAIL_SHARE
        return Injection(tail_ms=aim_ms - float(np.quantile(latencies, 1 - beyond_delayed)), tail_share=TAIL_SHARE)

    return made


def own_time(part: float) -> Callable[[int], tuple[Injection, Injection]]:
    """Both arms let every request wait; green so much longer that p50 grows by this part."""
    blue = Injection(delay_ms=OWN_TIME_MS)
    return _seeded(blue, replace(blue, delay_ms=OWN_TIME_MS + part * (OWN_TIME_MS + USUAL_P50_MS)))


def own_tails(part: float) -> Callable[[int], tuple[Injection, Injection]]:
    """Both arms let a few requests wait; green so much longer that p99, which is among them, grows by this part."""
    blue = Injection(tail_ms=OWN_TAIL_MS, tail_share=OWN_TAIL_SHARE)
    return _seeded(blue, replace(blue, tail_ms=OWN_TAIL_MS + part * (OWN_TAIL_MS + USUAL_P50_MS)))


def _seeded(blue: Injection, green: Injection) -> Callable[[int], tuple[Injection, Injection]]:
    """Each arm of each run with chance of its own."""
    return lambda number: (replace(blue, seed=2 * number + 1), replace(green, seed=2 * number + 2))


def _stalls(number: int) -> tuple[Injection, Injection]:
    """Both arms stand still, in every other run at the same time."""
    chance = random.Random(number)
    first_s = chance.uniform(0, STALL_EVERY_S)
    apart_s = chance.uniform(2 * STALL_S, STALL_EVERY_S - 2 * STALL_S) if number % 2 else 0.0
    blue = Injection(pause_s=STALL_S, pause_phase_s=first_s)
    return blue, replace(blue, pause_phase_s=(first_s + apart_s) % STALL_EVERY_S)


_QUICK = Margins()
_twice = functools.partial(Scenario, runs=12, sequential=3, at_least={"FAIL": 0.95}, at_most={"PASS": 0})  # the margin
SCENARIOS = (
    Scenario(name="nothing", runs=30, sequential=6, at_least={"PASS": 0.9}, at_most={"FAIL": 0}),
    _twice(name="p50 +30 %", injection=shift(2 * _QUICK.p50)),
    _twice(name="p50 +30 %, time of its own", both=own_time(2 * _QUICK.p50)),
    Scenario(name="p50 +15 %, the margin", runs=12, injection=shift(_QUICK.p50), sequential=3, at_most={"PASS": 1}),
    _twice(name="p99 +60 %", injection=tail(2 * _QUICK.p99)),
    _twice(name="p99 +60 %, tails of their own", both=own_tails(2 * _QUICK.p99)),
    Scenario(
        name="p99 +30 %, the margin, tails of their own", runs=12, both=own_tails(_QUICK.p99), at_most={"PASS": 1}
    ),
    Scenario(name="0.5 % errors", runs=6, injection=Injection(error_rate=0.005), at_most={"PASS": 0}),
    Scenario(name="one endpoint fails", runs=3, injection=Injection(broken_endpoint=True), at_least={"FAIL": 1.0}),
    Scenario(name="p99 +20 %", runs=5, gate=FULL, injection=tail(0.2), at_most={"PASS": 0}),
    Scenario(
        name="250 ms pause every 20 s",
        runs=5,
        gate=FULL,
        injection=Injection(pause_s=0.25),
        sequential=5,
        at_most={"PASS": 0},
    ),
    Scenario(name="1 s stall every 20 s in both", runs=6, gate=STALLED, both=_stalls, at_most={"FAIL": 0}),
)
RAMPS = tuple(
    Ramp(users=users, client=client, arms=arms)
    for users, client in (("echo_fast.py", "FastHttpUser"), ("echo_http.py", "HttpUser"))
    for arms in (1, 2)
)
EXPERIMENTS: tuple[Experiment, ...] = (*SCENARIOS, *RAMPS)
