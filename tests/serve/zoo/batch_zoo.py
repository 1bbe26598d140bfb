# mypy: allow-untyped-decorators
"""Batchable methods, one of each type that can be joined and split."""

from typing import Any

import bentoml
import numpy as np
import pandas as pd
from PIL.Image import Image
from pydantic import BaseModel


class Review(BaseModel):
    text: str
    stars: int = 3


class Verdict(BaseModel):
    good: bool
    text: str


@bentoml.service(traffic={"timeout": 5})
class BatchZoo:
    @bentoml.api(batchable=True)
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @bentoml.api(batchable=True, max_batch_size=4, max_latency_ms=5_000)
    async def shout(self, texts: list[str]) -> list[str]:
        assert len(texts) <= 4
        return [text.upper() for text in texts]

    @bentoml.api(batchable=True)
    def judge(self, reviews: list[Review]) -> list[Verdict]:
        return [Verdict(good=review.stars > 2, text=review.text) for review in reviews]

    @bentoml.api(batchable=True)
    def double(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x * 2)

    @bentoml.api(batchable=True, batch_dim=1)
    def columns(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x + 1)

    @bentoml.api(batchable=True, batch_dim=(0, 0))
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df.assign(total=df["a"] + df["b"])

    @bentoml.api(batchable=True)
    def sizes(self, images: list[Image]) -> list[list[int]]:
        return [list(image.size) for image in images]

    @bentoml.api(batchable=True)
    def root(self, numbers: list[int], /) -> list[int]:
        return [number * number for number in numbers]

    @bentoml.api(batchable=True)
    def with_context(self, texts: list[str], ctx: bentoml.Context) -> list[str]:
        ctx.response.headers["x-batch"] = "yes"
        return texts

    @bentoml.api(batchable=True)
    def parity(self, numbers: list[int]) -> list[dict[str, Any]]:
        if 13 in numbers:
            raise ValueError("13")
        return [{"n": number, "even": number % 2 == 0} for number in numbers]

    @bentoml.api(batchable=True)
    def too_few(self, numbers: list[int]) -> list[int]:
        return numbers[1:]

    @bentoml.api(batchable=True)
    def two_arguments(self, a: list[int], b: list[int]) -> list[int]:
        return [x + y for x, y in zip(a, b, strict=True)]
