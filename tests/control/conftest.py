"""A whole control plane in memory: its drivers, its loop, its commands, and a clock that is moved by hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from noren.control.loop import Loop
from noren.control.reconcile import Drivers
from noren.control.use_cases import Commands
from noren.domain.commands import Deployment
from noren.domain.deployment import Revision, Route, Strategy
from noren.domain.errors import NotFound
from noren.domain.observation import Weights
from noren.domain.verdict import Outcome
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.manifests.built import BentoStore
from noren.runtimes.memory import MemoryRuntime
from noren.stores.memory import MemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_ACTS = {
    "store": ("save", "delete"),
    "runtime": ("start", "stop"),
    "front_door": ("publish", "withdraw"),
    "gate": ("start", "stop"),
}


class Killed(BaseException):
    """The control plane is gone in the middle of a tick: nothing of it may catch this."""


@dataclass
class Fault:
    """Raises `error` once, at the call number `at` of all calls that change something."""

    at: int = -1
    error: BaseException = field(default_factory=Killed)
    afterwards: bool = False  # the call is carried out first
    made: int = 0  # calls so far

    def around(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **named: object) -> Any:
            strikes = self.made == self.at
            self.made += 1
            if strikes and not self.afterwards:
                raise self.error
            done = act(*arguments, **named)
            if strikes:
                raise self.error
            return done

        return call


class House:
    """What a person sees and does, and the knobs of the world. Time passes only by `run`."""

    def __init__(self, folder: Path, fault: Fault | None = None) -> None:
        self.clock = NOON
        self.folder = folder
        self.store, self.runtime = MemoryStore(), MemoryRuntime()
        self.door, self.gate = MemoryFrontDoor(), MemoryGate(Outcome.PASS)
        self.drivers = Drivers(
            runtime=self.runtime,
            front_door=self.door,
            gate=self.gate,
            catalog=BentoStore(folder),
            front_door_url="http://127.0.0.1:7480",
        )
        if fault:
            parts = {"store": self.store, "runtime": self.runtime, "front_door": self.door, "gate": self.gate}
            for part, acts in _ACTS.items():
                for act in acts:
                    setattr(parts[part], act, fault.around(getattr(parts[part], act)))
        self.woken = 0
        self.commands = Commands(self.store, BentoStore(folder), now=lambda: self.clock, wake=self._wake)
        self.restart()

    def restart(self) -> None:
        """A new control plane over what the old one left: the store and the world."""
        self.loop = Loop(self.store, self.drivers, lambda: self.clock)

    def build(self, *tags: str) -> None:
        for tag in tags:
            name, version = tag.split(":")
            manifest = self.folder / "bentos" / name / version / "bento.yaml"
            manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_text("schema: {routes: [{route: /predict, input: {type: object, properties: {}}}]}")

    def apply(self, bento: str, **changes: Any) -> Revision:
        """Apply the Bento as the deployment of its name; steps of 5 s, then 10 s of baking."""
        self.build(bento)
        name = changes.pop("deployment", bento.partition(":")[0])
        wanted: dict[str, Any] = {
            "deployment": name,
            "number": 0,
            "bento": bento,
            "route": Route(prefix=f"/{name}", host=f"{name}.localhost"),
            "strategy": Strategy(step_wait=timedelta(seconds=5), step_requests=0, bake=timedelta(seconds=10)),
        }
        return self.commands.apply(Revision(**wanted | changes)).revision

    def run(self, seconds: int, *, stride: int = 1) -> None:
        """Let time pass, second by second, with as many ticks in each as something happens in."""
        for _ in range(0, seconds, stride):
            self.settle()
            self.clock += timedelta(seconds=stride)
        self.settle()

    def settle(self) -> None:
        """Tick until two ticks change nothing; a control plane that is killed is started again."""
        quiet = 0
        for _ in range(100):
            before = self._everything()
            try:
                self.loop.tick()
            except Killed:
                self.restart()
                continue
            quiet = quiet + 1 if self._everything() == before else 0
            if quiet == 2:
                return
        pytest.fail(f"no rest after 100 ticks at {self.clock}: {self.history()[-10:]}")

    def live(self, bento: str = "shop:v1", **changes: Any) -> Revision:
        """Apply a first revision, or one that waits for nothing; it is promoted 12 s later."""
        made = self.apply(bento, **changes)
        self.run(12, stride=12)
        assert self.state(made.deployment) == "done"
        return made

    def deployment(self, name: str = "shop") -> Deployment:
        return self.store.load(name)

    def exists(self, name: str = "shop") -> bool:
        try:
            self.store.load(name)
        except NotFound:
            return False
        return True

    def state(self, name: str = "shop") -> str:
        rollout = self.deployment(name).rollout
        return rollout.phase if rollout else "none"

    def weights(self, name: str = "shop") -> Weights:
        return self.door.look().weights.get(name, {})

    def replicas(self) -> dict[str, int]:
        return dict(self.runtime.wanted)

    def history(self, name: str = "shop") -> list[str]:
        """Every event as "<seconds after noon> <kind>: <message>"."""
        if not self.exists(name):
            return []
        return [f"{(e.at - NOON).seconds} {e.kind}: {e.message}" for e in self.store.events(name)]

    def end(self, name: str = "shop") -> object:
        """Everything that a person would call the result, times and versions left out."""
        if not self.exists(name):
            return "gone", self.replicas(), dict(self.door.tables)
        now = self.deployment(name)
        failure = now.rollout.failure if now.rollout else None
        return self.state(name), failure, now.live, now.previous, now.queued, self.weights(name), self.replicas()

    def _everything(self) -> object:
        stored = self.store.deployments()
        return stored, self.replicas(), dict(self.door.tables), set(self.gate.runs), set(self.gate.lost)

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the log of these tests, and its tracebacks take seconds to draw."""
    with capture_logs():
        yield


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def never() -> Fault:
    """A fault that only counts."""
    return Fault()


@pytest.fixture
def make_house(tmp_path: Path) -> Callable[[Fault | None], House]:
    """For those who need many."""
    return lambda fault: House(tmp_path, fault)
