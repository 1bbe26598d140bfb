"""The forecast service: what comes next in a series, and how sure is that?

The supervisor of `bentoml serve` imports this module too, so the model and NumPy are imported in `__init__`. What is
switched below is for `bentoml serve`; noren-serve needs none of it (docs/serving.md).
"""

import gc
from pathlib import Path
from time import perf_counter
from typing import Any

import bentoml

from bentos.cache import Cache, digest
from bentos.forecast.schema import AIR_PASSENGERS, PredictBatchRequest, Prediction, PredictRequest
from bentos.inference_log import InferenceLog
from bentos.json_only import JsonOnly
from bentos.metrics import ServiceMetrics

MAX_BYTES = 16 * 1024 * 1024  # of a body; 32 series of 10,000 long numbers have some 8 million
KEPT = 120  # steps of the horizon up to which answers are cached; longer ones are rare, and large
WARM_UP = PredictRequest(values=AIR_PASSENGERS * 3, horizon=18, frequency="monthly")


@bentoml.service(
    name="forecast",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60},
)
class Forecast:
    """Tells how a series of numbers goes on, with intervals that hold as often as they say."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("forecast:latest")

    def __init__(self) -> None:
        from bentos.forecast.answers import answer
        from models.forecast import ForecastModel

        self._version = str(self.stored.tag.version)
        self._model = ForecastModel.from_bytes(Path(self.stored.path_of("model.json")).read_bytes())
        self._compute = answer
        metrics = ServiceMetrics("forecast", model_version=self._version)
        self._methods = metrics.counter("methods", "Forecasts by the method with the largest share.", ["method"])
        self._warned = metrics.counter("warned", "Forecasts that came with a warning.")
        self._length = metrics.histogram("series_length", "Values given.", [6, 12, 24, 48, 96, 192, 384, 1_000, 10_000])
        self._horizon = metrics.histogram("horizon", "Values asked for.", [1, 4, 6, 12, 18, 24, 48, 120, 1_000])
        self._error = metrics.histogram("backtest_smape", "Error on the past, in %.", [1, 2, 5, 10, 20, 40, 80, 200])
        self._cache = Cache(Prediction, service="forecast", version=self._version, counts=metrics)
        self._log = InferenceLog.from_environment("forecast", version=self._version, drops=metrics)
        answer(self._model, WARM_UP, version=self._version)
        # Unfrozen, each full garbage collection walks all that was loaded, and holds up every request.
        gc.collect()
        gc.freeze()

    # A fit would hold up the event loop, so `def`: it runs in the thread of the service, of
    # which there is one. More threads would share one interpreter and gain little; more replicas do gain.
    @bentoml.api(input_spec=PredictRequest)  # type: ignore[untyped-decorator]
    def predict(self, **fields: Any) -> Prediction:
        """Forecast one series."""
        return self._answer(PredictRequest.model_construct(**fields))

    # Not batchable: series have nothing in common that could be computed once.
    @bentoml.api(input_spec=PredictBatchRequest)  # type: ignore[untyped-decorator]
    def predict_batch(self, series: list[PredictRequest]) -> list[Prediction]:
        """Forecast up to 32 series."""
        return [self._answer(request) for request in series]

    def _answer(self, request: PredictRequest) -> Prediction:
        began, key = perf_counter(), digest(request)
        if request.horizon <= KEPT:
            found = self._cache.answer(key, lambda: self._forecast(request))
        else:
            found = self._forecast(request)
        self._count(request, found)
        # Not the whole answer: ten thousand long ones may wait to be written.
        output = {"model": found.model, "points": found.points[:KEPT], "warnings": found.warnings}
        self._log.note(digest=key, output=output, latency_ms=(perf_counter() - began) * 1000)
        return found

    def _forecast(self, request: PredictRequest) -> Prediction:
        return self._compute(self._model, request, version=self._version)

    def _count(self, request: PredictRequest, found: Prediction) -> None:
        self._methods.labels(found.model).inc()
        self._length.observe(len(request.values))
        self._horizon.observe(request.horizon)
        if found.warnings:
            self._warned.inc()
        if found.backtest:
            self._error.observe(found.backtest.smape)


Forecast.add_asgi_middleware(JsonOnly, max_bytes=MAX_BYTES)  # type: ignore[attr-defined]  # it is a Service
