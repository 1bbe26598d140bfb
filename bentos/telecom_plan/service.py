"""The telecom_plan service: smart or ultra?

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
from bentos.inference_log import InferenceLog
from bentos.json_only import JsonOnly
from bentos.metrics import ServiceMetrics
from bentos.telecom_plan.schema import EXAMPLE, MAX_CUSTOMERS, PredictBatchRequest, Prediction, Usage

MAX_BYTES = 1024 * 1024  # of a body; 1,024 customers have some 100,000


@bentoml.service(
    name="telecom_plan",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)
class TelecomPlan:
    """Tells which of two mobile plans fits what a customer used in a month, and how surely."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("telecom_plan:latest")

    def __init__(self) -> None:
        from models.telecom_plan import TelecomPlanModel

        self._version = str(self.stored.tag.version)
        self._model = TelecomPlanModel.from_bytes(Path(self.stored.path_of("model.npz")).read_bytes())
        metrics = ServiceMetrics("telecom_plan", model_version=self._version)
        self._plans = metrics.counter("plans", "Customers by the plan that fits.", ["plan"])
        self._probability = metrics.histogram("probability", "Of ultra.", [i / 10 for i in range(1, 11)])
        self._minutes = metrics.histogram("minutes", "Minutes in the month.", range(0, 1601, 200))
        self._mb_used = metrics.histogram("mb_used", "Megabytes in the month.", range(0, 50_001, 5_000))
        self._cache = Cache(Prediction, service="telecom_plan", version=self._version, counts=metrics)
        self._log = InferenceLog.from_environment("telecom_plan", version=self._version, drops=metrics)
        self._answers([EXAMPLE] * 2)
        # Unfrozen, each full garbage collection walks all that was loaded, and holds up every request.
        gc.collect()
        gc.freeze()

    @bentoml.api(input_spec=Usage)  # type: ignore[untyped-decorator]
    async def predict(self, **usage: Any) -> Prediction:
        """Advise one customer."""
        # In the event loop: it takes less than handing it to a thread would.
        started, key = perf_counter(), digest(usage)
        prediction = self._cache.answer(key, lambda: self._answers([usage])[0])
        self._note(usage, prediction, key=key, started=started)
        return prediction

    @bentoml.api(  # type: ignore[untyped-decorator]
        input_spec=PredictBatchRequest, batchable=True, max_batch_size=MAX_CUSTOMERS, max_latency_ms=20_000
    )
    def predict_batch(self, customers: list[Usage]) -> list[Prediction]:
        """Advise up to 1,024 customers; concurrent requests are joined."""
        started, usages = perf_counter(), [dict(usage) for usage in customers]
        predictions = self._answers(usages)
        for usage, prediction in zip(usages, predictions, strict=True):
            self._note(usage, prediction, key=digest(usage), started=started)
        return predictions

    def _answers(self, usages: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        return [Prediction.of(advice, model_version=self._version) for advice in self._model.advise(usages)]

    def _note(self, usage: Mapping[str, Any], prediction: Prediction, *, key: str, started: float) -> None:
        """Count it and write it down."""
        self._plans.labels(prediction.plan).inc()
        self._probability.observe(prediction.probability)
        self._minutes.observe(usage["minutes"])
        self._mb_used.observe(usage["mb_used"])
        self._log.note(digest=key, output=prediction, latency_ms=(perf_counter() - started) * 1000)


TelecomPlan.add_asgi_middleware(JsonOnly, max_bytes=MAX_BYTES)  # type: ignore[attr-defined]  # it is a Service
