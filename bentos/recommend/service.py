"""The recommendation service: what may somebody want next, and what is like what?

The supervisor of `bentoml serve` imports this module too, so what only a worker needs is imported in `__init__`.
"""

import gc
import time
from pathlib import Path

import bentoml
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bentos.cache import Cache, digest
from bentos.inference_log import InferenceLog
from bentos.json_only import JsonOnly
from bentos.metrics import ServiceMetrics
from bentos.recommend.schema import Recommendations, RecommendBatchRequest, RecommendRequest, SimilarRequest


@bentoml.service(
    name="recommend",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict,items"},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 30},
)
class Recommend:
    """Recommends items to a known user, or to anybody who likes some items."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("recommend:latest")

    def __init__(self) -> None:
        from bentos.recommend.answers import Answers
        from models.recommend import RecommendModel

        version = str(self.stored.tag.version)
        model = RecommendModel.from_bytes(Path(self.stored.path_of("model.npz")).read_bytes())
        self._answers = Answers(model, version=version)
        metrics = ServiceMetrics("recommend", model_version=version)
        self._cache = Cache(Recommendations, service="recommend", version=version, counts=metrics)
        self._log = InferenceLog.from_environment("recommend", version=version, drops=metrics, catalogue={"id"})
        sources = metrics.counter("answers", "Answers, by what they rest on.", ["source"])
        self._from = {name: sources.labels(name) for name in ("user", "liked_items", "popularity", "item")}
        self._top_score = metrics.histogram("top_score", "Score of the first item.", [edge / 10 for edge in range(21)])
        self._liked = metrics.histogram("liked_items", "Items liked.", [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
        self._answers.recommend(RecommendRequest(user_id=model.users[0]))
        self._answers.recommend(RecommendRequest(liked_items=list(model.items[:100])))
        items.state.service = self
        gc.collect()
        gc.freeze()  # the ids and titles never die: no collection needs to walk them

    @bentoml.api(input_spec=RecommendRequest)  # type: ignore[untyped-decorator]
    async def predict(
        self, user_id: str | None, liked_items: list[str] | None, k: int, exclude_seen: bool
    ) -> Recommendations:
        """Recommend items to one user."""
        # In the event loop: the sum of some rows takes less than handing it to a thread.
        request = RecommendRequest.model_construct(
            user_id=user_id, liked_items=liked_items, k=k, exclude_seen=exclude_seen
        )
        return self._answer(request)

    # Not batchable: a joined matrix product would do more work than the sums of a few rows do, and a request with an
    # unknown item would fail those that it is joined with.
    @bentoml.api(input_spec=RecommendBatchRequest)  # type: ignore[untyped-decorator]
    def predict_batch(self, requests: list[RecommendRequest]) -> list[Recommendations]:
        """Recommend items to up to 256 users."""
        return [self._answer(request, "requests", index) for index, request in enumerate(requests)]

    def similar(self, asked: Request) -> Response:
        """What the same people rated; 400 for a bad question, 404 for an item that is not there."""
        status = 400
        try:
            request = SimilarRequest.model_validate({**asked.query_params, **asked.path_params})
            status = 404
            found = self._answers.similar(request)
        except ValidationError as error:
            problem = f"{error.error_count()} validation error for {error.title}"
            detail = error.errors(include_context=False, include_input=False)
            return JSONResponse({"error": problem, "detail": detail}, status_code=status)
        self._from["item"].inc()
        return Response(found.model_dump_json(), media_type="application/json")

    def _answer(self, request: RecommendRequest, *where: str | int) -> Recommendations:
        began = time.perf_counter()
        key = digest(request)
        found = self._cache.answer(key, lambda: self._answers.recommend(request, *where))
        self._count(request, found)
        self._log.note(digest=key, output=found, latency_ms=(time.perf_counter() - began) * 1000)
        return found

    def _count(self, request: RecommendRequest, found: Recommendations) -> None:
        known = "user" if request.user_id is not None else "liked_items"
        self._from["popularity" if found.cold_start else known].inc()
        if request.liked_items is not None:
            self._liked.observe(len(request.liked_items))
        if found.items:
            self._top_score.observe(found.items[0].score)


async def _similar(request: Request) -> Response:
    service: Recommend = request.app.state.service
    return service.similar(request)


# BentoML's own routes are all POST; a look-up should be a link.
items = Starlette(routes=[Route("/{id}/similar", _similar)])
Recommend.mount_asgi_app(items, path="/items")  # type: ignore[attr-defined]  # the decorator made it a Service
Recommend.add_asgi_middleware(JsonOnly)  # type: ignore[attr-defined]
