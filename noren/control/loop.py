"""When to tick: at a steady pace, at once when something was asked for, and faster while a rollout moves."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from noren.control.ports import Store
from noren.control.reconcile import Drivers, describe, reconcile
from noren.control.world import World, look, without_strays
from noren.domain.actions import Action, Shift, Wait
from noren.domain.commands import Deployment
from noren.domain.errors import DriverError, DriverUnavailable, NorenError, Stale

_BUSY_S, _IDLE_S = 0.5, 2.0  # between two looks, with and without a rollout under way
_NEXT_S = 0.05  # after a step was taken, the next one is probably due
_LATELY = timedelta(seconds=1)

log = structlog.get_logger()


class Loop:
    """Ticks until it is told to stop. A tick reads the world anew, but for guests who only go back to blue; `wake`
    makes the next one sooner.
    """

    def __init__(self, store: Store, drivers: Drivers, now: Callable[[], datetime]) -> None:
        self._store, self._drivers, self._now = store, drivers, now
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._hands = threading.RLock()  # drivers are not made for two callers at a time
        self._said: dict[str, str] = {}  # the last complaint about each deployment, so that it is logged once
        self._seen: World | None = None  # by the last tick

    def run(self) -> None:
        """Tick until `stop`."""
        while not self._stopped.is_set():
            pause = self._tick_safely()
            self._wake.wait(pause)
            self._wake.clear()

    def wake(self) -> None:
        """Tick now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the current tick."""
        self._stopped.set()
        self._wake.set()

    def look(self) -> World:
        """What is there now, for those who ask for the status. Raises what the drivers raise."""
        with self._hands, _explained():
            return look(self._drivers.runtime, self._drivers.front_door, self._now())

    def lately(self) -> World | None:
        """What the last tick saw, if that is no longer ago than a second."""
        seen = self._seen
        return seen if seen and self._now() - seen.now <= _LATELY else None

    def trouble(self, deployment: str) -> str | None:
        """What its last tick complained of, if it did; the front door's trouble is everybody's."""
        return self._said.get(deployment) or self._said.get("")

    def tick(self) -> float:
        """Take the next step of every deployment; return the seconds until the next tick is due."""
        with self._hands:
            deployments = self._store.deployments()
            if self._sends_back(deployments):
                return 0.0
            world = self._seen = without_strays(self.look(), deployments)
            actions = [self._step(deployment, world) for deployment in deployments]
        if any(action is not None and not isinstance(action, Wait) for action in actions):
            return _NEXT_S
        return _BUSY_S if any(d.active or d.removed or d.live is None for d in deployments) else _IDLE_S

    def _sends_back(self, deployments: Sequence[Deployment]) -> bool:
        """Whether guests went back to blue because a person asked for it since the last tick: a look takes longer than
        all else of that, and they need not wait for a new one.
        """
        seen = self.lately()
        if seen is None:
            return False
        asked = [d for d in deployments if d.active and d.active.failed_at and d.active.failed_at > seen.now]
        return any(isinstance(self._step(d, seen), Shift) for d in asked if d.active and not d.active.returned_at)

    def _step(self, deployment: Deployment, world: World) -> Action | None:
        """One deployment's trouble is not another's."""
        name = deployment.name
        try:
            with _explained():
                action = reconcile(deployment, world, self._store, self._drivers)
        except Stale:
            self.wake()
            return None
        except NorenError as error:
            self._complain(name, str(error))
            return None
        except Exception:
            # Nor is a fault of ours: the next tick reads everything anew.
            log.exception("step", deployment=name)
            return None
        if not isinstance(action, Wait):
            log.info("step", deployment=name, action=type(action).__name__, detail=describe(action))
        self._said.pop(name, None)
        return action

    def _tick_safely(self) -> float:
        try:
            with _explained():
                pause = self.tick()
        except DriverError as error:
            self._complain("", str(error))
            return _BUSY_S
        except Exception:
            # A fault of ours must not end the loop either.
            log.exception("tick")
            return _IDLE_S
        self._said.pop("", None)
        return pause

    def _complain(self, about: str, message: str) -> None:
        if self._said.get(about) != message:
            log.warning("driver", deployment=about or None, problem=message)
        self._said[about] = message


@contextmanager
def _explained() -> Iterator[None]:
    """What the machine refuses a driver, mostly for want of space, is told to a person like any other trouble."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise DriverUnavailable(
            f"the machine refuses it: {where}{error.strerror or error}",
            fix="mend that, for example by making room on the disk; it goes on by itself",
        ) from error
