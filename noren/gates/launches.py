"""A/A: two fresh copies of the live revision are started, measured beside each other like green and blue, and ended.

They are nobody's deployment: their name has an underscore in it, which that of a deployment cannot have. So the control
plane neither sends them guests nor ends them. `noren down` ends them, and so does the next calibration.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from noren.control.ports import RUNNING_STATES, GateRun, Replica, ReplicaState, Runtime
from noren.domain.deployment import LoadGate, Revision, Slo
from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NotFound, SpecError
from noren.domain.gating import ROOM
from noren.domain.verdict import Check, Outcome
from noren.gates import files, load
from noren.gates.calibration import Arms
from noren.gates.duet import Measured, read_measured
from noren.machine import uninterrupted

_GRACE = timedelta(seconds=10)  # between SIGTERM and SIGKILL
_GONE_WITHIN_S = 30.0
_ASK_EVERY_S = 0.2
_SAID_LINES = 5
UNCLEAR_SIGMA = 10.0  # with it every interval of a shift is too wide for any look to end the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Whose copies are measured, and by whose hands."""

    runtime: Runtime
    live: Revision
    examples: tuple[Mapping[str, object], ...]  # as in GateRun

    def gate(self, duration: timedelta) -> LoadGate:
        """How each launch is measured: as the deployment's gate would, for the whole of the time.

        There is no front door between, so a copy gets the part of the rate that one of the live replicas gets.
        """
        asked = self.live.gates.load
        return replace(
            asked,
            enabled=True,
            rate=asked.rate / self.live.replicas,
            duration=duration,
            launch_sigma=UNCLEAR_SIGMA,
            slack_ms=0.0,
        )


def measure(trial: Trial, duration: timedelta, folder: Path, told: Callable[[Measured], None]) -> Arms:
    """One launch: what was measured of two fresh copies, without the warm-up.

    folder  takes everything measured; its name tells this launch from the others
    told    called about once a second
    Raises SpecError when there is nothing to send, Conflict when the machine is too busy or has no room, DriverError
    when a copy does not get ready or does not answer. The copies are ended whatever happens.
    """
    if trial.live.gates.load.locustfile is None and not trial.examples:
        raise SpecError(
            f"there is nothing to send to {trial.live.name}",
            fix="give the service's schema an example, or the deployment a locustfile",
        )
    gate = trial.gate(duration)
    green, blue = (_copy(trial.live, number, gate) for number in (1, 2))
    with _running(trial, [green, blue]) as ready:
        run = GateRun(
            name=f"{green.name}-{folder.name}",
            green=green,
            blue=blue,
            attempt=1,
            green_url=f"http://{ready[green.name].address}",
            blue_url=f"http://{ready[blue.name].address}",
            headers={},
            examples=trial.examples,
        )
        files.write_request(folder, run)
        checks = load.measure(load.make_plan(run, folder), folder, told)
        _see_unharmed(trial, ready)
    _see_sound(checks, trial.live, folder)
    measured = read_measured(folder)
    assert measured is not None
    return {arm: samples.until(duration.total_seconds()) for arm, samples in measured.arms.items()}


def _copy(live: Revision, number: int, gate: LoadGate) -> Revision:
    """One copy. It is not judged, so limits of latency do not count; errors do."""
    return replace(
        live,
        deployment=f"calibrate_{live.deployment}",
        number=number,
        replicas=1,
        twin=False,
        slo=Slo(error_rate=live.slo.error_rate),
        gates=replace(live.gates, load=gate),
    )


@contextlib.contextmanager
def _running(trial: Trial, copies: Sequence[Revision]) -> Iterator[dict[str, Replica]]:
    """The copies while they run, once they are ready, by name."""
    names = [copy.name for copy in copies]
    _end(trial.runtime, names)  # what a calibration that was killed has left is not fresh
    _see_room(trial, len(copies))
    try:
        with uninterrupted():
            for copy in copies:
                trial.runtime.start(copy)
        yield _await_ready(trial, names)
    finally:
        _end(trial.runtime, names)


def _see_room(trial: Trial, copies: int) -> None:
    """Guests must not pay for it: where memory runs out, the kernel may choose the live replica."""
    used = [r.memory_bytes for r in trial.runtime.replicas() if r.revision == trial.live.name]
    spare, needed = trial.runtime.spare_bytes(), ROOM * copies * max(used, default=0)
    if spare is not None and spare < needed:
        raise Conflict(
            f"{spare / 1e6:.0f} MB of memory are to spare, and {copies} copies of {trial.live.name} ask for "
            f"{needed / 1e6:.0f}",
            fix="calibrate when less runs here, or on a machine like it with more memory",
        )


def _await_ready(trial: Trial, names: Sequence[str]) -> dict[str, Replica]:
    within = trial.live.strategy.ready_within
    deadline = time.monotonic() + within.total_seconds()
    missed: set[str] = set()
    while True:
        seen = {r.revision: r for r in trial.runtime.replicas() if r.revision in names}
        gone = {name for name in names if name not in seen or seen[name].state not in RUNNING_STATES}
        if ended := sorted(gone & missed):  # twice: a process that begins is hard to see for a moment
            raise _not_ready(trial, ended[0], "it ended", seen[ended[0]].detail if ended[0] in seen else "")
        if not gone and all(replica.state is ReplicaState.READY for replica in seen.values()):
            return seen
        if time.monotonic() > deadline:
            late = next(name for name in names if name in gone or seen[name].state is not ReplicaState.READY)
            raise _not_ready(trial, late, f"not within {within}")
        missed = gone
        time.sleep(_ASK_EVERY_S)


def _see_unharmed(trial: Trial, ready: Mapping[str, Replica]) -> None:
    """That the copies are those that were ready: what was measured of one that ended says nothing."""
    now = {r.revision: r.identity for r in trial.runtime.replicas() if r.state in RUNNING_STATES}
    for name, before in ready.items():
        if now.get(name) != before.identity:
            raise DriverError(
                f"a copy of {trial.live.name} ended while it was measured, and nothing was stored",
                fix="calibrate again, unless `noren down` was typed; `noren logs` shows whether the live one ends too",
            )


def _not_ready(trial: Trial, name: str, why: str, detail: str = "") -> DriverError:
    if not detail:
        with contextlib.suppress(NotFound, DriverUnavailable):
            detail = "\n".join(trial.runtime.logs(name, lines=_SAID_LINES))
    return DriverError(
        f"a fresh copy of {trial.live.name} did not get ready ({why}):\n{detail or 'it said nothing'}",
        fix=f"see what a new start of it needs: it is {trial.live.bento}, with the live revision's environment",
    )


def _end(runtime: Runtime, names: Sequence[str]) -> None:
    """Return when nothing of the copies runs."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(DriverUnavailable):  # a container engine that is busy
            for name in names:
                runtime.stop(name, grace=_GRACE)
            if not any(replica.revision in names for replica in runtime.replicas()):
                return
        time.sleep(_ASK_EVERY_S)
    raise DriverError(f"these copies do not end: {', '.join(names)}", fix="`noren down` ends everything of this home")


def _see_sound(checks: Sequence[Check], live: Revision, folder: Path) -> None:
    """Nothing is learnt of a machine that was busy with something else, nor of copies that do not answer."""
    for check in checks:
        if check.outcome is Outcome.INVALID and check.name == "trust":
            raise Conflict(
                f"this measurement cannot be trusted, and nothing was stored: {check.detail}",
                fix="calibrate when the machine has nothing else to do, or with a lower gates.load.rate",
            )
        if check.outcome in (Outcome.INVALID, Outcome.FAIL):
            raise DriverError(
                f"copies of {live.name} could not be measured, and nothing was stored: {check.detail}",
                fix=f"see {folder / files.LOG}",
            )
