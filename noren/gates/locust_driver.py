"""The load generator: a process that sends one open-loop schedule to both arms, by the users of a locustfile.

    python -m noren.gates.locust_driver FOLDER PARENT

reads plan.json there, prints progress, and writes what it measures (duet.py) once a second. SIGTERM ends it early and
in order; it also ends when PARENT, a pid, does.

Open loop: an arrival is sent when it is due, however many are still unanswered. Latency counts from then, or a
server that stalls would hide the requests that were due meanwhile (coordinated omission).
"""

import gc
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import locust
import numpy as np
from gevent.pool import Pool
from locust import User

from noren.gates.duet import (
    ANSWERS,
    DROPPED,
    NO_ENDPOINT,
    ROW,
    WARM_UPS,
    Measured,
    Plan,
    Samples,
    Target,
    append,
    read_plan,
    write_measured,
)
from noren.gates.locust_users import (
    FLIGHT,
    Cast,
    Crew,
    Picks,
    Task,
    UnusableLocustfile,
    describe,
    example_cast,
    load_cast,
    make_environment,
    place,
)

REVISION_HEADER = "x-noren-revision"
_WRITE_EVERY_S = 1.0
_PROGRESS_EVERY = 5  # writings
_MAX_MESSAGES = 20  # different failure messages that are kept for each arm
_LEAVE_WITHIN_S = 2.0
_FEWEST_TO_FALL = 20  # answers in each half of a warm-up, or their medians say nothing
_STILL_FALLING = 0.85  # p50 of a warm-up's second half beside its first: below it, caches and batches are still filling
_KEPT_ANSWERS = 1000  # of each arm
_LONGEST_ANSWER = 65_536  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One entry of the schedule."""

    number: int
    due_s: float  # from the end of the warm-up
    due_at: float  # the same on this process's clock
    user: type[User]
    task: Task
    seed: int  # of the task's random choices, so that both arms get the same payload


@dataclass(slots=True, kw_only=True, eq=False)
class Flight:
    """An arrival on its way in one arm."""

    arm: "Arm"
    arrival: Arrival
    lag_ms: float  # from when it was due to when its task began; the first request has waited that long
    requests: int = 0


@dataclass(kw_only=True)
class Arm:
    """One arm while it is measured."""

    name: str
    target: Target
    crew: Crew
    pool: Pool
    flights: set[Flight] = field(default_factory=set)
    rows: list[tuple[int, float, float, int, bool, bool]] = field(default_factory=list)  # since the last writing
    written: int = 0
    answers: list[str] = field(default_factory=list)  # lines of answers.jsonl since the last writing
    requests: int = 0
    errors: int = 0  # after the warm-up
    failures: Counter[str] = field(default_factory=Counter)
    warm: dict[int, tuple[float, float]] = field(default_factory=dict)  # arrival of this warm-up -> due_s, latency_ms

    def note(
        self, arrival: Arrival, latency_ms: float, endpoint: int, failure: str | None, *, misrouted: bool = False
    ) -> None:
        """Keep one sample."""
        self.rows.append((arrival.number, arrival.due_s, latency_ms, endpoint, failure is None, misrouted))
        if arrival.number in self.warm and math.isfinite(latency_ms):
            self.warm[arrival.number] = (arrival.due_s, latency_ms)
        if arrival.due_s < 0 or endpoint == DROPPED:
            return
        self.requests += 1
        if failure is not None:
            self.errors += 1
            known = failure in self.failures or len(self.failures) < _MAX_MESSAGES
            self.failures[failure if known else "other"] += 1

    def write(self, folder: Path) -> None:
        """Append what is new to the arm's record."""
        rows, self.rows = self.rows, []
        if self.answers:
            with (folder / ANSWERS).open("a") as file:
                file.writelines(self.answers)
            self.answers.clear()
        append(folder, self.name, rows)  # also when there are none: whoever reads expects the file
        self.written += len(rows)


class Duet:
    """Sends the schedule, and listens to what Locust reports of each request."""

    def __init__(self, plan: Plan, cast: Cast, folder: Path) -> None:
        self.plan, self.cast, self.folder = plan, cast, folder
        self.locustfile = Path(plan.locustfile or "examples")
        self.rng = np.random.default_rng(plan.seed)
        self.picks = Picks(cast.users, self.rng)
        environment: Any = make_environment(cast.users)
        environment.events.request.add_listener(self._on_request)
        self.arms = {
            name: Arm(name=name, target=t, crew=Crew(environment, t), pool=Pool(plan.in_flight))
            for name, t in plan.targets.items()
        }
        self.environment = environment
        self.endpoints: dict[str, int] = {}
        self.kept: Counter[str] = Counter()  # answers of each arm
        self.lags_ms: list[float] = []
        self.stopped: str | None = None
        self.number = 0  # of the next arrival
        self.sent = 0  # arrivals after the warm-up
        self.warm_ups = 0
        self.sent_s = -plan.warmup_s  # due time of the last arrival that was sent
        self.wall = self.cpu = 0.0  # when counting began

    def run(self) -> None:
        """The whole duet."""
        self.environment.events.test_start.fire(environment=self.environment)
        # What is loaded by now stays: a full collection of Locust's objects would stop the generator for tens of ms.
        gc.collect()
        gc.freeze()
        reporter = gevent.spawn(self._report)
        self._send()
        busy = self._busy()
        self._drain()
        reporter.kill()
        self.environment.events.test_stop.fire(environment=self.environment)
        for arm in self.arms.values():
            arm.crew.leave(_LEAVE_WITHIN_S)
        self._write(busy, ended=True)
        print(self._progress(), flush=True)  # noqa: T201

    def stop(self, reason: str) -> None:
        """Send nothing more."""
        self.stopped = self.stopped or reason

    # Sending

    def _send(self) -> None:
        """Warm up until latencies have settled, then send what counts."""
        self._count_from_here()
        plan, began = self.plan, time.perf_counter()
        while plan.warmup_s and self.warm_ups < WARM_UPS and not self.stopped:
            began += plan.warmup_s
            self._send_when_due(poisson(self.rng, plan.gate.rate, -plan.warmup_s, 0), began)
            self.warm_ups += 1
            if self._settled():
                break
        if not self.stopped:
            gevent.sleep(max(began - time.perf_counter(), 0))
        self._count_from_here()
        self._send_when_due(poisson(self.rng, plan.gate.rate, 0, plan.duration_s), began)

    def _send_when_due(self, schedule: np.ndarray[Any, np.dtype[np.float64]], began: float) -> None:
        """Send each arrival when it is due; `began`: when second 0 of the schedule is on this process's clock."""
        for due_s in schedule:
            due_at = began + due_s
            gevent.sleep(max(due_at - time.perf_counter(), 0))  # 0 lets the answers in when we are late
            if self.stopped:
                break
            user, task = self.picks.next()
            seed = int(self.rng.integers(2**32))
            arrival = Arrival(number=self.number, due_s=float(due_s), due_at=due_at, user=user, task=task, seed=seed)
            for name in self.rng.permutation(list(self.arms)):
                self._dispatch(self.arms[name], arrival)
            self.number += 1
            self.sent_s = float(due_s)
            self.sent += int(due_s >= 0)

    def _settled(self) -> bool:
        """Whether no arm became quicker in the course of the warm-up that has just been sent."""
        falling = [_falls([*arm.warm.values()], -self.plan.warmup_s / 2) for arm in self.arms.values()]
        for arm in self.arms.values():
            arm.warm.clear()
        return not any(falling)

    def _count_from_here(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def _busy(self) -> float:
        """CPU time used since counting began, as a fraction of one core."""
        return (time.process_time() - self.cpu) / max(time.perf_counter() - self.wall, 1e-9)

    def _dispatch(self, arm: Arm, arrival: Arrival) -> None:
        if arrival.due_s < 0:
            arm.warm[arrival.number] = (arrival.due_s, math.inf)  # until it is answered
        if arm.pool.full():
            arm.note(arrival, float("nan"), DROPPED, "dropped")
            return
        arm.pool.spawn(self._fly, arm, arrival)

    def _fly(self, arm: Arm, arrival: Arrival) -> None:
        flight = Flight(arm=arm, arrival=arrival, lag_ms=(time.perf_counter() - arrival.due_at) * 1000)
        if arrival.due_s >= 0:
            self.lags_ms.append(flight.lag_ms)
        arm.flights.add(flight)
        try:
            member = arm.crew.take(arrival.user)
            self.cast.seed(arrival.seed)
            member.run(arrival.task, flight)
            arm.crew.give(member)
        except locust.exception.StopTest as error:
            self.stop(f"the locustfile stopped the test: {error}")
        except gevent.GreenletExit:
            return
        except Exception as error:  # noqa: BLE001  whatever a task raises is its failure; its user is not used again
            failure = f"{describe(error)} ({place(error, self.locustfile)})"
            arm.note(arrival, float("nan"), NO_ENDPOINT, failure)
        arm.flights.discard(flight)

    def _drain(self) -> None:
        """Wait for the last answers. What is unanswered then is an error that lasted at least so long."""
        within_s = 1.0 if self.stopped else self.plan.drain_s
        ends_at = time.perf_counter() + within_s
        for arm in self.arms.values():
            arm.pool.join(timeout=max(ends_at - time.perf_counter(), 0))
        now = time.perf_counter()
        for arm in self.arms.values():
            for flight in () if self.stopped else arm.flights:
                lasted_ms = (now - flight.arrival.due_at) * 1000
                arm.note(flight.arrival, lasted_ms, NO_ENDPOINT, f"no answer {within_s:.0f} s after the last arrival")
            arm.pool.kill(timeout=_LEAVE_WITHIN_S)

    # Listening

    def _on_request(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        exception: Exception | None = None,
        context: dict[str, Any] | None = None,
        response: Any = None,
        **_: object,
    ) -> None:
        flight = (context or {}).get(FLIGHT)
        if not isinstance(flight, Flight):
            return  # of on_start or of the locustfile's own: no arrival asked for it
        arm = flight.arm
        waited_ms = 0.0 if flight.requests else flight.lag_ms
        flight.requests += 1
        # HttpUser names a request by its whole path, FastHttpUser by what the task said.
        label = f"{request_type} {name.removeprefix(urlsplit(arm.target.url).path)}"
        endpoint = self.endpoints.setdefault(label, len(self.endpoints))
        failure = None if exception is None else f"{label}: {describe(exception)}"
        signed = (getattr(response, "headers", None) or {}).get(REVISION_HEADER)
        misrouted = bool(arm.target.revision) and signed is not None and signed != arm.target.revision
        arm.note(flight.arrival, response_time + waited_ms, endpoint, failure, misrouted=misrouted)
        if failure is None and len(self.arms) > 1 and flight.arrival.due_s >= 0 and self.kept[arm.name] < _KEPT_ANSWERS:
            self._keep(arm, flight, response)

    def _keep(self, arm: Arm, flight: Flight, response: Any) -> None:
        """Keep an answer for the parity check."""
        content = getattr(response, "content", None)
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes) or len(content) > _LONGEST_ANSWER:
            return
        self.kept[arm.name] += 1
        answer = {
            "arm": arm.name,
            "arrival": flight.arrival.number,
            "number": flight.requests,
            "body": content.decode(errors="replace"),
        }
        arm.answers.append(json.dumps(answer) + "\n")

    def _report(self) -> None:
        count = 0
        while True:
            gevent.sleep(_WRITE_EVERY_S)
            self._write(self._busy(), ended=False)
            count += 1
            if count % _PROGRESS_EVERY == 0:
                print(self._progress(), flush=True)  # noqa: T201

    def _write(self, busy: float, *, ended: bool) -> None:
        for arm in self.arms.values():
            arm.write(self.folder)
        measured = Measured(
            arms={
                name: Samples(rows=np.empty(0, dtype=ROW), failures=dict(arm.failures))
                for name, arm in self.arms.items()
            },
            endpoints=tuple(self.endpoints),
            arrivals=self.sent,
            elapsed_s=max(self.sent_s, 0.0),
            warm_ups=self.warm_ups,
            generator_cpu=busy,
            dispatch_lag_p99_ms=float(np.quantile(self.lags_ms, 0.99)) if self.lags_ms else 0.0,
            stopped=self.stopped,
            ended=ended,
        )
        write_measured(self.folder, measured, {name: arm.written for name, arm in self.arms.items()})

    def _progress(self) -> str:
        counts = [f"{arm.name} {arm.requests} requests, {arm.errors} errors" for arm in self.arms.values()]
        state = "warming up" if self.sent_s < 0 else f"{self.sent_s:.0f} of {self.plan.duration_s:.0f} s"
        return f"load: {state}: " + "; ".join(counts)


def poisson(
    rng: np.random.Generator, rate: float, begin_s: float, end_s: float
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """When arrivals are due, `rate` a second; rising.

    A Poisson process, given how many arrivals it has: then they are uniform (Ross, Stochastic Processes, 2.3).
    So every run at the same rate has the same number of samples.
    """
    return np.sort(rng.uniform(begin_s, end_s, round(rate * (end_s - begin_s))))


def _falls(warm: list[tuple[float, float]], middle_s: float) -> bool:
    first = [latency_ms for due_s, latency_ms in warm if due_s < middle_s]
    second = [latency_ms for due_s, latency_ms in warm if due_s >= middle_s]
    if min(len(first), len(second)) < _FEWEST_TO_FALL:
        return False
    return bool(np.median(second) < _STILL_FALLING * np.median(first))


def measure(plan: Plan, folder: Path) -> None:
    """Carry the plan out."""
    try:
        cast = load_cast(Path(plan.locustfile)) if plan.locustfile else example_cast(plan.examples)
    except UnusableLocustfile as error:
        write_measured(folder, Measured(problem=str(error), ended=True), {})
        return
    duet = Duet(plan, cast, folder)
    gevent.signal_handler(signal.SIGTERM, duet.stop, "the gate has seen enough")
    duet.run()


def main(folder: Path, parent: int) -> None:
    """Measure what plan.json asks for, as long as the process that asked lives."""
    gevent.spawn(_end_with, parent)
    measure(read_plan(folder), folder)
    # Sockets and threads of a locustfile must not keep the process: everything of value is written.
    sys.stdout.flush()
    os._exit(0)


def _end_with(parent: int) -> None:
    """Stop sending when nobody waits for the result any more."""
    while os.getppid() == parent:
        gevent.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
