from noren.control.ports import DoorView, Table
from noren.domain.observation import Counts
from noren.frontdoors.fence import refuse_stale


class MemoryFrontDoor:
    """A front door without a proxy, for tests and plans. What a proxy would measure is set by the test."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.sick: set[str] = set()  # addresses that do not answer /readyz
        self.in_flight: dict[str, int] = {}
        self.counts: dict[str, Counts] = {}
        self._epoch = 0

    def publish(self, table: Table, *, epoch: int = 0) -> None:
        """Put this table in the place of the deployment's last one."""
        self._admit(epoch)
        self.tables[table.deployment] = table

    def withdraw(self, deployment: str, *, epoch: int = 0) -> None:
        """Forget the deployment."""
        self._admit(epoch)
        self.tables.pop(deployment, None)

    def look(self, *, epoch: int | None = 0) -> DoorView:  # noqa: ARG002
        """The tables as they are, in force at once."""
        tables = self.tables.values()
        return DoorView(
            weights={t.deployment: {name: share for name, share in t.weights.items() if share} for t in tables},
            healthy={name: len(set(addresses) - self.sick) for t in tables for name, addresses in t.backends.items()},
            in_flight=dict(self.in_flight),
            counts=dict(self.counts),
        )

    def epoch(self) -> int:
        """The highest that ever wrote."""
        return self._epoch

    def _admit(self, epoch: int) -> None:
        refuse_stale(epoch, self._epoch)
        self._epoch = epoch
