"""The load check: a duet of green and blue, looked at until it is clear which is slower, or its time is over."""

import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from noren.control.ports import GateRun
from noren.domain.verdict import Check, Outcome, overall
from noren.gates import calibration, files, placement
from noren.gates.duet import (
    MEASURED,
    WARM_UPS,
    Measured,
    Plan,
    Target,
    last_look,
    look_file,
    read_measured,
    read_plan,
    write_plan,
)
from noren.gates.judgement import alarm, judge, look, looks

_START_WITHIN_S = 60.0  # importing Locust and the locustfile on a busy machine
_SETTLE_S = 1.0  # after a look's last arrival, for its answer to come
_END_WITHIN_S = 5.0
_ASK_EVERY_S = 1.0

Checks = tuple[Check, ...]


def check(run: GateRun, folder: Path) -> Checks:
    """Measure green beside blue and judge it. Takes warm-up and duration of the gate at most, and some seconds."""
    gate = run.green.gates.load
    if gate.locustfile is None and not run.examples:
        detail = "nothing to send: give the service's schema an example, or the deployment a locustfile"
        return (Check(name="load", outcome=Outcome.HOLD, detail=detail),)
    # Blue itself has guests on all cores, and must not lose one; then green has them too.
    arms = [run.green.name, run.blue.name] if run.blue and not run.degraded else []
    with placement.apart(placement.this_home() if gate.pin and arms else None, arms) as core:
        return measure(make_plan(run, folder), folder, core=core)


def make_plan(run: GateRun, folder: Path) -> Plan:
    """The duet that the run asks for. The same run draws the same schedule."""
    gate = run.green.gates.load
    gate = replace(gate, launch_sigma=_launch_sigma(folder, gate.launch_sigma))
    targets = {"green": Target(url=run.green_url, revision=run.green.name, headers=run.headers.get("green", {}))}
    if run.blue and run.blue_url:
        targets["blue"] = Target(url=run.blue_url, revision=run.blue.name, headers=run.headers.get("blue", {}))
    return Plan(
        targets=targets,
        locustfile=str(folder / files.LOCUSTFILE) if gate.locustfile else None,
        examples=run.examples,
        gate=gate,
        slo=run.green.slo,
        seed=zlib.crc32(run.name.encode()),
    )


def _launch_sigma(folder: Path, default: float) -> float:
    """The default, moved as far as what `noren gate calibrate` measured for the deployment speaks against it.

    Few launches often give an estimate of 0, which says no more than that they could not be told apart. A file that
    cannot be read decides nothing.
    """
    path = folder / files.CALIBRATION
    if not path.exists():
        return default
    try:
        found = calibration.from_json(path.read_bytes())
        sigma = min(max(found.launch_sigma, default), found.launch_sigma_high)
        said = f"by {found.launches} launches at {found.measured_at:%Y-%m-%d %H:%M} UTC"
    except ValueError as error:
        sigma, said = default, f"the default, for the file is damaged: {str(error).splitlines()[0]}"
    with (folder / files.LOG).open("a") as log:
        log.write(f"{path.name}: launch_sigma {sigma:.4f}, {said}\n")
    return sigma


def measure(
    plan: Plan, folder: Path, told: Callable[[Measured], None] | None = None, *, core: int | None = None
) -> Checks:
    """Run the duet in a process of its own, and judge it at each look. What was seen is kept in look-N.json.

    told  called with what has been measured, about once a second
    core  which the generator runs on; None: the kernel decides
    """
    write_plan(folder, plan)
    argv = [sys.executable, "-m", "noren.gates.locust_driver", str(folder), str(os.getpid())]
    checks: Checks = ()
    with (folder / files.LOG).open("ab") as log:
        # In a session of its own: Ctrl-C is for us, and we end it in order.
        driver = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        placement.settle(driver.pid, core)
        try:
            for checks in _judgements(driver, plan, folder, told):
                if overall(checks) in (Outcome.PASS, Outcome.FAIL):
                    break
        finally:  # also when SIGTERM or Ctrl-C ends us: it must not send on its own
            _end(driver)
    return checks


def replay(folder: Path) -> Checks:
    """Judge again what the folder holds of a duet. The same evidence gives the same checks."""
    number = last_look(folder)
    return _judge(read_plan(folder), folder, number) if number else (_invalid("it was never looked at"),)


def _judgements(
    driver: "subprocess.Popen[bytes]", plan: Plan, folder: Path, told: Callable[[Measured], None] | None
) -> Iterator[Checks]:
    """What each look says, until the generator has ended."""
    ends_at = time.monotonic() + _START_WITHIN_S + WARM_UPS * plan.warmup_s + plan.duration_s + 2 * plan.drain_s
    number, planned = 1, looks(plan.duration_s)
    while driver.poll() is None and time.monotonic() < ends_at:
        time.sleep(_ASK_EVERY_S)
        measured = read_measured(folder)
        if measured and told:
            told(measured)
        if measured is None or measured.ended:
            continue
        due = measured.elapsed_s >= planned[number - 1].until_s + _SETTLE_S and not planned[number - 1].last
        if due or _alarming(plan, measured):
            yield _take(plan, folder, number)
            number += due
    measured = read_measured(folder)
    if measured is None or not measured.ended:
        yield (_invalid(f"the load generator ended with code {driver.poll()} and no result; see {folder / files.LOG}"),)
        return
    yield _take(plan, folder, number)


def _take(plan: Plan, folder: Path, number: int) -> Checks:
    """Look, and keep what was seen."""
    shutil.copyfile(folder / MEASURED, folder / look_file(number))
    return _judge(plan, folder, number)


def _judge(plan: Plan, folder: Path, number: int) -> Checks:
    seen = read_measured(folder, look_file(number))
    assert seen is not None
    return judge(plan, seen, look(plan.duration_s, number, ended=seen.ended))


def _alarming(plan: Plan, measured: Measured) -> bool:
    arms = {name: samples.until(plan.duration_s) for name, samples in measured.arms.items()}
    return bool(arms) and alarm(measured, arms, plan.slo) is not None


def _end(driver: "subprocess.Popen[bytes]") -> None:
    driver.send_signal(signal.SIGTERM)  # nothing if it has ended
    try:
        driver.wait(_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()


def _invalid(reason: str) -> Check:
    return Check(name="load", outcome=Outcome.INVALID, detail=reason)
