"""make bench-shop: how fast each service of the shop answers, beside the same service under `bentoml serve`.

Models are trained on the built-in data, once. Servers and load generator have a core each; requests are those of the
service's load test, all different, so that no cache answers them unless a row says so. Both servers wait on their core
and are asked in turn, a second each, because a machine changes its speed; a figure is the median of its turns. They are
started anew several times. Each service's page gets its table. NAMES=... measures some, and publishes nothing.
"""

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks import page
from benchmarks.rows import Row, publish, show
from benchmarks.serve.client import Answers, Client, quantile, request
from benchmarks.serve.contenders import free_port
from benchmarks.serve.environments import ROOT
from benchmarks.serve.run import wait_for_an_answer
from benchmarks.serve.scorers import CACHE
from benchmarks.serve.tree import Tree, adopt_orphans, cores

_SOURCES = sorted([*ROOT.glob("models/*.py"), *ROOT.glob("training/*.py")])
_CODE = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES))
HOME = CACHE / "shop" / _CODE.hexdigest()[:12]  # a BENTOML_HOME; other code trains other models
DIFFERENT = 1_500  # requests, more than the 1,024 answers that a cache keeps
ROUNDS, TURNS, SECONDS = 4, 2, 1.0
GUESTS = 16
CONNECTIONS = {"alone": 1, "guests": GUESTS, "again": 1, "batches": 1}  # how a server is asked
SERVERS = {"noren-serve": ("-m", "noren_serve"), "bentoml serve": ("-m", "bentoml", "serve")}
FORM = "multipart/form-data; boundary=a-boundary-that-no-picture-has-in-it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a service is asked, as Python over the module `m` of its load test.

    one     the body of a request: JSON, or bytes
    many    the body of a batch of `size`
    """

    service: str
    one: str
    many: str
    size: int = 32
    kinds: tuple[str, str] = ("application/json", "application/json")


SHOP = {
    "blur": Asked(
        service="Blur",
        one="m.another(m.chance.choice(m.PICTURES))",
        many="m.form('images', [m.another(m.chance.choice(m.PICTURES)) for _ in range(size)])",
        size=8,
        kinds=("image/png", FORM),
    ),
    "churn": Asked(service="Churn", one="m.customer()", many="{'customers': [m.customer() for _ in range(size)]}"),
    "forecast": Asked(
        service="Forecast",
        one="m._request(120, season=12, horizon=18, frequency='monthly')",
        many="{'series': [m._request(120, season=12, horizon=18, frequency='monthly') for _ in range(size)]}",
        size=4,
    ),
    "recommend": Asked(
        service="Recommend",
        one="{'liked_items': m.chance.sample(m.FILMS, k=20)}",
        many="{'requests': [{'liked_items': m.chance.sample(m.FILMS, k=20)} for _ in range(size)]}",
    ),
    "sentiment": Asked(
        service="Sentiment",
        one="{'text': ' '.join(m.chance.sample(m.MEDIUM, k=3))}",
        many="{'texts': [' '.join(m.chance.sample(m.MEDIUM, k=3)) for _ in range(size)]}",
    ),
    "telecom_plan": Asked(
        service="TelecomPlan", one="m.usage()", many="{'customers': [m.usage() for _ in range(size)]}"
    ),
    "vehicle_price": Asked(
        service="VehiclePrice",
        one="m.listing(explain=False)",
        many="{'listings': [m.listing(explain=False) for _ in range(size)]}",
        size=16,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one server answered in its turn. `cpu_ms` is of a request with GUESTS connections."""

    alone: Answers
    guests: Answers
    again: Answers
    batches: Answers
    cpu_ms: float

    @property
    def failed(self) -> int:
        """Requests that were not answered well."""
        return sum(answers.failed for answers in (self.alone, self.guests, self.again, self.batches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One server with one service: seconds to each start's first answer, megabytes, turns."""

    first_answers_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


def main(names: Sequence[str]) -> int:
    """Measure and publish."""
    if unknown := set(names) - set(SHOP):
        print(f"there is no service {', '.join(sorted(unknown))}; name some of {', '.join(SHOP)}", file=sys.stderr)
        return 2
    train(names or list(SHOP))
    adopt_orphans()
    os.sched_setaffinity(0, {cores()[1]})
    found: list[Row] = []
    for name in names or SHOP:
        asked = SHOP[name]
        one = bodies(name, asked.one, count=2 * DIFFERENT)
        many = bodies(name, asked.many, size=asked.size, count=max(100, DIFFERENT // asked.size + 1))
        requests = [request("/predict", body, asked.kinds[0]) for body in one]
        batches = [request("/predict_batch", body, asked.kinds[1]) for body in many]
        measured = measure(name, requests, batches)
        found += rows(name, measured)
        if not names:
            page.write("speed", table(name, measured), page.DOCS / "services" / f"{name}.md")
    if names:
        show("not published: some services only", found)
    else:
        publish("shop", found, command="make bench-shop")
    return 0


def train(names: Sequence[str]) -> None:
    """Train what the store does not have."""
    there = {path.name for path in (HOME / "models").glob("*") if (path / "latest").exists()}
    for name in [name for name in names if name not in there]:
        env = {**os.environ, "BENTOML_HOME": str(HOME), "MLFLOW_TRACKING_URI": f"sqlite:///{HOME}/mlflow.db"}
        HOME.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", f"training.{name}"], cwd=ROOT, env=env, check=True)


def bodies(name: str, body: str, *, size: int = 1, count: int) -> list[bytes]:
    """`count` bodies made by the service's load test, whose import of Locust would change this process."""
    # Batches of what single guests have asked would be answered by the cache.
    script = f"""
import base64, json
from loadtests import {name} as m
m.chance.seed({size})
size = {size}
made = [{body} for _ in range({count})]
raw = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in made]
print(json.dumps([base64.b64encode(body).decode() for body in raw]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return [base64.b64decode(body) for body in json.loads(done.stdout)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers. What it is asked goes on where it stopped: what was asked before may be in its cache."""

    tree: Tree
    first_answer_s: float
    clients: Mapping[str, Client]

    def ask(self, how: str) -> tuple[Answers, float]:
        """A second of questions, and the CPU milliseconds of one."""
        before = self.tree.cpu_s()
        answers = self.clients[how].closed_loop(connections=CONNECTIONS[how], seconds=SECONDS)
        return answers, (self.tree.cpu_s() - before) / max(1, answers.answered) * 1e3


@contextmanager
def serving(name: str, server: str, asked: Mapping[str, Sequence[bytes]]) -> Iterator[Server]:
    """Start a server of a service, and wait until it answers. Raises StartError."""
    port, log = free_port(), HOME / f"{name}-{server.split()[0]}.log"
    target = f"bentos.{name}.service:{SHOP[name].service}"
    argv = [sys.executable, *SERVERS[server], target, "--host", "127.0.0.1", "--port", str(port)]
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "PATH", "TMPDIR") if key in os.environ}
    env = {**kept, "BENTOML_HOME": str(HOME), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    tree = Tree.start(argv, environment=env, folder=ROOT, log=log, core=cores()[0])
    try:
        wait_for_an_answer(tree, port, asked["again"][0])
        first_answer_s = time.perf_counter() - began
        with ExitStack() as stack:
            clients = {how: stack.enter_context(Client(port, requests)) for how, requests in asked.items()}
            yield Server(tree=tree, first_answer_s=first_answer_s, clients=clients)
    finally:
        tree.stop()


def measure(name: str, requests: Sequence[bytes], batches: Sequence[bytes]) -> dict[str, Measured]:
    """Both servers, in several rounds of turns. Raises StartError."""
    # The guests do not ask what the lone one asked: of a slow service the cache would know it all.
    asked = {"alone": requests[:DIFFERENT], "guests": requests[DIFFERENT:], "again": requests[:1], "batches": batches}
    found = {server: Measured() for server in SERVERS}
    for number in range(ROUNDS):
        print(f"{name}: round {number + 1} of {ROUNDS}", file=sys.stderr)
        first, second = sorted(SERVERS, reverse=bool(number % 2))
        with serving(name, first, asked) as outer:
            with serving(name, second, asked) as inner:
                servers = {first: outer, second: inner}
                for kind, server in servers.items():
                    found[kind].first_answers_s.append(server.first_answer_s)
                for _ in range(TURNS):
                    for kind, turn in take_turns(servers).items():
                        found[kind].turns.append(turn)
            # Alone: what two processes share counts half in each.
            found[first].memory_mb.append(outer.tree.memory_mb())
    return found


def take_turns(servers: Mapping[str, Server]) -> dict[str, Turn]:
    """Ask both in each of the ways, one right after the other."""
    found: dict[str, dict[str, tuple[Answers, float]]] = {name: {} for name in servers}
    for how in CONNECTIONS:
        for name in random.sample(list(servers), len(servers)):
            found[name][how] = servers[name].ask(how)
    return {name: _turn(asked) for name, asked in found.items()}


def _turn(asked: Mapping[str, tuple[Answers, float]]) -> Turn:
    return Turn(**{how: answers for how, (answers, _) in asked.items()}, cpu_ms=asked["guests"][1])


def figures(name: str, measured: Measured) -> dict[str, tuple[float, str]]:
    """Each figure of one server and its unit: the median of its turns, but for p99, which is of all answers."""

    def middle(figure: Callable[[Turn], float]) -> float:
        return _rounded(median(map(figure, measured.turns)))

    alone = [latency for turn in measured.turns for latency in turn.alone.latencies]
    return {
        "p50 of a lone guest": (middle(lambda t: t.alone.quantile_ms(0.5)), "ms"),
        "p99 of a lone guest": (_rounded(quantile(alone, 0.99)), "ms"),
        f"requests/s, {GUESTS} guests": (middle(lambda t: t.guests.per_second), "1/s"),
        f"CPU of a request, {GUESTS} guests": (middle(lambda t: t.cpu_ms), "ms"),
        "p50 of a repeated request": (middle(lambda t: t.again.quantile_ms(0.5)), "ms"),
        "items/s in batches": (middle(lambda t: t.batches.per_second * SHOP[name].size), "1/s"),
        "start to first answer": (_rounded(median(measured.first_answers_s)), "s"),
        "memory": (_rounded(median(measured.memory_mb)), "MB"),
    }


def rows(name: str, measured: Mapping[str, Measured]) -> Iterator[Row]:
    """Every figure, and the ratio of the two servers."""
    for server, found in measured.items():
        what = f"{name}, {server}"
        failed = sum(turn.failed for turn in found.turns)
        yield Row(name=f"{what}: requests that failed", value=failed, unit="", goal="= 0")
        for figure, (value, unit) in figures(name, found).items():
            yield Row(name=f"{what}: {figure}", value=value, unit=unit)
    ours, theirs = ([turn.guests.per_second for turn in found.turns] for found in measured.values())
    faster = median(our / max(their, 1e-9) for our, their in zip(ours, theirs, strict=True))
    yield Row(name=f"{name}: requests/s, noren-serve / bentoml serve", value=_rounded(faster), unit="x", goal=">= 1")
    yield Row(name=f"{name}: items/s, in batches / one by one", value=_gain(name, measured["noren-serve"]), unit="x")


def table(name: str, measured: Mapping[str, Measured]) -> str:
    """What the service's page says of it."""
    seen = [{figure: value for figure, (value, _) in figures(name, found).items()} for found in measured.values()]
    lines = [
        ("a lone guest, p50 / p99 ms", "{p50 of a lone guest:g} / {p99 of a lone guest:g}"),
        (f"requests/s, {GUESTS} guests", f"{{requests/s, {GUESTS} guests:,g}}"),
        ("CPU of a request, ms", f"{{CPU of a request, {GUESTS} guests:g}}"),
        ("a repeated request, p50 ms", "{p50 of a repeated request:g}"),
        (f"items/s in batches of {SHOP[name].size}", "{items/s in batches:,g}"),
        ("start to first answer, s", "{start to first answer:.1f}"),
        ("memory, MB", "{memory:.0f}"),
    ]
    body = ["| " + " | ".join([what, *(text.format_map(one) for one in seen)]) + " |" for what, text in lines]
    gain = _gain(name, measured["noren-serve"])
    body += ["", f"In batches, {gain:g} times as many items/s as one by one from {GUESTS} guests."]
    return "\n".join(["| one core | noren-serve | `bentoml serve` |", "|---|---|---|", *body])


def _gain(name: str, measured: Measured) -> float:
    size = SHOP[name].size
    return _rounded(median(t.batches.per_second * size / max(t.guests.per_second, 1e-9) for t in measured.turns))


def _rounded(value: float) -> float:
    """To three digits, which is more than repeats."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
