"""What noren-serve promises, judged: ratios of one run, whose rounds were interleaved."""

from collections.abc import Iterator

from benchmarks.rows import Row
from benchmarks.serve import contenders as c
from benchmarks.serve import scenarios
from benchmarks.serve.figures import Entry, Figures, Results, every
from benchmarks.serve.neighbours import LIMIT

RIVALS = ("MLServer", "LitServe", "Ray Serve", "mlflow models serve", "FastAPI")
BARE_IS_FAST = 15_000  # requests/s of bare ASGI from which on an absolute figure is asked for


def goals(results: Results) -> list[Row]:
    """A row for each promise that this run can judge."""
    rows = [*_framework(results), *_sentiment(results), *_lean(results), *_forest(results)]
    return [*rows, *_spread(results), *_shop(results), *_honest(results)]


def _framework(results: Results) -> Iterator[Row]:
    if noren := _load(results, "echo", c.NOREN_DEF):
        yield Row(
            name="framework cost: CPU of a request without a model", value=round(noren.cpu_us), unit="us", goal="<= 100"
        )
        yield from _ratio(results, "echo", c.NOREN_DEF, c.BENTOML_DEF)
    yield from _ratio(results, "picture", c.NOREN_DEF, c.BENTOML_DEF, goal=">= 4")
    yield from _ratio(results, "picture", c.NOREN_ASYNC, c.FASTAPI_ASYNC, goal=">= 1")


def _sentiment(results: Results) -> Iterator[Row]:
    yield from _ratio(results, "tfidf", c.NOREN_BATCH, c.BARE, goal=">= 3")
    yield from _ratio(results, "tfidf", c.NOREN_BATCH, c.BARE_GREEDY)
    yield from _ratio(results, "tfidf", c.NOREN_BATCH, c.BENTOML_DEF)
    yield from _ratio(results, "tfidf", c.NOREN_BATCH, c.BENTOML_TUNED)
    for rival in RIVALS:
        if best := _best(results, "tfidf", rival):
            yield from _ratio(results, "tfidf", c.NOREN_BATCH, best, goal=">= 1")


def _lean(results: Results) -> Iterator[Row]:
    yield from _ratio(results, "lean", c.NOREN_BATCH, c.BARE, goal=">= 0.5")
    yield from _ratio(results, "lean", c.NOREN_BATCH, c.FASTAPI_ASYNC, goal=">= 1")
    noren, bare = _load(results, "lean", c.NOREN_BATCH), _load(results, "lean", c.BARE)
    if noren and bare:
        goal = ">= 5000" if bare.per_second >= BARE_IS_FAST else ""
        name = f"{_where('lean')}, requests/s where bare ASGI reaches {bare.per_second:,.0f}"
        yield Row(name=name, value=round(noren.per_second), unit="1/s", goal=goal)


def _forest(results: Results) -> Iterator[Row]:
    if noren := _load(results, "forest", c.NOREN_BATCH):
        yield Row(name=f"{_where('forest')}: shed at default settings", value=noren.failed, unit="requests", goal="= 0")


def _spread(results: Results) -> Iterator[Row]:
    for model, contender in (("echo", c.NOREN_DEF), ("tfidf", c.NOREN_BATCH), ("lean", c.NOREN_BATCH)):
        if noren := _load(results, model, contender):
            yield Row(name=f"{_where(model)}: p99 / p50", value=round(noren.spread, 2), unit="x", goal="<= 2")


def _shop(results: Results) -> Iterator[Row]:
    entry = results.get(("shop", c.NOREN_SHOP.name), Entry())
    if entry.loads:
        yield Row(name="the shop's sentiment Bento: memory", value=round(entry.memory_mb), unit="MB", goal="<= 160")
        yield Row(
            name="the shop's sentiment Bento: start to first answer",
            value=round(entry.first_answer_s, 2),
            unit="s",
            goal="<= 1.5",
        )


def _honest(results: Results) -> Iterator[Row]:
    """Whether the figures above deserve trust."""
    seen = list(every(results))
    if not seen:
        return
    ours = [f for (_, name), entry in results.items() if name.startswith("noren") for f in entry.loads.values()]
    yield Row(
        name="wrong answers in the samples, all servers", value=sum(f.wrong for f in seen), unit="answers", goal="= 0"
    )
    yield Row(name="failed requests of noren-serve", value=sum(f.failed for f in ours), unit="requests", goal="= 0")
    yield Row(
        name="other processes during the worst window",
        value=round(max(f.others for f in seen) * 100),
        unit="% of a core",
        goal=f"<= {LIMIT * 100:g}",
    )


def _ratio(results: Results, model: str, mine: c.Contender, theirs: c.Contender, *, goal: str = "") -> Iterator[Row]:
    one, other = _load(results, model, mine), _load(results, model, theirs)
    if one and other:
        name = f"{_where(model)}: noren-serve / {theirs.name}"
        yield Row(name=name, value=round(one.times(other), 2), unit="x", goal=goal)


def _best(results: Results, model: str, peer: str) -> c.Contender | None:
    """The setting of a peer that served most."""
    scenario = _scenario(model)
    measured = [
        (figures.per_second, contender.name, contender)
        for contender in scenario.contenders
        if contender.peer == peer and (figures := _load(results, model, contender))
    ]
    return max(measured)[2] if measured else None


def _load(results: Results, model: str, contender: c.Contender) -> Figures | None:
    entry = results.get((model, contender.name), Entry())
    return entry.loads.get(_scenario(model).connections)


def _where(model: str) -> str:
    return f"{model}, {_scenario(model).connections} connections"


def _scenario(model: str) -> scenarios.Scenario:
    return next(scenario for scenario in scenarios.SCENARIOS if scenario.model == model)
