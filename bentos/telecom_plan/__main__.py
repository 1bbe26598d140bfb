"""Advise the customers of a file with the newest model: `python -m bentos.telecom_plan batch IN OUT`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bentos.batch import Job, main, newest
from bentos.telecom_plan.schema import Prediction, Usage


def load() -> tuple[str, Callable[[Sequence[Usage]], Sequence[Prediction]]]:
    """The version of the newest model in the BentoML store, and what answers usages. Raises BatchError."""
    from models.telecom_plan import TelecomPlanModel

    stored = newest("telecom_plan")
    version = str(stored.tag.version)
    model = TelecomPlanModel.from_bytes(Path(stored.path_of("model.npz")).read_bytes())

    def answer(usages: Sequence[Usage]) -> list[Prediction]:
        advice = model.advise([dict(usage) for usage in usages])
        return [Prediction.of(one, model_version=version) for one in advice]

    return version, answer


if __name__ == "__main__":
    sys.exit(main(Job(row=Usage, load=load)))
