"""What the drivers report: the world as it is now, of one deployment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from noren.domain.deployment import Revision
from noren.domain.verdict import Verdict

Weights = Mapping[str, int]  # Revision.name -> per cent of traffic; revisions without traffic are absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests that the front door sent to a revision since it began to count, and the 5xx among them."""

    requests: int = 0
    errors: int = 0

    def since(self, start: "Counts") -> "Counts":
        """What came after `start`. A counter that went back was reset, so all of it is new."""
        if self.requests < start.requests or self.errors < start.errors:
            return self
        return Counts(requests=self.requests - start.requests, errors=self.errors - start.errors)


class GateState(Enum):
    """What the gate driver says of an attempt that has no verdict yet."""

    ABSENT = auto()
    RUNNING = auto()
    LOST = auto()  # it was started and ended without a verdict


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
    gate: GateState | Verdict = GateState.ABSENT  # of the rollout's current attempt

    def exists(self, revision: Revision) -> bool:
        """Whether anything of it is left on the machine."""
        return self.present.get(revision.name, 0) > 0

    def complete(self, revision: Revision) -> bool:
        """Whether every replica runs."""
        return self.running.get(revision.name, 0) >= revision.replicas

    def is_ready(self, revision: Revision) -> bool:
        """Whether every replica answers."""
        return self.ready.get(revision.name, 0) >= revision.replicas

    def idle(self, revision: Revision) -> bool:
        """Whether nobody waits for an answer of it, now or at the next request."""
        return not self.weights.get(revision.name) and not self.in_flight.get(revision.name)
