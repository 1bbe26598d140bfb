"""What a gate says of a revision, and on what evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """Only PASS promotes: a gate fails closed."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    HOLD = "HOLD"  # the evidence does not decide; a person may
    INVALID = "INVALID"  # the measurement cannot be trusted; it is run again


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a gate looked at. `figures` are the numbers behind `detail`, units in their names."""

    name: str
    outcome: Outcome
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one attempt to pass the gate, bound to the revision and the attempt it judged."""

    revision: str
    attempt: int
    outcome: Outcome
    reason: str
    checks: tuple[Check, ...] = ()
    started_at: datetime
    ended_at: datetime
    evidence: str = ""  # the folder that holds the raw measurements
    replicas: tuple[str, ...] = ()  # those that were judged: others, or these started again, are not; (): not known
    configuration: str = ""  # digest of the revision, without the values of its environment
    degraded: str = ""  # why it was compared with blue while that served guests, and not with a fresh twin


def overall(checks: tuple[Check, ...]) -> Outcome:
    """The outcome of several checks: one FAIL fails; otherwise one INVALID or HOLD is enough not to pass."""
    found = {check.outcome for check in checks}
    for outcome in (Outcome.FAIL, Outcome.INVALID, Outcome.HOLD):
        if outcome in found:
            return outcome
    # No check at all is no evidence, and no evidence never promotes.
    return Outcome.PASS if found else Outcome.INVALID
