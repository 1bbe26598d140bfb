"""The load generator: a process that sends one open-loop schedule to both arms, by the users of a locustfile.

    python -m noren.gates.locust_driver FOLDER PARENT

reads plan.json there, prints progress, and writes samples.npz and measured.json; it ends when PARENT, a pid, does.

Open loop: an arrival is sent when it is due, however many are still unanswered. Latency counts from then, or a
server that stalls would hide the requests that were due meanwhile (coordinated omission).
"""

import gc
import os
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
    NO_ENDPOINT,
    Measured,
    Plan,
    Samples,
    Target,
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
_PROGRESS_EVERY_S = 2.0
_HOPELESS_ERRORS = 10  # fewer do not end a duet early
_MAX_MESSAGES = 20  # different failure messages that are kept for each arm
_LEAVE_WITHIN_S = 2.0


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
    rows: list[tuple[int, float, float, bool, int]] = field(default_factory=list)
    requests: int = 0
    errors: int = 0  # after the warm-up, as are the next two
    dropped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    misrouted: int = 0

    def note(self, flight: Flight, latency_ms: float, endpoint: int, failure: str | None) -> None:
        """Keep one sample."""
        arrival = flight.arrival
        self.rows.append((arrival.number, arrival.due_s, latency_ms, failure is None, endpoint))
        if arrival.due_s < 0:
            return
        self.requests += 1
        if failure is not None:
            self.errors += 1
            known = failure in self.failures or len(self.failures) < _MAX_MESSAGES
            self.failures[failure if known else "other"] += 1

    def samples(self) -> Samples:
        """All of them as arrays."""
        arrival, due_s, latency_ms, ok, endpoint = zip(*self.rows, strict=True) if self.rows else [()] * 5
        return Samples(
            arrival=np.array(arrival, dtype=np.int32),
            due_s=np.array(due_s, dtype=np.float64),
            latency_ms=np.array(latency_ms, dtype=np.float64),
            ok=np.array(ok, dtype=np.bool_),
            endpoint=np.array(endpoint, dtype=np.int32),
            dropped=self.dropped,
            misrouted=self.misrouted,
            failures=dict(self.failures),
        )


class Duet:
    """Sends the schedule, and listens to what Locust reports of each request."""

    def __init__(self, plan: Plan, cast: Cast, locustfile: Path) -> None:
        self.plan, self.cast, self.locustfile = plan, cast, locustfile
        self.rng = np.random.default_rng(plan.seed)
        self.picks = Picks(cast.users, self.rng)
        environment: Any = make_environment(cast.users)
        environment.events.request.add_listener(self._on_request)
        self.arms = {
            name: Arm(name=name, target=t, crew=Crew(environment, t), pool=Pool(plan.in_flight))
            for name, t in plan.targets.items()
        }
        self.environment = environment
        self.due_s = schedule(plan, self.rng)
        self.planned = int(np.count_nonzero(self.due_s >= 0))
        self.endpoints: dict[str, int] = {}
        self.lags_ms: list[float] = []
        self.stopped: str | None = None
        self.sent = 0  # arrivals after the warm-up
        self.began = 0.0  # the end of the warm-up on this process's clock
        self.sent_s = -plan.warmup_s  # due time of the last arrival that was sent

    def run(self) -> Measured:
        """The whole duet."""
        self.environment.events.test_start.fire(environment=self.environment)
        # What is loaded by now stays: a full collection of Locust's objects would stop the generator for tens of ms.
        gc.collect()
        gc.freeze()
        reporter = gevent.spawn(self._report)
        cpu = self._send()
        self._drain()
        reporter.kill()
        print(self._progress(), flush=True)  # noqa: T201
        self.environment.events.test_stop.fire(environment=self.environment)
        for arm in self.arms.values():
            arm.crew.leave(_LEAVE_WITHIN_S)
        return Measured(
            arms={name: arm.samples() for name, arm in self.arms.items()},
            endpoints=tuple(self.endpoints),
            arrivals=self.sent,
            elapsed_s=max(self.sent_s, 0.0),
            generator_cpu=cpu,
            dispatch_lag_p99_ms=float(np.quantile(self.lags_ms, 0.99)) if self.lags_ms else 0.0,
            stopped=self.stopped,
        )

    # Sending

    def _send(self) -> float:
        """Send each arrival when it is due. Returns the CPU time used, as a fraction of one core."""
        self.began = time.perf_counter() + self.plan.warmup_s
        wall, cpu = time.perf_counter(), time.process_time()
        warm = True
        for number, due_s in enumerate(self.due_s):
            if warm and due_s >= 0:
                wall, cpu, warm = time.perf_counter(), time.process_time(), False
            due_at = self.began + due_s
            gevent.sleep(max(due_at - time.perf_counter(), 0))  # 0 lets the answers in when we are late
            if self.stopped or self._hopeless():
                break
            user, task = self.picks.next()
            seed = int(self.rng.integers(2**32))
            arrival = Arrival(number=number, due_s=float(due_s), due_at=due_at, user=user, task=task, seed=seed)
            for name in self.rng.permutation(list(self.arms)):
                self._dispatch(self.arms[name], arrival)
            self.sent_s = float(due_s)
            self.sent += int(due_s >= 0)
        return (time.process_time() - cpu) / max(time.perf_counter() - wall, 1e-9)

    def _dispatch(self, arm: Arm, arrival: Arrival) -> None:
        if arm.pool.full():
            arm.dropped += arrival.due_s >= 0
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
            self.stopped = f"the locustfile stopped the test: {error}"
        except gevent.GreenletExit:
            return
        except Exception as error:  # noqa: BLE001  whatever a task raises is its failure; its user is not used again
            failure = f"{describe(error)} ({place(error, self.locustfile)})"
            arm.note(flight, float("nan"), NO_ENDPOINT, failure)
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
                arm.note(flight, lasted_ms, NO_ENDPOINT, f"no answer {within_s:.0f} s after the last arrival")
            arm.pool.kill(timeout=_LEAVE_WITHIN_S)

    def _hopeless(self) -> bool:
        """Whether green stays over its limit even if everything that is still to come succeeds."""
        green = self.arms["green"]
        failed = green.errors + green.dropped
        each = max(1.0, green.requests * len(self.arms) / max(len(self.lags_ms), 1))
        if failed < _HOPELESS_ERRORS or failed <= self.plan.error_rate * self.planned * each:
            return False
        self.stopped = f"green had {failed} failures by then"
        return True

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
        arm.note(flight, response_time + waited_ms, endpoint, failure)
        signed = (getattr(response, "headers", None) or {}).get(REVISION_HEADER)
        arm.misrouted += signed is not None and signed != arm.target.revision

    def _report(self) -> None:
        while True:
            gevent.sleep(_PROGRESS_EVERY_S)
            print(self._progress(), flush=True)  # noqa: T201

    def _progress(self) -> str:
        counts = [f"{arm.name} {arm.requests} requests, {arm.errors} errors" for arm in self.arms.values()]
        state = "warming up" if self.sent_s < 0 else f"{self.sent_s:.0f} of {self.plan.duration_s:.0f} s"
        return f"load: {state}: " + "; ".join(counts)


def schedule(plan: Plan, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """When arrivals are due, in seconds from the end of the warm-up; rising.

    A Poisson process, given how many arrivals it has: then they are uniform (Ross, Stochastic Processes, 2.3).
    So every run at the same rate has the same number of samples.
    """
    warm = rng.uniform(-plan.warmup_s, 0, round(plan.rate * plan.warmup_s))
    counted = rng.uniform(0, plan.duration_s, round(plan.rate * plan.duration_s))
    return np.sort(np.concatenate([warm[warm < 0], counted]))


def measure(plan: Plan) -> Measured:
    """Carry the plan out."""
    locustfile = Path(plan.locustfile or "examples")
    try:
        cast = load_cast(locustfile) if plan.locustfile else example_cast(plan.examples)
    except UnusableLocustfile as error:
        return Measured(problem=str(error))
    return Duet(plan, cast, locustfile).run()


def main(folder: Path, parent: int) -> None:
    """Measure what plan.json asks for, as long as the process that asked lives."""
    gevent.spawn(_end_with, parent)
    write_measured(folder, measure(read_plan(folder)))
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
