"""MLflow: python -m benchmarks.serve.peers.mlflow_model FOLDER saves the model that `mlflow models serve` serves."""

import os
import sys
from pathlib import Path
from typing import Any

import mlflow

from benchmarks.serve import scorers

MODEL = os.environ["NOREN_BENCH_MODEL"]


class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """A scorer as a pyfunc."""

    def load_context(self, context: Any) -> None:  # noqa: ARG002 - MLflow gives it
        """Load the scorer where it serves."""
        self._score = None if MODEL == "echo" else scorers.load(MODEL)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002 - as above
        """`model_input` is the array in "inputs"."""
        return model_input if self._score is None else self._score(model_input)


if __name__ == "__main__":
    mlflow.pyfunc.save_model(path=Path(sys.argv[1]), python_model=__file__, pip_requirements=["mlflow"])
else:
    mlflow.models.set_model(Model())
