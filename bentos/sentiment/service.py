"""The sentiment service: is a review positive or negative?

The supervisor of `bentoml serve` imports this module too, so what only a worker needs is imported in
`__init__`. The switches below are there for `bentoml serve`, which spends about 1.4 ms on a request by
default and 0.4 ms with them; noren-serve needs none of them.
"""

import gc
import hashlib
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

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
        from bentos.inference_log import InferenceLog
        from bentos.sentiment.metrics import SentimentMetrics
        from models.sentiment import SentimentModel

        self._version = str(self.stored.tag.version)
        self._model = SentimentModel.from_bytes(Path(self.stored.path_of("model.npz")).read_bytes())
        self._metrics = SentimentMetrics(model_version=self._version)
        self._log = InferenceLog.from_environment("sentiment", version=self._version, drops=self._metrics)
        self._model.scores(WARM_UP)
        # The model is some 600,000 objects that never die. Unfrozen, each full garbage collection
        # walks all of them and holds up every request for about 100 ms.
        gc.collect()
        gc.freeze()

    @bentoml.api(input_spec=PredictRequest)  # type: ignore[untyped-decorator]
    async def predict(self, text: str) -> Prediction:
        """Classify one review."""
        # In the event loop: a text takes tens of microseconds, the longest one 2 ms; a thread would cost more. So would
        # a cache: a text's key takes about as long as its score.
        return self._answers([text])[0]

    @bentoml.api(  # type: ignore[untyped-decorator]
        input_spec=PredictBatchRequest, batchable=True, max_batch_size=MAX_TEXTS, max_latency_ms=20_000
    )
    def predict_batch(self, texts: list[str]) -> list[Prediction]:
        """Classify up to 256 reviews; concurrent requests are joined."""
        return self._answers(texts)

    def _answers(self, texts: Sequence[str]) -> list[Prediction]:
        started = perf_counter()
        scores = self._model.scores(texts)
        self._metrics.observe(scores)
        predictions = [Prediction.of(score, model_version=self._version) for score in scores]
        if self._log.on:
            self._note(texts, predictions, started=started)
        return predictions

    def _note(self, texts: Sequence[str], predictions: Sequence[Prediction], *, started: float) -> None:
        """Write them down."""
        latency_ms = (perf_counter() - started) * 1000
        for text, prediction in zip(texts, predictions, strict=True):
            key = hashlib.sha256(text.encode()).hexdigest()
            self._log.note(digest=key, output=prediction, latency_ms=latency_ms)


Sentiment.add_asgi_middleware(JsonOnly)  # type: ignore[attr-defined]  # the decorator made it a Service
