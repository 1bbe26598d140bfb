# mypy: allow-untyped-decorators
"""Tasks: submitted now, fetched later."""

import time
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from bentoml.exceptions import InvalidArgument
from pydantic import BaseModel


class Order(BaseModel):
    dish: str
    count: int = 1


@bentoml.service(traffic={"timeout": 30}, threads=2)
class TaskZoo:
    def __init__(self) -> None:
        self.runs = 0

    @bentoml.task
    def double(self, n: int = 1) -> int:
        return 2 * n

    @bentoml.task
    async def cook(self, order: Order, ctx: bentoml.Context) -> Order:
        ctx.response.headers["x-kitchen"] = "zoo"
        ctx.response.status_code = 201
        return order

    @bentoml.task(route="/work/slow")
    def slow(self, seconds: float = 0.3) -> str:
        time.sleep(seconds)
        return "done"

    @bentoml.task
    def count_runs(self) -> int:
        self.runs += 1
        return self.runs

    @bentoml.task
    def fail(self, kind: str = "error") -> str:
        if kind == "argument":
            raise InvalidArgument("not like this")
        raise RuntimeError("broken")

    @bentoml.task
    def weigh(self, file: Path) -> int:
        return file.stat().st_size

    @bentoml.task
    def matrix(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x + 1)

    @bentoml.api
    def plain(self) -> dict[str, Any]:
        return {"task": False}
