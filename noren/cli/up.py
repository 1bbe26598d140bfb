"""noren up: start the control plane and the front door."""

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from noren import settings
from noren.cli.console import AsJson, out, print_json
from noren.client import Client
from noren.domain.errors import Conflict, DriverError, DriverUnavailable
from noren.machine import Machine, exit_code, listener, own_environment, tail, uninterrupted
from noren.settings import Runtime, Settings
from noren.shutdown import end, stop_everything

_WITHIN_S = 30.0


def up(
    runtime: Annotated[
        Runtime | None, typer.Option(help="what a replica is; the next `noren up` does the same", show_default=False)
    ] = None,
    foreground: Annotated[bool, typer.Option(help="stay in this terminal, for systemd and containers")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the control plane and the front door; does nothing when they run. Deployments come back as they were."""
    chosen = settings.load()
    if runtime:
        chosen = chosen.model_copy(update={"runtime": runtime})
    began = time.monotonic()
    with _one_at_a_time(chosen):
        running = Client(chosen.api_url).require_home(chosen.home)
        if not running:
            _refuse_taken_ports(chosen)
            _start(chosen, foreground=foreground)
        else:
            _refuse_another_runtime(chosen)
            _wait_for_front_door(chosen)
    _report(chosen, already=running, seconds=time.monotonic() - began, as_json=as_json)


@contextlib.contextmanager
def _one_at_a_time(chosen: Settings) -> Iterator[None]:
    """Wait until another `noren up` of this home has ended: what it has started must not look taken to us."""
    with (settings.writable_home(chosen.home) / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released by the kernel when we die, or become the server
        yield


def _refuse_another_runtime(chosen: Settings) -> None:
    if (now := settings.remembered_runtime(chosen.home)) != chosen.runtime:
        raise Conflict(
            f"it is up already, and makes of a replica a {now}, not a {chosen.runtime}",
            fix=f"`noren down`, then `noren up --runtime {chosen.runtime}`",
        )


def _refuse_taken_ports(chosen: Settings) -> None:
    ours = {p.pid for p in Machine(chosen.home).processes("envoy")}
    for variable, port in (
        ("NOREN_PORT", chosen.port),
        ("NOREN_FRONT_DOOR_PORT", chosen.front_door_port),
        ("NOREN_ADMIN_PORT", chosen.admin_port),
    ):
        # A front door that outlived its control plane keeps its ports.
        if variable != "NOREN_PORT" and ours:
            continue
        if owner := _still_listening(port):
            raise DriverError(f"port {port} is taken by {owner}", fix=f"stop it, or set {variable} to another port")


def _still_listening(port: int) -> str | None:
    """Who has the port, also after half a second: the kernel frees those of a killed process a little late."""
    deadline = time.monotonic() + 0.5
    while (owner := listener(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return owner


def _start(chosen: Settings, *, foreground: bool) -> None:
    """Start the control plane and wait for the front door. After Ctrl-C only what ran before is left."""
    machine, log = Machine(chosen.home), chosen.home / "logs" / "server.out"
    argv = [sys.executable, "-m", "noren.server"]
    env = own_environment() | {"NOREN_HOME": str(chosen.home), "NOREN_RUNTIME": chosen.runtime}
    if foreground:
        machine.become(argv, kind="server", name="server", env=env)
    outlived = machine.processes()  # a data plane that serves without its control plane, or with another one
    pid = None
    try:
        with uninterrupted():
            pid = machine.start(argv, kind="server", name="server", log=log, env=env)
        _wait_for_server(chosen, pid, log)
        _wait_for_front_door(chosen)
        _wait_for_live(chosen)
    except KeyboardInterrupt:
        if not outlived:
            stop_everything(chosen)
        elif pid is not None:
            end(machine, "server", leader=pid)
        raise


def _wait_for_server(chosen: Settings, pid: int, log: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    client = Client(chosen.api_url)
    while not client.running():
        if exit_code(pid) is not None or time.monotonic() > deadline:
            said = "\n".join(tail(log, 5)).removeprefix("noren: ") or "it said nothing"
            raise DriverError(f"the control plane did not start:\n{said}", fix=f"see {log}")
        time.sleep(0.05)


@retry(
    retry=retry_if_exception_type(DriverUnavailable),
    stop=stop_after_delay(_WITHIN_S),
    wait=wait_fixed(0.1),
    reraise=True,
)
def _wait_for_front_door(chosen: Settings) -> None:
    Client(chosen.api_url).status()


def _wait_for_live(chosen: Settings) -> None:
    """Return when what was live is live again, or after a while: a replica that cannot start is no reason to hang."""
    control, deadline = Client(chosen.api_url), time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        if all(view.ready or view.live is None for view in control.status().deployments):
            return
        time.sleep(0.2)
    out.print("not every live replica is ready yet: `noren status` shows them")


def _report(chosen: Settings, *, already: bool, seconds: float, as_json: bool) -> None:
    places = {"api": chosen.api_url, "front_door": chosen.front_door_url, "home": str(chosen.home)}
    if as_json:
        return print_json(places | {"already": already, "seconds": round(seconds, 2)})
    out.print("already up" if already else f"up in {seconds:.1f} s")
    out.print(f"  guests  {chosen.front_door_url}/<deployment>/...")
    out.print(f"  API     {chosen.api_url}/docs")
    out.print(f"  home    {chosen.home}", soft_wrap=True)
    return None
