"""What the drivers report: the world as it is now, of one deployment."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from noren.domain.deployment import Revision
from noren.domain.verdict import Verdict

# Milliseconds at which the front door counts how many answers took longer.
LADDER_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1000, 1500, 2000, 3000, 5000, 10_000, 30_000),
)

Weights = Mapping[str, int]  # Revision.name -> per cent of traffic; revisions without traffic are absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests that the front door sent to a revision since it began to count, and the bad ones among them."""

    requests: int = 0
    errors: int = 0  # 5xx
    slower: tuple[int, ...] = ()  # than each rung of LADDER_MS; (): not measured

    def since(self, start: "Counts") -> "Counts":
        """What came after `start`. A counter that went back was reset, so all of it is new."""
        if self.requests < start.requests or self.errors < start.errors:
            return self
        before = start.slower or (0,) * len(self.slower)
        return Counts(
            requests=self.requests - start.requests,
            errors=self.errors - start.errors,
            slower=tuple(max(0, now - then) for now, then in zip(self.slower, before, strict=False)),
        )

    def slower_than(self, limit_ms: float) -> int:
        """How many answers took longer than the first rung of the ladder at or above the limit."""
        rung = bisect_left(LADDER_MS, limit_ms)
        return self.slower[rung] if rung < len(self.slower) else 0

    def p99_ms(self) -> float | None:
        """The lowest rung that at most 1 % of the answers were slower than; None when there is none."""
        allowed = 0.01 * self.requests
        return next((ms for ms, count in zip(LADDER_MS, self.slower, strict=False) if count <= allowed), None)


class GateState(Enum):
    """What the gate driver says of an attempt that may yet have a verdict."""

    ABSENT = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt that was started and ended without a verdict."""

    last_words: str = "it ended without a word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the drivers report now, and nothing else. Keys are Revision.name."""

    now: datetime
    present: Mapping[str, int] = field(default_factory=dict)  # replicas in any state, crashed ones too
    running: Mapping[str, int] = field(default_factory=dict)  # ... that run
    ready: Mapping[str, int] = field(default_factory=dict)  # ... that answer, also to the front door
    broken: Mapping[str, str] = field(default_factory=dict)  # revisions that keep crashing, and why
    weights: Weights = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    identities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of the running replicas, one each
    memory_bytes: Mapping[str, int] = field(default_factory=dict)  # resident, of all replicas
    spare_bytes: int | None = None  # memory that could be given to more of them; None: not known
    gate: GateState | Lost | Verdict = GateState.ABSENT  # of the rollout's current attempt
    gate_busy: bool = False  # with any attempt, of whatever rollout

    def counted(self, revision: str) -> Counts:
        """The front door's counts of it."""
        return self.counts.get(revision, Counts())

    def exists(self, revision: Revision) -> bool:
        """Whether anything of it is left on the machine."""
        return self.present.get(revision.name, 0) > 0

    def complete(self, revision: Revision) -> bool:
        """Whether every replica runs."""
        return self.running.get(revision.name, 0) >= revision.replicas

    def answers(self, revision: Revision) -> bool:
        """Whether any replica answers: enough to be better than one that failed, or than none."""
        return self.ready.get(revision.name, 0) > 0

    def is_ready(self, revision: Revision) -> bool:
        """Whether every replica answers."""
        return self.ready.get(revision.name, 0) >= revision.replicas

    def idle(self, revision: Revision) -> bool:
        """Whether nobody waits for an answer of it, now or at the next request."""
        return not self.weights.get(revision.name) and not self.in_flight.get(revision.name)
