"""A gate that measures nothing, for tests and for planning."""

from datetime import UTC, datetime

from noren.control.ports import GateRun
from noren.domain.observation import GateState, Lost
from noren.domain.verdict import Outcome, Verdict


class MemoryGate:
    """See Gate. Runs keep running until `outcome` is set, or `give` is called for one of them."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.outcome = outcome  # of every run that has no verdict of its own
        self.runs: dict[str, GateRun] = {}
        self.verdicts: dict[str, Verdict] = {}
        self.lost: dict[str, Lost] = {}

    def start(self, run: GateRun) -> None:
        """See Gate."""
        self.runs.setdefault(run.name, run)

    def look(self, name: str) -> GateState | Lost | Verdict:
        """See Gate."""
        if name not in self.runs:
            return GateState.ABSENT
        if self.outcome and name not in self.lost:
            self.give(name, self.outcome)
        if verdict := self.verdicts.get(name):
            return verdict
        return self.lost.get(name, GateState.RUNNING)

    def busy(self) -> bool:
        """See Gate."""
        return any(self.look(name) is GateState.RUNNING for name in self.runs)

    def stop(self, name: str) -> None:
        """See Gate."""
        if name in self.runs and name not in self.verdicts:
            self.lost[name] = Lost("it was stopped")

    def give(self, name: str, outcome: Outcome, reason: str = "as the test says") -> None:
        """End the run with a verdict. The first one stays."""
        run, now = self.runs[name], datetime.now(UTC)
        verdict = Verdict(
            revision=run.green.name,
            attempt=run.attempt,
            outcome=outcome,
            reason=reason,
            started_at=now,
            ended_at=now,
            replicas=run.replicas,
            degraded=run.degraded,
        )
        self.verdicts.setdefault(name, verdict)

    def lose(self, name: str) -> None:
        """End the run without a verdict, as a crash would."""
        self.lost[name] = Lost()
