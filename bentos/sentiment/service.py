"""The sentiment service: is a review positive or negative?

The supervisor of `bentoml serve` imports this module too, so what only a worker needs is imported in
`__init__`. The switches below are there for `bentoml serve`, which spends about 1.4 ms on a request by
default and 0.4 ms with them; noren-serve needs none of them.
"""

import gc
from collections.abc import Sequence
from pathlib import Path

import bentoml

from bentos.json_only import JsonOnly
from bentos.sentiment.schema import MAX_TEXTS, PredictBatchRequest, Prediction, PredictRequest

WARM_UP = ["Good.", "A dull film with a weak plot. " * 40]


@bentoml.service(
    name="sentiment",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)
class Sentiment:
    """Tells whether an English review is positive or negative, and how surely."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("sentiment:latest")

    def __init__(self) -> None:
        from bentos.sentiment.metrics import SentimentMetrics
        from models.sentiment import SentimentModel

        self._version = str(self.stored.tag.version)
        self._model = SentimentModel.from_bytes(Path(self.stored.path_of("model.npz")).read_bytes())
        self._metrics = SentimentMetrics(model_version=self._version)
        self._model.scores(WARM_UP)
        # The model is some 600,000 objects that never die. Unfrozen, each full garbage collection
        # walks all of them and holds up every request for about 100 ms.
        gc.collect()
        gc.freeze()

    @bentoml.api(input_spec=PredictRequest)  # type: ignore[untyped-decorator]
    async def predict(self, text: str) -> Prediction:
        """Classify one review."""
        # In the event loop: a text takes tens of microseconds, the longest one 2 ms; a thread would cost more.
        return self._prediction(self._score([text])[0])

    @bentoml.api(  # type: ignore[untyped-decorator]
        input_spec=PredictBatchRequest, batchable=True, max_batch_size=MAX_TEXTS, max_latency_ms=20_000
    )
    def predict_batch(self, texts: list[str]) -> list[Prediction]:
        """Classify up to 256 reviews; concurrent requests are joined."""
        return [self._prediction(score) for score in self._score(texts)]

    def _score(self, texts: Sequence[str]) -> list[float]:
        scores = self._model.scores(texts)
        self._metrics.observe(scores)
        return scores

    def _prediction(self, score: float) -> Prediction:
        label = "positive" if score >= 0.5 else "negative"
        return Prediction(label=label, score=score, model_version=self._version)


Sentiment.add_asgi_middleware(JsonOnly)  # type: ignore[attr-defined]  # the decorator made it a Service
