"""What came of one event, however often it happened."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.chaos.guests import Answer, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number besides requests, with its goal as in benchmarks.rows; "" when there is none."""

    value: float
    unit: str
    goal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How guests fared."""

    times: int  # that it happened
    requests: int
    failed: int  # of those that must not
    cut: int = 0  # were with a replica when it was killed, or before it was ejected, and must not be asked twice
    figures: Mapping[str, Figure] = field(default_factory=dict)
    said: str = ""  # the commonest complaints

    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Outcome":
        """From what was kept."""
        figures = {name: Figure(**figure) for name, figure in document["figures"].items()}
        return cls(**{**document, "figures": figures})


def judge(
    answers: Iterable[Answer],
    *,
    times: int,
    excused: Iterable[Answer] = (),
    figures: Mapping[str, Figure] | None = None,
) -> Outcome:
    """Count them. `excused`: what was lost with a replica, and could not be asked of another one."""
    found, lost = list(answers), set(map(id, excused))
    wrong = [answer for answer in found if answer.wrong]
    failed = [answer for answer in wrong if id(answer) not in lost]
    return Outcome(
        times=times,
        requests=len(found),
        failed=len(failed),
        cut=len(wrong) - len(failed),
        figures=figures or {},
        said=tell(failed),
    )
