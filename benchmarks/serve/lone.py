"""One connection: whether a lone client pays for batches that it has no company for.

Two servers wait on one core, one that batches and one that does not, and are asked in turn: what differs between
them is a few microseconds of 150, and the machine's speed changes by more from one minute to the next. New ones are
started for each round, because two starts of the same server differ as well.
"""

import random
from statistics import median

from benchmarks.rows import Row
from benchmarks.serve import contenders as c
from benchmarks.serve.client import Client
from benchmarks.serve.run import Serving, StartError, serving

MODELS = ("tfidf", "lean", "forest")
ROUNDS, PAIRS = 5, 6
_WARM_UP_S = 1.0


def rows(seconds: float, *, rounds: int = ROUNDS) -> list[Row]:
    """A row for each model. `seconds` is how long a server is asked at a time."""
    return [_row(model, seconds, rounds) for model in MODELS]


def _row(model: str, seconds: float, rounds: int) -> Row:
    name = f"{model}, 1 connection: batchable / without batching"
    try:
        ratios = [_ratio(model, seconds) for _ in range(rounds)]
    except StartError as error:
        return Row(name=f"{name}: not measured: {error}", value=0, unit="x")
    return Row(name=name, value=round(median(ratios), 2), unit="x", goal=">= 0.97")


def _ratio(model: str, seconds: float) -> float:
    """Requests/s of a server that batches over those of one that does not: the median of pairs seconds apart."""
    with serving(c.NOREN_BATCH, model) as together, serving(c.NOREN_DEF, model) as alone:
        for server in (together, alone):
            _per_second(server, _WARM_UP_S)
        return median(_pair(together, alone, seconds) for _ in range(PAIRS))


def _pair(together: Serving, alone: Serving, seconds: float) -> float:
    order = random.sample([together, alone], 2)
    found = {id(server): _per_second(server, seconds) for server in order}
    return found[id(together)] / found[id(alone)] if found[id(alone)] else 0.0


def _per_second(server: Serving, seconds: float) -> float:
    with Client(server.port, server.requests) as client:
        return client.closed_loop(connections=1, seconds=seconds).per_second
