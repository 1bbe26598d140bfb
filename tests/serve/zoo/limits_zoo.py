# mypy: allow-untyped-decorators
"""A short timeout, few requests at once, a prefix before every path.

No shorter than a busy machine may need for what is in time, and to have all requests beside one under way.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

import bentoml


@bentoml.service(traffic={"timeout": 3, "max_concurrency": 2}, threads=4, path_prefix="/v1")
class LimitsZoo:
    @bentoml.api
    async def nap(self, seconds: float = 2.5) -> str:
        await asyncio.sleep(seconds)
        return "rested"

    @bentoml.api
    def nap_sync(self, seconds: float = 2.5) -> str:
        time.sleep(seconds)
        return "rested"

    @bentoml.api
    async def stream(self, seconds: float = 3.5) -> AsyncGenerator[str, None]:
        yield "one"
        await asyncio.sleep(seconds)
        yield "two"

    @bentoml.api
    async def late_stream(self, seconds: float = 5) -> AsyncGenerator[str, None]:
        await asyncio.sleep(seconds)
        yield "one"
