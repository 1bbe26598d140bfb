import contextlib
import fcntl
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

from noren.control.ports import DoorView, Table
from noren.domain.errors import Conflict, DriverError, DriverUnavailable
from noren.frontdoors import envoy_config as config
from noren.frontdoors.ejections import Ejections
from noren.frontdoors.envoy_admin import EnvoyAdmin, closed_from_outside, ejected, view
from noren.frontdoors.envoy_files import EnvoyFiles
from noren.frontdoors.envoy_start import (
    DRAIN_S,
    LINGER_S,
    base_id,
    binary,
    envoy_argv,
    forget,
    made_of,
    validate_argv,
)
from noren.machine import Machine, Marked, exit_code, listener, rotate, tail

KIND, NAME = "envoy", "front-door"
# In Envoy's environment: what it was started to listen on, whatever the settings say by now.
_ADDRESS, _ADMIN = "NOREN_FRONT_DOOR", "NOREN_FRONT_DOOR_ADMIN"
# ... what it is, which of those that took over from each other it is, and what these share: see envoy_start.py.
_MADE, _GENERATION, _BASE = "NOREN_FRONT_DOOR_MADE", "NOREN_FRONT_DOOR_GENERATION", "NOREN_FRONT_DOOR_BASE"
_DEAF_AFTER = timedelta(seconds=10)  # a younger Envoy may not have opened its admin page yet
_KNOWN_AFTER = timedelta(seconds=5)  # a younger one may not have asked its predecessor what it has


class EnvoyFrontDoor:
    """One Envoy on this machine, configured by files that it watches. It outlives the control plane.

    After a hand-over there are two for a while: the newest has all new connections, its predecessor ends what it has
    begun. They are ended together, and looked at as one.
    """

    def __init__(self, home: Path, machine: Machine, *, port: int, admin_port: int, host: str = "127.0.0.1") -> None:
        home = home.resolve()
        self._machine = machine
        self._host, self._port, self._admin_port = host, port, admin_port
        self._files = EnvoyFiles(home / "frontdoor")
        self._admin = EnvoyAdmin(admin_port)
        self._log, self._access_log = home / "logs" / "envoy.log", home / "logs" / "access.log"
        self._started: int | None = None  # pid of the Envoy that this object started last
        self._refused = ""  # what Envoy itself said that it would not start as
        self._settled = False  # whether it once was as it should be: then whoever made another one knows better
        self._ejections = Ejections()

    def publish(self, table: Table, *, epoch: int = 0) -> None:
        """Put this table in the place of the deployment's last one; Envoy takes it up within milliseconds."""
        if self._files.holds(table, epoch):
            return
        with self._files.written_by(epoch):
            tables = self._files.tables
            others = [other for name, other in tables.items() if name != table.deployment]
            if problem := config.problem_with(table, others):
                raise DriverError(
                    f"the front door cannot serve {table.deployment}: {problem}",
                    fix=f"change the route in deploy/{table.deployment}.yaml and apply it again",
                )
            self._files.put({**tables, table.deployment: table})

    def withdraw(self, deployment: str, *, epoch: int = 0) -> None:
        """Forget the deployment."""
        with self._files.written_by(epoch):
            self._files.put({name: table for name, table in self._files.tables.items() if name != deployment})

    def epoch(self) -> int:
        """The highest that ever wrote: see FrontDoor. Of Envoys that take over from each other we say generation."""
        return self._files.epoch

    def look(self, *, epoch: int | None = 0) -> DoorView:
        """Ask Envoy itself; start it if it does not run, and hand over where another one should. See FrontDoor.

        Counts begin at zero whenever it starts.
        """
        if epoch is None:
            self._files.forget()  # another control plane writes them
        running = self._newest() if epoch is None else self._require_running()
        if running is None:
            raise self._starting()
        rotate(self._log)
        rotate(self._access_log)
        try:
            routes, stats = self._admin.routes(), self._admin.stats()
        except DriverUnavailable:
            if epoch is not None and self._is_deaf(running):
                self._end()
            raise
        if closed_from_outside(stats, _generation(running)) and epoch is not None:
            self._end()
            raise self._starting()
        if not stats.values.get("server.live") or not routes:
            raise self._starting()
        if epoch is not None:
            with self._files.written_by(epoch):
                self._files.sweep(routes["version_info"])
        clusters = self._admin.clusters()
        return replace(view(routes, clusters, stats), sick=self._ejections.note(ejected(clusters), self._addresses()))

    def restart(self, *, within: timedelta = timedelta(seconds=30)) -> None:
        """Hand all guests over to a new Envoy, and return when it has them. The old one ends what it has begun.

        Raises DriverUnavailable when none runs, Conflict while an earlier hand-over is not over, and DriverError when
        there can be none; then the old one serves on.
        """
        self._require_one()  # before anything is written
        with self._alone():
            running = self._require_one()
            self._refuse_a_bad_moment(running)
            generation = self._hand_over(running)
            if not _wait(lambda: self._serves(generation) or not self._is_newest(generation), within):
                raise DriverError(f"the new Envoy did not take over within {within}", fix=f"see {self._log}")
            if not self._is_newest(generation):
                raise DriverError(f"the new Envoy ended at once: {self._last_words()}", fix=f"see {self._log}")

    def shutdown(self, *, grace: timedelta = timedelta(seconds=10)) -> None:
        """Let open requests finish for `grace`, then end Envoy. Nothing of it is left afterwards."""
        if running := self._newest():
            # Its own admin page: the port in the settings may by now be that of another home's Envoy.
            admin = EnvoyAdmin(int(running.env.get(_ADMIN, self._admin_port)))
            with contextlib.suppress(DriverUnavailable):
                before = admin.closed()
                admin.drain()
                _wait(lambda: admin.closed() > before, timedelta(seconds=DRAIN_S + 1))
                _wait(lambda: admin.requests_in_flight() == 0, grace)
        self._end()

    # Which Envoy there is

    def _newest(self) -> Marked | None:
        return max((p for p in self._machine.processes(KIND, NAME) if p.leads), key=_generation, default=None)

    def _require_one(self) -> Marked:
        if running := self._newest():
            return running
        raise DriverUnavailable("the front door does not run", fix="`noren up` starts it")

    def _is_newest(self, generation: int) -> bool:
        newest = self._newest()
        return newest is not None and _generation(newest) == generation

    def _serves(self, generation: int) -> bool:
        with contextlib.suppress(DriverUnavailable):
            return self._admin.serving() == generation
        return False

    def _suits(self, running: Marked) -> bool:
        """Whether it is as it would be started now, or can be no other without failing its guests."""
        if running.env.get(_ADDRESS) != self._address:
            return False
        self._settled = self._settled or running.env.get(_MADE) == self._made
        if self._settled or self._made == self._refused or _BASE not in running.env:
            return True
        return self._has_predecessor(running)  # the next hand-over would end it at once, and it still has guests

    def _has_predecessor(self, running: Marked) -> bool:
        return any(p.leads and _generation(p) < _generation(running) for p in self._machine.processes(KIND, NAME))

    def _is_deaf(self, running: Marked) -> bool:
        """Whether it has given its admin page to a successor that is gone: nobody can see any more what it does."""
        old = datetime.now(UTC) >= running.started_at + _DEAF_AFTER
        return old and listener(self._admin_port) is None

    def _refuse_a_bad_moment(self, running: Marked) -> None:
        if running.env.get(_ADDRESS) != self._address:
            raise DriverError("the front door was started with other ports", fix="`noren down`, then `noren up`")
        if _BASE not in running.env:
            raise DriverError(
                "this Envoy cannot hand over: that needs Linux with /dev/shm, and it was started without",
                fix="`noren down`, then `noren up`",
            )
        # The new Envoy would end the one before this one at once. What that one still has is known half a second late.
        older = self._has_predecessor(running)
        young = datetime.now(UTC) < running.started_at + _KNOWN_AFTER
        left = self._admin.predecessors_connections() if older else 0
        if older and (left or young):
            raise Conflict(
                f"the last hand-over is not over: {left or 'some'} connections of guests are still with the old Envoy",
                fix=f"wait until they have their answers, at most {LINGER_S} s",
            )

    # Starting

    def _require_running(self) -> Marked:
        running = self._newest()
        if running and self._suits(running):
            return running
        with self._alone():
            running = self._newest()
            if running and self._suits(running):
                return running  # `noren frontdoor restart` was faster
            raise self._start_anew(running)

    def _start_anew(self, running: Marked | None) -> DriverUnavailable:
        """Start an Envoy, or hand over to one, without waiting for it. Returns what to say meanwhile."""
        if running and running.env.get(_ADDRESS) == self._address:
            self._hand_over(running)
            return self._starting()
        self._end()  # it was started with other ports: the settings have changed since. Or a part of it was killed.
        self._require_ports()
        failure = self._failure()
        self._start()
        return failure or self._starting()

    def _hand_over(self, running: Marked) -> int:
        """Start the successor, and return its generation. Raises DriverError when Envoy would not start so."""
        self._check()
        self._start(generation=_generation(running) + 1)
        return _generation(running) + 1

    def _check(self) -> None:
        """A successor that ends at its start would leave the old one without an admin page, and for good."""
        file = self._files.write_check(config.standalone(*self._static()))
        argv = validate_argv(binary(), file)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env={})
            said, refused = (done.stderr + done.stdout).strip(), bool(done.returncode)
        except (OSError, subprocess.TimeoutExpired) as error:
            said, refused = str(error), True
        if refused:
            self._refused = self._made
            raise DriverError(
                f"Envoy refuses what the front door was to become: {(said or 'it does not say why').splitlines()[-1]}",
                fix="the old one serves on; go back to the version of Noren that started it",
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time starts Envoys: `noren frontdoor restart` does it beside the control plane."""
        self._files.folder.mkdir(parents=True, exist_ok=True)
        with (self._files.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise self._starting() from error
            yield

    @property
    def _address(self) -> str:
        return f"{self._host}:{self._port} admin {self._admin_port}"

    @cached_property
    def _made(self) -> str:
        return made_of(*self._static())

    def _static(self, lds: str = "lds.json") -> tuple[config.Json, config.Json]:
        """What does not depend on tables: bootstrap and listeners."""
        folder = self._files.folder
        listeners = config.listeners(folder, host=self._host, port=self._port, access_log=self._access_log)
        return config.bootstrap(folder, admin_port=self._admin_port, lds=lds), listeners

    def _require_ports(self) -> None:
        for port in (self._port, self._admin_port):
            # An Envoy that was just killed may hold its ports for some milliseconds more.
            if not _wait(partial(_is_free, port), timedelta(seconds=0.5)):
                owner = listener(port) or "a process that is gone again"
                raise DriverError(
                    f"port {port}, which the front door needs, is taken by {owner}",
                    fix="stop that process, or choose other ports for the front door",
                )

    def _start(self, *, generation: int = 0) -> None:
        # In files of its own: its predecessor, whose listener may be another, must not take this one's for its own.
        lds = f"lds-{self._made}.json"
        with self._files.written_by(self._files.epoch):  # what is there, once more: that is no step of a leader
            bootstrap = self._files.write_static(f"bootstrap-{self._made}.json", lds, *self._static(lds))
            self._files.put(self._files.tables_now)
        self._access_log.parent.mkdir(parents=True, exist_ok=True)
        base = base_id(self._machine.home, self._address)
        env = {_ADDRESS: self._address, _ADMIN: str(self._admin_port), _MADE: self._made, _GENERATION: str(generation)}
        env |= {} if base is None else {_BASE: str(base)}
        argv = envoy_argv(binary(), bootstrap, generation=generation, base=base)
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
        return DriverUnavailable(
            f"the front door ended with code {code} and is started again: {self._last_words()}",
            fix=f"if it stays so, {self._log} says why",
        )

    def _last_words(self) -> str:
        return "".join(tail(self._log, 1)) or "it left no word"

    def _addresses(self) -> set[str]:
        tables = self._files.tables.values()
        return {address for table in tables for addresses in table.backends.values() for address in addresses}

    def _end(self) -> None:
        bases = {p.env[_BASE] for p in self._machine.processes(KIND, NAME) if _BASE in p.env}
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self._machine.signal(KIND, NAME, signum, all_of_it=True)
            if _wait(lambda: not self._machine.processes(KIND, NAME), timedelta(seconds=3)):
                break
        for base in bases:
            forget(int(base))


def _generation(process: Marked) -> int:
    return int(process.env.get(_GENERATION, 0))


def _is_free(port: int) -> bool:
    return listener(port) is None


def _wait(until: Callable[[], bool], within: timedelta) -> bool:
    deadline = time.monotonic() + within.total_seconds()
    while not until():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
