"""The churn service: will a customer leave, and is an offer worth its cost?

The supervisor of `bentoml serve` imports this module too, so the model and NumPy are imported in `__init__`. What is
switched below is for `bentoml serve`; noren-serve needs none of it (docs/serving.md).
"""

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import bentoml

from bentos.cache import Cache, digest
from bentos.churn.schema import EXAMPLE, MAX_CUSTOMERS, Customer, PredictBatchRequest, Prediction
from bentos.inference_log import InferenceLog
from bentos.json_only import JsonOnly
from bentos.metrics import ServiceMetrics

MAX_BYTES = 1024 * 1024  # of a body; 256 customers have some 80,000


@bentoml.service(
    name="churn",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)
class Churn:
    """Tells how likely a customer of the bank leaves, whether to make an offer, and what speaks for it."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("churn:latest")

    def __init__(self) -> None:
        from models.churn import ChurnModel

        self._version = str(self.stored.tag.version)
        self._model = ChurnModel.from_bytes(Path(self.stored.path_of("model.npz")).read_bytes())
        metrics = ServiceMetrics("churn", model_version=self._version)
        self._decisions = metrics.counter("decisions", "Customers by decision and risk.", ["decision", "risk"])
        self._probability = metrics.histogram("probability", "That a customer leaves.", [i / 10 for i in range(1, 11)])
        self._age = metrics.histogram("age_years", "Age of the customers asked about.", range(20, 100, 10))
        self._balance = metrics.histogram("balance_euros", "Their balance.", range(0, 250_001, 25_000))
        self._cache = Cache(Prediction, service="churn", version=self._version, counts=metrics)
        self._log = InferenceLog.from_environment("churn", version=self._version, drops=metrics)
        self._answers([EXAMPLE] * 2)
        # Unfrozen, each full garbage collection walks all that was loaded, and holds up every request.
        gc.collect()
        gc.freeze()

    @bentoml.api(input_spec=Customer)  # type: ignore[untyped-decorator]
    async def predict(self, **customer: Any) -> Prediction:
        """Judge one customer."""
        # In the event loop: it takes less than handing it to a thread would.
        started, key = perf_counter(), digest(customer)
        prediction = self._cache.answer(key, lambda: self._answers([customer])[0])
        self._note(customer, prediction, key=key, started=started)
        return prediction

    @bentoml.api(  # type: ignore[untyped-decorator]
        input_spec=PredictBatchRequest, batchable=True, max_batch_size=MAX_CUSTOMERS, max_latency_ms=20_000
    )
    def predict_batch(self, customers: list[Customer]) -> list[Prediction]:
        """Judge up to 256 customers; concurrent requests are joined."""
        started, fields = perf_counter(), [dict(customer) for customer in customers]
        predictions = self._answers(fields)
        for customer, prediction in zip(fields, predictions, strict=True):
            self._note(customer, prediction, key=digest(customer), started=started)
        return predictions

    def _answers(self, customers: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        threshold, version = self._model.threshold, self._version
        return [Prediction.of(one, threshold=threshold, model_version=version) for one in self._model.judge(customers)]

    def _note(self, customer: Mapping[str, Any], prediction: Prediction, *, key: str, started: float) -> None:
        """Count it and write it down."""
        self._decisions.labels(prediction.decision, prediction.risk).inc()
        self._probability.observe(prediction.probability)
        self._age.observe(customer["age"])
        self._balance.observe(customer["balance"])
        self._log.note(digest=key, output=prediction, latency_ms=(perf_counter() - started) * 1000)


Churn.add_asgi_middleware(JsonOnly, max_bytes=MAX_BYTES)  # type: ignore[attr-defined]  # it is a Service
