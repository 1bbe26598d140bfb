"""The events. Each happens to a Noren of its own, while guests ask, and says how these fared."""

import contextlib
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.chaos import postgresql
from benchmarks.chaos.guests import Answer, Guests
from benchmarks.chaos.house import House
from benchmarks.chaos.outcome import Figure, Outcome, judge
from benchmarks.chaos.postgresql import PostgreSql

_HELD = {"step_wait": "120s", "bake": "120s"}  # the rollout stays where it is until it is told to go on
_MOMENT_S = 0.05  # between the kill of a process and the front door's knowing of it
_EJECTED_WITHIN_S = 6.0  # two health checks that hang, and the pauses before them


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a scene is played with."""

    house: Callable[..., contextlib.AbstractContextManager[House]]  # a Noren that runs, and is ended; `database_url=`
    rate: float  # requests per second
    requests: int  # at least, for the promotions
    short: bool  # each event once, and no longer than it must be

    def often(self, times: int) -> int:
        """How often something is done: once when it is to be short."""
        return 1 if self.short else times


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One row of the table."""

    name: str  # for --only
    title: str
    play: Callable[[Stage], Outcome]


# Rollouts


def promote(stage: Stage) -> Outcome:
    """10, 50, 100 %, the bake, the drain, the end of blue; until enough have asked."""
    times = 0
    with stage.house() as house:
        house.live()
        with house.guests(stage.rate) as guests:
            while len(guests.answers) < stage.requests or not times:
                house.apply()
                house.until_state("done")
                house.until(house.at_rest)
                times += 1
    return judge(guests.answers, times=times)


def roll_back(stage: Stage) -> Outcome:
    """At each step a green that says that it is not ready, and a person; each time blue is all there is afterwards."""
    times = 0
    with stage.house() as house:
        blue = house.live()
        with house.guests(stage.rate) as guests:
            for _ in range(stage.often(3)):
                for state, how in _UNDONE:
                    green = house.apply(strategy=_reaching(state))
                    house.until_state(state)
                    with contextlib.ExitStack() as ill:
                        if how == "unready":
                            ill.enter_context(house.sick(green, 0, how))
                        else:
                            house.ask(how)
                        house.until_state("undone")
                    house.until(house.at_rest)
                    assert house.serving() == blue
                    times += 1
    return judge(guests.answers, times=times)


_UNDONE = (
    *((state, "unready") for state in ("shifting(10)", "shifting(50)", "baking")),
    *((state, "abort") for state in ("shifting(10)", "shifting(50)", "baking")),
    ("baking", "rollback"),
)


def roll_back_quickly(stage: Stage) -> Outcome:
    """From the moment when a rollback is decided to the last guest that is sent to green."""
    late_ms: list[float] = []
    with stage.house() as house:
        house.live()
        with house.guests(stage.rate) as guests:
            for number in range(3 if stage.short else 100):
                green = house.apply(strategy=_reaching("shifting(50)"))
                house.until_state("shifting(50)")
                house.until(partial(_has_guests, guests, green))
                late_ms.append(_last_guest_ms(house, guests, green, by_person=number % 2 == 0))
                house.until(house.at_rest)
    p99 = round(float(np.quantile(late_ms, 0.99)), 1)
    figures = {
        "decision to 0 % on green, median": Figure(value=round(float(np.median(late_ms)), 1), unit="ms"),
        "decision to 0 % on green, p99": Figure(value=p99, unit="ms", goal="<= 50"),
    }
    return judge(guests.answers, times=len(late_ms), figures=figures)


def _last_guest_ms(house: House, guests: Guests, green: str, *, by_person: bool) -> float:
    """Milliseconds between the decision, as the history has it, and the sending of green's last request."""
    began = time.time()
    if by_person:
        house.ask("abort")
        house.until_state("undone")
    else:
        with house.sick(green, 0, "unready"):
            house.until_state("undone")
    decided = house.told_at("abort" if by_person else "fail", after=began)
    last = max(answer.sent for answer in guests.of(green))
    return max(0.0, last - decided) * 1000


def _reaching(state: str) -> dict[str, Any]:
    """A strategy that gets there at once, and stays."""
    if state == "baking":
        return {**_HELD, "steps": [100]}
    share = int(state.removeprefix("shifting(").removesuffix(")"))
    return {**_HELD, "steps": [share, 100]}


# Noren itself


def kill_the_control_plane(stage: Stage) -> Outcome:
    """In each state of a rollout; it ends as it would have ended, by the same way."""
    back_s: list[float] = []
    with stage.house() as house:
        house.live()
        with house.guests(stage.rate) as guests:
            for _ in range(stage.often(5)):
                for state in ("warming", "gating", "shifting(10)", "shifting(50)", "baking"):
                    back_s.append(_killed_in(house, state))
                back_s.append(_killed_while_undoing(house))
    figures = {
        "`noren up` to converged, median": Figure(value=round(float(np.median(back_s)), 2), unit="s"),
        "`noren up` to converged, longest": Figure(value=round(max(back_s), 2), unit="s", goal="<= 5"),
    }
    return judge(guests.answers, times=len(back_s), figures=figures)


def _killed_in(house: House, state: str) -> float:
    green = house.apply(gates={"smoke": state == "gating"})
    reached = house.until_state(state, "done")
    back = _restart(house)
    assert house.until_state("done", "undone") == "done", f"killed in {reached}"
    house.until(house.at_rest)
    assert house.serving() == green
    return back


def _killed_while_undoing(house: House) -> float:
    blue = house.serving()
    house.apply(strategy=_reaching("shifting(50)"))
    house.until_state("shifting(50)")
    house.ask("abort")
    back = _restart(house)
    assert house.until_state("done", "undone") == "undone"
    house.until(house.at_rest)
    assert house.serving() == blue
    return back


def _restart(house: House) -> float:
    """Kill the control plane, go on without it for a moment, start it; seconds until it has looked and acted."""
    house.kill_server()
    time.sleep(1)
    began = time.monotonic()
    house.up()
    house.until(lambda: house.look().get("ready"))
    return time.monotonic() - began


def restart_the_front_door(stage: Stage) -> Outcome:
    """While some guests wait for long answers: these get them from the Envoy that goes."""
    took_s: list[float] = []
    with stage.house() as house:
        house.live()
        with house.guests(stage.rate) as guests, house.guests(5.0, path="ponder") as thoughtful:
            for _ in range(stage.often(10)):
                house.until(lambda: not _predecessor_is_needed(house))
                asked = len(thoughtful.answers)
                began = time.monotonic()
                house.run("frontdoor", "restart")
                took_s.append(time.monotonic() - began)
                house.until(partial(_has_answers, thoughtful, asked + 31))
    figures = {
        "long answers under way meanwhile": Figure(value=len(thoughtful.answers), unit="requests"),
        "`noren frontdoor restart`, longest": Figure(value=round(max(took_s), 1), unit="s"),
    }
    return judge([*guests.answers, *thoughtful.answers], times=len(took_s), figures=figures)


def _predecessor_is_needed(house: House) -> bool:
    """Whether guests are still connected to the Envoy before this one: until then there is no next restart."""
    return bool(house.door_stat("server.parent_connections"))


# Replicas


def kill_replicas(stage: Stage) -> Outcome:
    """One of two of green at each step, and one of two of blue while it serves."""
    answers: list[Answer] = []
    excused: list[Answer] = []
    times = 0
    with stage.house() as house:
        house.live()
        for _ in range(stage.often(5)):
            for state in ("shifting(10)", "shifting(50)", "baking"):
                with house.guests(stage.rate) as guests:
                    victim = house.apply(strategy=_reaching(state))
                    house.until_state(state)
                    killed = _kill(house, guests, victim)
                    assert house.until_state("undone", "done") == "undone"
                    house.until(house.at_rest)
                answers += guests.answers
                excused += _cut(guests, victim, killed, killed + _MOMENT_S)
                times += 1
            with house.guests(stage.rate) as guests:
                live = house.serving()
                time.sleep(2)
                killed = _kill(house, guests, live)
                house.until(house.at_rest)
            answers += guests.answers
            excused += _cut(guests, live, killed, killed + _MOMENT_S)
            times += 1
    return judge(answers, times=times, excused=excused)


def _kill(house: House, guests: Guests, revision: str) -> float:
    """`kill -9` of one replica once it has answered guests, at any moment; when."""
    house.until(lambda: len(guests.of(revision)) > 50)
    before = house.pids(revision)
    time.sleep(random.uniform(0.0, 0.2))
    killed = time.time()
    house.signal_replica(revision, 0, signal.SIGKILL)
    house.until(lambda: house.pids(revision) != before)
    return killed


def _cut(guests: Guests, revision: str, since: float, until: float) -> list[Answer]:
    """Those lost with a replica: sent before the front door gave it up, and not to be asked twice.

    since  when it fell ill: who was answered before has nothing to do with it
    """
    ill = (answer for answer in guests.wrong if not answer.again and answer.revision in (revision, ""))
    return [answer for answer in ill if answer.sent <= until and answer.ended >= since]


def hang(stage: Stage) -> Outcome:
    """SIGSTOP of one of two replicas that serve."""
    return _fall_ill(stage, "hang")


def leak(stage: Stage) -> Outcome:
    """One of two replicas takes ever more memory, with a limit in `resources`."""
    return _fall_ill(stage, "leak")


def fail(stage: Stage) -> Outcome:
    """One of two replicas answers every request with 500, and its health check with 200."""
    return _fall_ill(stage, "error")


def _fall_ill(stage: Stage, how: str) -> Outcome:
    """Until another replica has taken its place."""
    with stage.house() as house:
        live = house.live()
        if how == "leak":
            live = house.live(resources={"memory": house.look()["replicas"][0]["memory_bytes"] + 200_000_000})
        time.sleep(0 if how in ("hang", "leak") else 65)  # a younger one is not replaced for its answers
        with house.guests(stage.rate) as guests:
            time.sleep(5)
            before, began = house.pids(live), time.time()
            with _illness(house, live, how):
                seconds = house.until(lambda: house.look() and house.pids(live).get(0) not in (None, before[0]))
                gone = time.time()
            house.until(house.at_rest)
            time.sleep(5)
    given_up = began + _EJECTED_WITHIN_S if how == "hang" else gone
    excused = _cut(guests, live, began, given_up) if how != "leak" else []
    figures = {"seconds until another one took its place": Figure(value=round(seconds, 1), unit="s")}
    if how == "error":
        ill = [answer for answer in guests.wrong if began <= answer.ended]
        excused = ill  # its own answers; that they are few is the figure
        figures["wrong answers before it was replaced"] = Figure(value=len(ill), unit="requests", goal="<= 60")
    return judge(guests.answers, times=1, excused=excused, figures=figures)


@contextlib.contextmanager
def _illness(house: House, revision: str, how: str) -> Iterator[None]:
    if how == "hang":
        house.signal_replica(revision, 0, signal.SIGSTOP)
        yield
        return
    with house.sick(revision, 0, how):
        yield


def slow_down(stage: Stage) -> Outcome:
    """One of two replicas takes a second for each answer: it is asked less, and nobody is sent away."""
    with stage.house() as house:
        live = house.live()
        with house.guests(stage.rate) as guests:
            time.sleep(5)
            with house.sick(live, 0, "slow"):
                began = time.time()
                time.sleep(10 if stage.short else 60)
            ended = time.time()
            time.sleep(3)
    meanwhile = [a for a in guests.answers if began + 1 <= a.sent <= ended - 1 and not a.wrong]
    share = sum(a.replica == f"{live}.0" for a in meanwhile) / max(len(meanwhile), 1)
    figures = {"share of the slow one of two": Figure(value=round(100 * share, 1), unit="%", goal="<= 10")}
    return judge(guests.answers, times=1, figures=figures)


# The machine


def lock_the_store(stage: Stage) -> Outcome:
    """Somebody else holds the database for 30 s in the middle of a rollout."""
    return _without_store(stage, _locked)


def fill_the_disk(stage: Stage) -> Outcome:
    """For 30 s the control plane cannot write a byte: neither its database, nor the front door's files, nor a log."""
    return _without_store(stage, _full)


def restart_the_database(stage: Stage) -> Outcome:
    """PostgreSQL is restarted in the middle of a rollout."""
    found = postgresql.programs()
    if found is None:
        raise Skipped(postgresql.MISSING)
    with PostgreSql(found) as server:
        return _without_store(stage, lambda _house: _restarted(server), seconds=5.0, database_url=server.new_url())


class Skipped(Exception):  # noqa: N818  it is no error
    """A scene that cannot be played here, and why."""


def _without_store(
    stage: Stage,
    trouble: Callable[[House], contextlib.AbstractContextManager[None]],
    *,
    seconds: float = 30.0,
    database_url: str = "",
) -> Outcome:
    times = stage.often(3)
    with stage.house(database_url=database_url) as house:
        house.live()
        with house.guests(stage.rate) as guests:
            for _ in range(times):
                green = house.apply(strategy={"step_wait": "5s"})
                house.until_state("shifting(50)")
                with trouble(house):
                    time.sleep(min(seconds, 8.0) if stage.short else seconds)
                assert house.until_state("done", "undone") == "done"
                house.until(house.at_rest)
                assert house.serving() == green
    return judge(guests.answers, times=times)


@contextlib.contextmanager
def _locked(house: House) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(house.home / "noren.db", isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def _full(house: House) -> Iterator[None]:
    """No file may grow beyond its first byte. The kernel says EFBIG where a full disk says ENOSPC."""
    (server,) = house.leaders("server")
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def _restarted(server: PostgreSql) -> Iterator[None]:
    server.stop("fast")
    yield
    server.start()


def reboot(stage: Stage) -> Outcome:
    """Everything is killed at once, at rest and in the middle of a rollout; then `noren up`, and nothing else."""
    back_s: list[float] = []
    answers: list[Answer] = []
    with stage.house() as house:
        house.live()
        for state in ("done", "shifting(50)", "baking") * stage.often(5):
            if state == "done":
                house.live()
            else:
                house.apply(strategy=_reaching(state))
                house.until_state(state)
            house.until(partial(_is_steady, house, state))
            before = _as_it_is(house)
            assert before
            house.kill_everything()
            began = time.monotonic()
            house.up()
            house.until(partial(_is_again, house, before))
            back_s.append(time.monotonic() - began)
            with house.guests(stage.rate) as guests:
                time.sleep(3)
            answers += guests.answers
            if state != "done":
                house.ask("abort")
                house.until(house.at_rest)
    figures = {
        "`noren up` to all as before, median": Figure(value=round(float(np.median(back_s)), 1), unit="s"),
        "`noren up` to all as before, longest": Figure(value=round(max(back_s), 1), unit="s", goal="<= 15"),
    }
    return judge(answers, times=len(back_s), figures=figures)


def _has_guests(guests: Guests, revision: str) -> bool:
    return len(guests.of(revision)) > 50


def _has_answers(guests: Guests, number: int) -> bool:
    return len(guests.answers) >= number


def _is_steady(house: House, state: str) -> bool:
    return bool(house.look().get("ready")) and house.state() == state


def _is_again(house: House, before: object) -> bool:
    return _as_it_is(house) == before


def _as_it_is(house: House) -> object:
    """What must be the same after a reboot: revisions, weights, the rollout, and how many replicas are ready."""
    seen = house.look()
    if not seen:
        return None
    replicas = sorted((r["revision"], r["index"], r["state"]) for r in seen["replicas"])
    rollout = seen["rollout"]
    return seen["live"], seen["previous"], seen["weights"], rollout["green"], rollout["state"], replicas


SCENES: Sequence[Scene] = (
    Scene(name="promote", title="promote: 10, 50, 100 %, bake, drain, stop blue", play=promote),
    Scene(name="rollback", title="rollback: automatic and by hand, at each step", play=roll_back),
    Scene(name="quick-rollback", title="... how quick it is", play=roll_back_quickly),
    Scene(name="control-plane", title="`kill -9` of the control plane in each state", play=kill_the_control_plane),
    Scene(name="front-door", title="`noren frontdoor restart`", play=restart_the_front_door),
    Scene(name="replica", title="`kill -9` of a replica, green's and blue's", play=kill_replicas),
    Scene(name="hang", title="a replica hangs (SIGSTOP)", play=hang),
    Scene(name="error", title="a replica answers 500", play=fail),
    Scene(name="leak", title="a replica leaks memory", play=leak),
    Scene(name="slow", title="a replica answers slowly", play=slow_down),
    Scene(name="locked", title="the store is locked for 30 s", play=lock_the_store),
    Scene(name="full", title="the disk is full for 30 s", play=fill_the_disk),
    Scene(name="database", title="PostgreSQL is restarted", play=restart_the_database),
    Scene(name="reboot", title="everything killed at once, then `noren up`", play=reboot),
)
