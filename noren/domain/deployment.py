"""What a user declares, and the immutable revisions made of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from enum import StrEnum


class Server(StrEnum):
    """Which program runs the Bento in a replica."""

    NOREN = "noren"  # noren-serve: the same answers, faster
    BENTOML = "bentoml"  # `bentoml serve`


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits of one replica; None: not limited. A runtime of plain processes cannot enforce them."""

    cpu: float | None = None  # cores
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where guests find the deployment at the front door."""

    prefix: str  # "/sentiment"
    host: str  # "sentiment.localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Absolute limits; None: not limited. Latencies in milliseconds, `error_rate` a fraction of requests."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    error_rate: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityGate:
    """Green's model beside blue's, by a number that training stored in the model's metadata."""

    metric: str
    margin: float = 0.0  # how much worse than blue green may be, in the metric's own unit
    higher_is_better: bool = True
    model: str | None = None  # its name; needed where several models of the Bento have the metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse than blue green may be: 0.15 is 15 % slower. `errors` is a difference of error rates."""

    p50: float = 0.15
    p95: float = 0.20
    p99: float = 0.30
    errors: float = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGate:
    """A Locust load test of green beside blue, with open-loop arrivals."""

    enabled: bool = True
    locustfile: str | None = None  # its text; None: the service's own examples are sent
    rate: float = 50.0  # requests per second to each arm
    warmup: timedelta = timedelta(seconds=3)  # measured, but not counted
    duration: timedelta = timedelta(seconds=45)  # at most; what is clear sooner ends it sooner
    margins: Margins = field(default_factory=Margins)
    slack_ms: float = 1.0  # a difference below this is no difference, whatever the ratio
    launch_sigma: float = 0.02  # of the log latency of one launch of the same Bento
    pin: bool = True  # leave one core to the generator, and let both arms share the others, while they are measured
    twin: bool = True  # compare with a fresh copy of blue, where memory allows; False: with blue that serves guests


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityGate:
    """Green's answers beside blue's to the same requests. A new model answers differently: then it only tells."""

    same_model: bool = False  # a refactoring, a new dependency: answers that differ fail
    max_share: float = 0.0  # of the answers that may differ all the same
    ignore: tuple[str, ...] = ()  # places in the answer, like "$.model_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The checks between green and its first guest, from cheap to dear."""

    smoke: bool = True
    quality: QualityGate | None = None
    load: LoadGate = field(default_factory=LoadGate)
    parity: ParityGate = field(default_factory=ParityGate)  # of what the load gate was answered

    @property
    def any(self) -> bool:
        """Whether there is a gate at all: switching all of them off takes explicit lines."""
        return self.smoke or self.quality is not None or self.load.enabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How traffic moves from blue to green, and how long each state may last."""

    steps: tuple[int, ...] = (10, 50, 100)  # per cent of traffic on green; rising, ends with 100
    step_wait: timedelta = timedelta(seconds=30)  # how long each step before 100 is watched at least
    step_requests: int = 20  # ... and how many guests green must have answered in it: without them nothing was seen
    bake: timedelta = timedelta(minutes=5)  # how long blue stays warm after the switch
    ready_within: timedelta = timedelta(minutes=10)  # environment, start and warm-up
    gate_within: timedelta = timedelta(minutes=20)  # one attempt at the gate
    hold_within: timedelta = timedelta(hours=1)  # how long a held rollout waits for a person
    drain_within: timedelta = timedelta(seconds=30)  # how long requests in flight may take to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable, numbered snapshot of a deployment: an exact Bento and its configuration."""

    deployment: str
    number: int
    bento: str  # "name:version", never "latest"
    replicas: int = 1
    workers: int = 1
    server: Server = Server.NOREN
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets: never in a log
    route: Route
    slo: Slo = field(default_factory=Slo)
    gates: Gates = field(default_factory=Gates)
    strategy: Strategy = field(default_factory=Strategy)
    twin: bool = False  # a copy without guests, which green is compared with

    @property
    def name(self) -> str:
        """The name of everything that belongs to this revision, on every driver."""
        return f"{self.deployment}-{self.number}" + ("_twin" if self.twin else "")


def digest(revision: Revision) -> str:
    """What makes two revisions of a deployment the same: everything but the number."""
    document = asdict(replace(revision, number=0))
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
