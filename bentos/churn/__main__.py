"""Judge the customers of a file with the newest model: `python -m bentos.churn batch IN OUT`."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bentos.batch import Job, main, newest
from bentos.churn.schema import Customer, Prediction


def load() -> tuple[str, Callable[[Sequence[Customer]], Sequence[Prediction]]]:
    """The version of the newest model in the BentoML store, and what answers customers. Raises BatchError."""
    from models.churn import ChurnModel

    stored = newest("churn")
    version = str(stored.tag.version)
    model = ChurnModel.from_bytes(Path(stored.path_of("model.npz")).read_bytes())

    def answer(customers: Sequence[Customer]) -> list[Prediction]:
        judged = model.judge([dict(customer) for customer in customers])
        return [Prediction.of(one, threshold=model.threshold, model_version=version) for one in judged]

    return version, answer


if __name__ == "__main__":
    sys.exit(main(Job(row=Customer, load=load)))
