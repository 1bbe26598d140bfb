# mypy: allow-untyped-decorators
"""numpy arrays and pandas frames."""

from typing import Annotated, Any

import bentoml
import numpy as np
import pandas as pd
from bentoml.validators import DataframeSchema, DType, Shape
from pydantic import BaseModel, ConfigDict


class Labelled(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    label: str
    count: int = 0


@bentoml.service(traffic={"timeout": 30})
class TensorZoo:
    @bentoml.api
    def double(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x * 2)

    @bentoml.api
    async def square(
        self,
        x: Annotated[np.ndarray, DType("float32"), Shape((2, 2))],
    ) -> Annotated[np.ndarray, DType("float64"), Shape((2, 2))]:
        return np.asarray(x @ x)

    @bentoml.api
    def dtype(self, x: Annotated[np.ndarray, DType("int8")]) -> str:
        return f"{x.dtype} {x.shape}"

    @bentoml.api
    def flags(self, x: Annotated[np.ndarray, DType("bool")]) -> Annotated[np.ndarray, DType("bool")]:
        return ~x

    @bentoml.api
    def reshaped(self, x: Annotated[np.ndarray, Shape((2, -1))]) -> list[int]:
        return list(x.shape)

    @bentoml.api
    def total(self, x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
        return float((x.sum() + y.sum()) * scale)

    @bentoml.api
    def array_root(self, x: np.ndarray, /) -> np.ndarray:
        return x[::-1]

    @bentoml.api
    def scalars(self) -> dict[str, float]:
        return {"pi": float(np.float64(3.25)), "half": 0.5}

    @bentoml.api
    def numpy_scalar(self) -> Any:
        return np.float32(1.5)

    @bentoml.api
    def holes(self) -> np.ndarray:
        return np.array([1.0, np.nan, np.inf])

    @bentoml.api
    def labelled(self, x: np.ndarray, label: Labelled) -> Labelled:
        return label.model_copy(update={"count": int(x.size)})

    @bentoml.api
    def frame(self, df: pd.DataFrame) -> pd.DataFrame:
        return df.assign(extra=1)

    @bentoml.api
    def columns(
        self, df: Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=("a", "b"))]
    ) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=("a", "b"))]:
        return df * 2

    @bentoml.api
    def frame_root(self, df: pd.DataFrame, /) -> int:
        return len(df)

    @bentoml.api
    def summary(self, df: pd.DataFrame, name: str = "x") -> dict[str, Any]:
        return {"name": name, "columns": list(map(str, df.columns)), "rows": len(df)}
