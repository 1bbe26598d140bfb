"""The sentiment model as MLflow loads it ("models from code": MLflow runs this file)."""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from models.sentiment import SentimentModel


class SentimentPyfunc(PythonModel):
    """`mlflow.pyfunc.load_model(...).predict(texts)` -> probability of positive for each text."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the one artifact."""
        self._model = SentimentModel.from_bytes(Path(context.artifacts["model.npz"]).read_bytes())

    def predict(self, context: PythonModelContext, model_input: list[str], params: Any = None) -> list[float]:  # noqa: ARG002
        """Score the texts."""
        return self._model.scores(model_input)


mlflow.models.set_model(SentimentPyfunc())
