"""How each server wants to be asked, and how to read its answer: JSON that differs in its wrapping only.

A picture comes by a form, which looks the same to all.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.serve import picture, scorers
from benchmarks.serve.client import request

TOLERANCE = 1e-6  # between a score and the one that the estimator gave when it was trained
FIELDS = {"tfidf": "texts", "lean": "texts", "forest": "rows"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """`wrap` makes the body for (model, item), `unwrap` the score out of an answer."""

    path: str
    wrap: Callable[[str, Any], Any]
    unwrap: Callable[[Any], Any]

    def requests(self, model: str) -> list[bytes]:
        """Those of all samples of a model."""
        if model == "picture":
            return [request(self.path, picture.form(width), picture.KIND) for width in items(model)]
        return [request(self.path, json.dumps(self.wrap(model, item)).encode()) for item in items(model)]

    def right(self, model: str, index: int, body: bytes) -> bool:
        """Whether `body` is the answer to sample `index`."""
        try:
            found = self.unwrap(json.loads(body))
            return bool(abs(float(found) - expected(model)[index]) <= TOLERANCE)
        except (ValueError, TypeError, KeyError, IndexError):
            return False


def items(model: str) -> list[Any]:
    """The samples of a model. Without a model: numbers."""
    return list(scorers.NUMBERS[model]) if model in scorers.NUMBERS else scorers.samples(model)[0]


def expected(model: str) -> list[float]:
    """The right answers to `items`."""
    return [float(n) for n in scorers.NUMBERS[model]] if model in scorers.NUMBERS else scorers.samples(model)[1]


def _plain(model: str, item: Any) -> Any:
    return {"text": "A small JSON object.", "number": item} if model == "echo" else {FIELDS[model]: [item]}


def _first(answer: Any) -> Any:
    """[0.9], [{"score": 0.9}], {"score": 0.9} and {"text": ..., "number": 9} all have one number."""
    if isinstance(answer, list):
        return _first(answer[0])
    if isinstance(answer, dict):
        return answer["score"] if "score" in answer else answer["number"]
    return answer


def _tensor(model: str, item: Any) -> Any:
    if model == "echo":
        return {"inputs": [_strings("number", str(item)), _strings("text", "A small JSON object.")]}
    if model == "forest":
        return {"inputs": [{"name": "rows", "shape": [1, len(item)], "datatype": "FP64", "data": [item]}]}
    return {"inputs": [_strings("texts", item)]}


def _strings(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [text], "parameters": {"content_type": "str"}}


PLAIN = Dialect(path="/predict", wrap=_plain, unwrap=_first)
OPEN_INFERENCE = Dialect(
    path="/v2/models/bench/infer", wrap=_tensor, unwrap=lambda answer: answer["outputs"][0]["data"][0]
)
MLFLOW = Dialect(
    path="/invocations",
    wrap=lambda _, item: {"inputs": [item]},
    unwrap=lambda answer: answer["predictions"][0],
)
SHOP = Dialect(path="/predict", wrap=lambda _, item: {"text": item}, unwrap=lambda answer: answer["score"])
