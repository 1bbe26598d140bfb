"""noren gate calibrate: what this machine can tell apart, by A/A runs of what is live."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from noren import settings
from noren.api.schemas import DeploymentView
from noren.cli.console import AsJson, Name, client, out, print_json
from noren.cli.progress import LoadProgress
from noren.domain.deployment import Margins, Revision
from noren.domain.errors import Conflict, DriverUnavailable, SpecError
from noren.machine import ENDINGS
from noren.manifests import terms_file

if TYPE_CHECKING:
    from noren.gates.calibration import Arms, Calibration
    from noren.gates.launches import Trial


def calibrate(
    name: Name,
    launches: Annotated[int, typer.Option(min=3, help="how many pairs of fresh copies; more know more")] = 5,
    duration: Annotated[str, typer.Option(help="how long each pair is measured: 20s, 2m")] = "20s",
    as_json: AsJson = False,
) -> None:
    """Measure fresh copies of the live revision against each other: how far apart equal versions are on this machine.

    Says which margins its gate can resolve, and in what time. The gate uses what is found from its next run on. Guests
    are not asked, but share the machine: two more copies run on it, under the rate of the gate.
    """
    from noren.bootstrap import trial  # half a second of imports that no other verb needs
    from noren.gates import files
    from noren.gates.calibration import to_json

    chosen, length = settings.load(), _length(duration)
    number = _live_number(client().deployment(name))
    with _alone(chosen.home), _ended_in_order():
        tried = trial(chosen, name, number)
        _see_long_enough(tried, length)
        folder = chosen.home / "calibration" / name
        measured = _measure(tried, length, launches, folder, silent=as_json)
        found = _conclude(tried, measured, length)
        stored = files.calibration(chosen.home, name)
        files.write(stored, to_json(found))
        shutil.rmtree(folder)  # kept where something went wrong: the messages point there
    _print(found, tried.live.gates.load.margins, stored, as_json=as_json)


def _length(written: str) -> timedelta:
    return terms_file.read(None, {"duration": written}).gate().duration


def _live_number(view: DeploymentView) -> int:
    """The number of the live revision. Raises Conflict where there is none at rest."""
    if view.live is None:
        raise Conflict(
            f"{view.name} has no live revision, so there is nothing to copy",
            fix=f"get one through its rollout first: `noren status {view.name}`",
        )
    if view.rollout and view.rollout.active:
        raise Conflict(
            f"a rollout of {view.rollout.green} is under way ({view.rollout.state}), and one would disturb the other",
            fix=f"wait for its end: `noren watch {view.name}`",
        )
    return view.live.number


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One at a time: they would measure each other, and their copies have the same names."""
    folder = home / "calibration"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the kernel when we die
        except OSError as error:
            raise Conflict("a calibration is under way in this home", fix="wait for its end, or stop it") from error
        yield


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """However it is ended, it ends its copies first; asking again does not keep it from that."""

    def end(signum: int, _frame: FrameType | None) -> NoReturn:
        for one in ENDINGS:
            signal.signal(one, lambda *_: None)  # not SIG_IGN: Python complains of those that are on their way
        sys.exit(128 + signum)

    before = {signum: signal.signal(signum, end) for signum in ENDINGS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _see_long_enough(tried: "Trial", length: timedelta) -> None:
    """Before minutes of measuring, not after them."""
    from noren.gates.calibration import SHORTEST_S
    from noren.gates.judgement import MIN_REQUESTS

    rate = tried.gate(length).rate
    needed = max(SHORTEST_S, MIN_REQUESTS / rate)
    if length.total_seconds() < needed:
        raise SpecError(
            f"{length.total_seconds():g} s at {rate:g} requests a second are too short to measure anything by",
            fix=f"--duration {needed:.0f}s is the least, and more tells more",
        )


def _measure(tried: "Trial", length: timedelta, launches: int, folder: Path, *, silent: bool) -> list["Arms"]:
    from noren.gates.launches import measure

    shutil.rmtree(folder, ignore_errors=True)
    measured = []
    for number in range(1, launches + 1):
        about, first = f"launch {number} of {launches}: ", f"starting two copies of {tried.live.name}"
        with LoadProgress(tried.gate(length), silent=silent, about=about, first=first) as progress:
            measured.append(measure(tried, length, folder / f"launch-{number}", progress.tell))
        _see_undisturbed(tried.live)
    return measured


def _see_undisturbed(live: Revision) -> None:
    """Raise Conflict where a rollout began while the copies were measured. Without a control plane none begins."""
    with contextlib.suppress(DriverUnavailable):
        if _live_number(client().deployment(live.deployment)) != live.number:
            raise Conflict(
                f"{live.name} is no longer live: nothing is stored of a revision that was replaced meanwhile",
                fix=f"noren gate calibrate {live.deployment}",
            )


def _conclude(tried: "Trial", measured: list["Arms"], length: timedelta) -> "Calibration":
    from noren.gates.calibration import calibrate as calibrated

    return calibrated(
        measured,
        deployment=tried.live.deployment,
        bento=tried.live.bento,
        cores=os.cpu_count() or 1,
        duration_s=length.total_seconds(),
        rate=tried.gate(length).rate,
        measured_at=datetime.now(UTC),
    )


def _print(found: "Calibration", margins: Margins, stored: Path, *, as_json: bool) -> None:
    from noren.gates.calibration import PASSES, TIMES_S, to_json

    resolved = {name: {f"{seconds}s": found.resolves(name, seconds) for seconds in TIMES_S} for name in found.scatter}
    if as_json:
        return print_json(json.loads(to_json(found)) | {"resolves": resolved, "stored": str(stored)})
    out.print(
        f"{found.bento}: {found.launches} launches of {found.duration_s:g} s at {found.rate:g} requests a second, "
        f"{found.cores} cores",
        soft_wrap=True,
    )
    out.print(_launches_words(found), soft_wrap=True)
    table = Table("", "latency", "design effect", *map(_words, TIMES_S), "margin now", box=None)
    for name, by_time in resolved.items():
        cells = [f"{found.latency_ms[name]:.1f} ms", f"{found.design_effect[name]:.1f}"]
        cells += [f"{margin:.1%}" for margin in by_time.values()]
        table.add_row(name, *cells, f"{getattr(margins, name):.0%}")
    out.print(table)
    out.print(
        f"an equal version passes {PASSES:.0%} of its gates where the margin is at least what is below the time",
        soft_wrap=True,
    )
    out.print(f"stored: {stored}", soft_wrap=True, markup=False)
    return None


def _launches_words(found: "Calibration") -> str:
    """How far launches are apart, and what is not known of it: few launches leave much room."""
    from noren.gates.calibration import TIMES_S

    sigma, high, longest_s = found.launch_sigma, found.launch_sigma_high, max(TIMES_S)
    said = f"one launch differs from the next by {sigma:.1%}" if sigma else "launches could not be told apart"
    least = replace(found, launch_sigma=high).resolves("p50", longest_s)
    return (
        f"{said} (launch_sigma {sigma:.4f}; with 95 % confidence at most {high:.4f}, "
        f"which would ask for a margin of {least:.1%} at p50 {_words(longest_s)}: more launches know more)"
    )


def _words(seconds: int) -> str:
    return f"in {seconds} s" if seconds < 60 else f"in {seconds // 60} min"
