# mypy: allow-untyped-decorators
"""Short timeouts, few requests at once, a prefix before every path."""

import asyncio
import time
from collections.abc import AsyncGenerator

import bentoml


@bentoml.service(traffic={"timeout": 0.6, "max_concurrency": 2}, threads=4, path_prefix="/v1")
class LimitsZoo:
    @bentoml.api
    async def nap(self, seconds: float = 0.4) -> str:
        await asyncio.sleep(seconds)
        return "rested"

    @bentoml.api
    def nap_sync(self, seconds: float = 0.4) -> str:
        time.sleep(seconds)
        return "rested"

    @bentoml.api
    async def stream(self, seconds: float = 0.8) -> AsyncGenerator[str, None]:
        yield "one"
        await asyncio.sleep(seconds)
        yield "two"

    @bentoml.api
    async def late_stream(self, seconds: float = 0.8) -> AsyncGenerator[str, None]:
        await asyncio.sleep(seconds)
        yield "one"
