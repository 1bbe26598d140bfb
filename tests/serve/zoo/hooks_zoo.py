# mypy: allow-untyped-decorators
"""What is called when, by its own diary; readiness and liveness that can be switched; metrics of its own."""

import asyncio
import os
import time
from pathlib import Path

import bentoml

DIARY = os.environ.get("ZOO_DIARY")


def note(line: str) -> None:
    if DIARY:
        with Path(DIARY).open("a") as diary:  # one write per line, so that workers do not mix
            diary.write(line + "\n")


@bentoml.service(traffic={"timeout": 20}, threads=4, workers=int(os.environ.get("ZOO_WORKERS", "1")))
class HooksZoo:
    def __init__(self) -> None:
        note("init")
        self.ready = self.alive = True

    @bentoml.on_deployment
    def deployed() -> None:
        note("deployed")

    @bentoml.on_deployment
    @staticmethod
    def also_deployed() -> None:
        note("also deployed")

    @bentoml.on_startup
    def started(self) -> None:
        note("started")

    @bentoml.on_startup
    async def also_started(self) -> None:
        await asyncio.sleep(0.01)
        note("also started")

    @bentoml.on_shutdown
    def stopped(self) -> None:
        note("stopped")

    @bentoml.on_shutdown
    async def also_stopped(self) -> None:
        await asyncio.sleep(0.01)
        note("also stopped")

    def __is_ready__(self) -> bool:
        return self.ready

    async def __is_alive__(self) -> bool:
        return self.alive

    def __metrics__(self, original: str) -> str:
        return original + "# HELP zoo_visitors Visitors.\n# TYPE zoo_visitors gauge\nzoo_visitors 7.0\n"

    @bentoml.api
    async def switch(self, ready: bool = True, alive: bool = True) -> str:
        self.ready, self.alive = ready, alive
        return "switched"

    @bentoml.api
    async def nap(self, seconds: float = 0.2) -> str:
        note("nap")
        await asyncio.sleep(seconds)
        return "rested"

    @bentoml.api
    def nap_sync(self, seconds: float = 0.2) -> str:
        time.sleep(seconds)
        return "rested"

    @bentoml.api
    async def pid(self) -> int:
        return os.getpid()
