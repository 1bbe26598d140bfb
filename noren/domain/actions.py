"""What a rollout can ask of the world, one at a time. Each may be asked again without harm."""

from dataclasses import dataclass

from noren.domain.deployment import Revision
from noren.domain.observation import Weights
from noren.domain.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Start:
    """Ask the runtime for every replica of the revision."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class RunGate:
    """Begin an attempt at the gate."""

    green: Revision
    blue: Revision | None  # what it is compared with: blue, or its twin
    attempt: int
    degraded: str = ""  # why it is not the twin


@dataclass(frozen=True, slots=True)
class StopGate:
    """End the attempt at the gate that runs: nobody waits for its verdict any more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Judge:
    """Take the gate's verdict down."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave it to a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Move traffic. `step` is the index of the step that this is; None: not part of the way forward."""

    weights: Weights
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End every replica of the revision of this name."""

    revision: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now; `reason` is shown to the person who watches."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Give the rollout up: undo from here."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The rollout is over."""

    succeeded: bool


Action = Start | RunGate | StopGate | Judge | Hold | Shift | Stop | Wait | Fail | Finish
