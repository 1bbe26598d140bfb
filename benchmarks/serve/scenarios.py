"""Which servers meet which model, and under how many connections."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.serve import contenders as c
from benchmarks.serve.contenders import Contender

_PEERS = (
    *(c.FASTAPI_DEF, c.FASTAPI_ASYNC, c.MLSERVER, c.MLSERVER_BATCH, c.LITSERVE, c.LITSERVE_BATCH),
    *(c.RAY, c.RAY_BATCH, c.MLFLOW_SERVE),
)
_BENTOS = (c.BENTOML_DEF, c.BENTOML_BATCH, c.BENTOML_TUNED, c.NOREN_DEF, c.NOREN_BATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A table of the report. `lone` are also measured with a single connection."""

    model: str
    title: str
    contenders: Sequence[Contender]
    connections: int = 16
    lone: Sequence[Contender] = ()

    def loads(self, contender: Contender) -> list[int]:
        """The numbers of connections to measure a server with."""
        return [self.connections, *([1] if contender in self.lone else [])]


ECHO = Scenario(
    model="echo",
    title="No model: a small JSON object through pydantic and back",
    contenders=(
        *(c.RAW, c.BARE, c.FASTAPI_DEF, c.FASTAPI_ASYNC, c.MLSERVER, c.LITSERVE, c.RAY, c.MLFLOW_SERVE),
        *(c.BENTOML_DEF, c.BENTOML_TUNED, c.NOREN_DEF, c.NOREN_ASYNC),
    ),
    lone=(c.BARE, c.BENTOML_DEF, c.NOREN_DEF, c.NOREN_ASYNC),
)
TFIDF = Scenario(
    model="tfidf",
    title="Sentiment with plain scikit-learn: TF-IDF of 40,000 features and logistic regression",
    contenders=(c.BARE, c.BARE_GREEDY, *_PEERS, *_BENTOS),
    lone=(c.BARE, c.BENTOML_BATCH, c.NOREN_DEF, c.NOREN_BATCH),
)
LEAN = Scenario(
    model="lean",
    title="The same sentiment model without scikit-learn: a look-up table and a sum",
    contenders=(c.BARE, c.BARE_GREEDY, c.FASTAPI_ASYNC, *_BENTOS, c.NOREN_ASYNC),
    lone=(c.BARE, c.NOREN_DEF, c.NOREN_BATCH, c.NOREN_ASYNC),
)
FOREST = Scenario(
    model="forest",
    title="Random forest of 300 trees on rows of 30 numbers",
    contenders=(
        *(c.BARE, c.BARE_GREEDY, c.MLSERVER_BATCH, c.LITSERVE_BATCH, c.RAY_BATCH),
        *(c.BENTOML_DEF, c.BENTOML_BATCH, c.NOREN_DEF, c.NOREN_BATCH),
    ),
    connections=64,
    lone=(c.NOREN_DEF, c.NOREN_BATCH),
)
PICTURE = Scenario(
    model="picture",
    title="No model: a form of some 270 bytes with a PNG, which is opened by Pillow",
    contenders=(c.FASTAPI_DEF, c.FASTAPI_ASYNC, c.BENTOML_DEF, c.BENTOML_TUNED, c.NOREN_DEF, c.NOREN_ASYNC),
)
SHOP = Scenario(
    model="shop",
    title="The sentiment Bento of this repository (bentos/sentiment)",
    contenders=(c.BENTOML_SHOP, c.NOREN_SHOP),
)
SCENARIOS = (ECHO, PICTURE, TFIDF, LEAN, FOREST, SHOP)
