"""Ray Serve: python -m benchmarks.serve.peers.ray_app PORT BATCH."""

import os
import signal
import sys
from typing import Any

import ray  # type: ignore[import-not-found]  # installed in its own environment only
from ray import serve
from starlette.requests import Request

from benchmarks.serve import scorers

MODEL = os.environ["NOREN_BENCH_MODEL"]


@serve.deployment(max_ongoing_requests=256, logging_config={"enable_access_log": False})
class Single:
    """Every request by itself."""

    def __init__(self) -> None:
        self._score = None if MODEL == "echo" else scorers.load(MODEL)

    async def __call__(self, request: Request) -> Any:
        """Score the items of one request."""
        body = await request.json()
        return body if self._score is None else self._score(next(iter(body.values())))


@serve.deployment(max_ongoing_requests=256, logging_config={"enable_access_log": False})
class Batched:
    """Requests that come together are scored together."""

    def __init__(self) -> None:
        self._score = scorers.load(MODEL)

    async def __call__(self, request: Request) -> Any:
        """Score the first item of one request."""
        return await self._together(next(iter((await request.json()).values()))[0])

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)  # type: ignore[untyped-decorator]
    async def _together(self, items: list[Any]) -> list[list[float]]:
        return [[score] for score in self._score(items)]


if __name__ == "__main__":
    port, batch = int(sys.argv[1]), int(sys.argv[2])
    # Two CPUs are announced because the proxy and the replica each claim one; all of it is pinned to one core.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployment: Any = Batched if batch > 1 else Single
    serve.run(deployment.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
