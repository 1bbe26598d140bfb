"""The vehicle price service: what is a used car asked for?

The supervisor of `bentoml serve` imports this module too, so what only a worker needs is imported in `__init__`. The
switches below are there for `bentoml serve`; noren-serve needs none of them.
"""

import asyncio
import gc
from time import perf_counter

import bentoml

from bentos.json_only import JsonOnly
from bentos.vehicle_price.schema import MAX_LISTINGS, Listing, PredictBatchRequest, Prediction, PredictRequest

WARM_UP = PredictRequest(
    model="ford f-150",
    model_year=2011,
    odometer=145_000,
    condition="good",
    fuel="gas",
    transmission="automatic",
    type="pickup",
)
MAX_BYTES = 1024 * 1024  # 100 listings are 50 kB
DOLLARS = (1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 13_000, 16_000, 20_000, 25_000, 30_000, 40_000, 60_000, 100_000)
MILES = (10_000, 25_000, 50_000, 75_000, 100_000, 125_000, 150_000, 200_000, 300_000)


@bentoml.service(
    name="vehicle_price",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)
class VehiclePrice:
    """Tells what a used car is asked for in the United States, how surely, and why."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("vehicle_price:latest")

    def __init__(self) -> None:
        from bentos.cache import Cache
        from bentos.inference_log import InferenceLog
        from bentos.metrics import ServiceMetrics
        from bentos.vehicle_price.pricer import Pricer

        self._pricer = Pricer(self.stored)
        version = self._pricer.version
        metrics = ServiceMetrics("vehicle_price", model_version=version)
        self._prices = metrics.histogram("dollars", "Prices answered.", DOLLARS)
        self._widths = metrics.histogram("interval_dollars", "Widths of the intervals answered.", DOLLARS)
        self._odometers = metrics.histogram("odometer_miles", "Odometers asked about.", MILES)
        self._unseen = metrics.counter("unseen", "Values outside of what training held, by field.", ["field"])
        self._cache = Cache(Prediction, service="vehicle_price", version=version, counts=metrics)
        self._log = InferenceLog.from_environment("vehicle_price", version=version, drops=metrics)
        self._pricer.answers([WARM_UP])
        # Unfrozen, each full garbage collection walks the libraries' objects and holds up every request.
        gc.collect()
        gc.freeze()

    @bentoml.api  # type: ignore[untyped-decorator]
    async def predict(self, listing: PredictRequest, /) -> Prediction:
        """Price one car, with its interval and what each field adds."""
        from bentos.cache import digest

        started = perf_counter()
        key = digest(listing)
        answer = self._cache.get(key)
        if answer is None:
            # Milliseconds, in NumPy, which lets the event loop go on meanwhile.
            (answer,) = await asyncio.to_thread(self._pricer.answers, [listing])
            self._cache.put(key, answer)
        self._note(listing, answer, key=key, started=started)
        return answer

    @bentoml.api(  # type: ignore[untyped-decorator]
        input_spec=PredictBatchRequest, batchable=True, max_batch_size=MAX_LISTINGS, max_latency_ms=20_000
    )
    def predict_batch(self, listings: list[Listing]) -> list[Prediction]:
        """Price up to 100 cars; concurrent requests are joined."""
        from bentos.cache import digest

        started = perf_counter()
        answers = self._pricer.answers(listings)
        for listing, answer in zip(listings, answers, strict=True):
            self._note(listing, answer, key=digest(listing), started=started)
        return answers

    def _note(self, listing: Listing, answer: Prediction, *, key: str, started: float) -> None:
        """Count it and write it down."""
        self._prices.observe(answer.price)
        self._widths.observe(answer.upper - answer.lower)
        self._odometers.observe(listing.odometer)
        for field in answer.unseen:
            self._unseen.labels(field).inc()
        self._log.note(digest=key, output=answer, latency_ms=(perf_counter() - started) * 1000)


VehiclePrice.add_asgi_middleware(JsonOnly, max_bytes=MAX_BYTES)  # type: ignore[attr-defined]  # it is a Service now
