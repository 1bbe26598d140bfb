"""Two servers that wait on one core and are asked in turn: how they compare while the machine's speed drifts.

In the cloud it changes from one second to the next. Servers that are measured minutes apart are told apart when one is
twice as fast, but not by the few microseconds that a lone caller pays for batches that it has no company for. New ones
are started for each round, because two starts of the same server differ as well, and more than two turns do.
"""

import random
from dataclasses import dataclass
from statistics import median

from benchmarks.rows import Row
from benchmarks.serve import contenders as c
from benchmarks.serve.client import Client
from benchmarks.serve.run import Serving, StartError, serving

ROUNDS, TURNS = 9, 6
_WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Requests/s of `one` over those of `other`, and what is promised of that."""

    name: str
    model: str
    one: c.Contender
    other: c.Contender
    connections: int
    goal: str


def _alone(model: str) -> Pair:
    name = f"{model}, 1 connection: batchable / without batching"
    return Pair(name=name, model=model, one=c.NOREN_BATCH, other=c.NOREN_DEF, connections=1, goal=">= 0.97")


def _unchanged(model: str, connections: int, goal: str) -> Pair:
    """The same Bento under both servers."""
    name = f"{model}, {connections} connections: noren-serve / {c.BENTOML_BATCH.name}"
    return Pair(name=name, model=model, one=c.NOREN_BATCH, other=c.BENTOML_BATCH, connections=connections, goal=goal)


PAIRS = (
    _unchanged("tfidf", 16, ">= 8"),
    _unchanged("forest", 64, ">= 2.5"),
    *map(_alone, ("tfidf", "lean", "forest")),
)


def rows(seconds: float, *, rounds: int = ROUNDS) -> list[Row]:
    """A row for each pair. `seconds` is how long a server is asked at a time."""
    return [_row(pair, seconds, rounds) for pair in PAIRS]


def _row(pair: Pair, seconds: float, rounds: int) -> Row:
    try:
        ratios = [_ratio(pair, seconds) for _ in range(rounds)]
    except StartError as error:
        return Row(name=f"{pair.name}: not measured: {error}", value=0, unit="x")
    return Row(name=pair.name, value=round(median(ratios), 2), unit="x", goal=pair.goal)


def _ratio(pair: Pair, seconds: float) -> float:
    """The median of turns seconds apart."""
    with serving(pair.one, pair.model) as one, serving(pair.other, pair.model) as other:
        for server in (one, other):
            _per_second(server, pair.connections, _WARM_UP_S)
        return median(_turn(one, other, pair.connections, seconds) for _ in range(TURNS))


def _turn(one: Serving, other: Serving, connections: int, seconds: float) -> float:
    order = random.sample([one, other], 2)
    found = {id(server): _per_second(server, connections, seconds) for server in order}
    return found[id(one)] / found[id(other)] if found[id(other)] else 0.0


def _per_second(server: Serving, connections: int, seconds: float) -> float:
    with Client(server.port, server.requests) as client:
        return client.closed_loop(connections=connections, seconds=seconds).per_second
