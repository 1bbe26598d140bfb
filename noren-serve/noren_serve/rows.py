"""Counting, cutting and joining payloads along a batch dimension: lists, numpy, pandas, and what BentoML knows."""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

from bentoml._internal.runner.container import AutoContainer

_LISTS = (list, tuple)  # BentoML takes a tuple of results apart, but counts it as one row


class PayloadRows:
    """Lists ourselves, because they are most; every other kind by BentoML's own containers."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    def count(self, payload: Any) -> int:
        """Number of rows."""
        if isinstance(payload, _LISTS):
            return len(payload)
        size: Any = AutoContainer.get_batch_size(payload, self._dimension)
        return int(size[self._dimension] if isinstance(size, tuple) else size)  # a DataFrame gives its whole shape

    def cut(self, payload: Any, at: Sequence[int]) -> list[Any]:
        """Pieces of `payload` between the offsets `at`."""
        if type(payload) is list:
            return [payload[start:stop] for start, stop in pairwise(at)]
        return list(AutoContainer.batch_to_batches(payload, at, self._dimension))

    def join(self, pieces: Sequence[Any]) -> Any:
        """One payload of all the pieces, in order."""
        if all(type(piece) is list for piece in pieces):
            return list(chain.from_iterable(pieces))
        return AutoContainer.batches_to_batch(pieces, self._dimension)[0]
