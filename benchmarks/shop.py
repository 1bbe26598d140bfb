"""make bench-shop: how fast each service of the shop answers, beside the same service under `bentoml serve`.

Models are trained on the built-in data, once. Server and load generator have a core each; requests are those of the
service's load test, all different, so that no cache answers them unless a row says so. The two servers are started in
turn, several times, and a figure is the median of its rounds: a machine changes its speed. Each service's page gets its
table. NAMES=... measures some, and publishes nothing.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks import page
from benchmarks.rows import Row, publish, show
from benchmarks.serve.client import Answers, Client, request
from benchmarks.serve.contenders import free_port
from benchmarks.serve.environments import ROOT
from benchmarks.serve.run import wait_for_an_answer
from benchmarks.serve.scorers import CACHE
from benchmarks.serve.tree import Tree, adopt_orphans, cores

_SOURCES = sorted([*ROOT.glob("models/*.py"), *ROOT.glob("training/*.py")])
_CODE = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES))
HOME = CACHE / "shop" / _CODE.hexdigest()[:12]  # a BENTOML_HOME; other code trains other models
DIFFERENT = 1_500  # requests, more than the 1,024 answers that a cache keeps
ROUNDS, SECONDS = 3, 2.0
GUESTS = 16
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
class Measured:
    """One server with one service. `cpu_ms` is of a request with GUESTS connections."""

    first_answer_s: float
    memory_mb: float
    alone: Answers
    guests: Answers
    cpu_ms: float
    again: Answers
    batches: Answers

    @property
    def failed(self) -> int:
        """Requests that were not answered well."""
        return sum(answers.failed for answers in (self.alone, self.guests, self.again, self.batches))


Rounds = Sequence[Measured]


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
        rounds = [[measure(name, server, requests, batches) for server in SERVERS] for _ in range(ROUNDS)]
        measured = dict(zip(SERVERS, zip(*rounds, strict=True), strict=True))
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
    script = f"""
import base64, json
from loadtests import {name} as m
m.chance.seed(1)
size = {size}
made = [{body} for _ in range({count})]
raw = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in made]
print(json.dumps([base64.b64encode(body).decode() for body in raw]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return [base64.b64decode(body) for body in json.loads(done.stdout)]


@contextmanager
def serving(name: str, server: str, first: bytes) -> Iterator[tuple[Tree, int, float]]:
    """A server that answers: its processes, its port, and the seconds to its first answer."""
    port, log = free_port(), HOME / f"{name}-{server.split()[0]}.log"
    target = f"bentos.{name}.service:{SHOP[name].service}"
    argv = [sys.executable, *SERVERS[server], target, "--host", "127.0.0.1", "--port", str(port)]
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "PATH", "TMPDIR") if key in os.environ}
    env = {**kept, "BENTOML_HOME": str(HOME), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    tree = Tree.start(argv, environment=env, folder=ROOT, log=log, core=cores()[0])
    try:
        wait_for_an_answer(tree, port, first)
        yield tree, port, time.perf_counter() - began
    finally:
        tree.stop()


def measure(name: str, server: str, requests: Sequence[bytes], batches: Sequence[bytes]) -> Measured:
    """Start a server, ask it in four ways, end it. Raises StartError."""
    print(f"{name}: {server}", file=sys.stderr)
    with serving(name, server, requests[0]) as (tree, port, first_answer_s):
        # Not the same ones: of a slow service the cache would know all that the lone guest asked.
        alone = ask(port, requests[:DIFFERENT], connections=1)
        before = tree.cpu_s()
        guests = ask(port, requests[DIFFERENT:], connections=GUESTS)
        cpu_ms = (tree.cpu_s() - before) / max(1, guests.answered) * 1e3
        return Measured(
            first_answer_s=first_answer_s,
            memory_mb=tree.memory_mb(),
            alone=alone,
            guests=guests,
            cpu_ms=cpu_ms,
            again=ask(port, requests[:1], connections=1),
            batches=ask(port, batches, connections=1),
        )


def ask(port: int, requests: Sequence[bytes], *, connections: int) -> Answers:
    """Some seconds of questions, each connection asking again as soon as it is answered."""
    with Client(port, requests) as client:
        return client.closed_loop(connections=connections, seconds=SECONDS)


def figures(name: str, rounds: Rounds) -> dict[str, tuple[float, str]]:
    """The median of each figure over the rounds of one server, and its unit."""

    def middle(figure: Callable[[Measured], float]) -> float:
        return _rounded(median(map(figure, rounds)))

    return {
        "p50 of a lone guest": (middle(lambda m: m.alone.quantile_ms(0.5)), "ms"),
        "p99 of a lone guest": (middle(lambda m: m.alone.quantile_ms(0.99)), "ms"),
        f"requests/s, {GUESTS} guests": (middle(lambda m: m.guests.per_second), "1/s"),
        f"CPU of a request, {GUESTS} guests": (middle(lambda m: m.cpu_ms), "ms"),
        "p50 of a repeated request": (middle(lambda m: m.again.quantile_ms(0.5)), "ms"),
        "items/s in batches": (middle(lambda m: m.batches.per_second * SHOP[name].size), "1/s"),
        "start to first answer": (middle(lambda m: m.first_answer_s), "s"),
        "memory": (middle(lambda m: m.memory_mb), "MB"),
    }


def rows(name: str, measured: Mapping[str, Rounds]) -> Iterator[Row]:
    """Every figure, and the ratio of the two servers."""
    for server, rounds in measured.items():
        what = f"{name}, {server}"
        yield Row(name=f"{what}: requests that failed", value=sum(m.failed for m in rounds), unit="", goal="= 0")
        for figure, (value, unit) in figures(name, rounds).items():
            yield Row(name=f"{what}: {figure}", value=value, unit=unit)
    ours, theirs = ([m.guests.per_second for m in rounds] for rounds in measured.values())
    faster = median(our / max(their, 1e-9) for our, their in zip(ours, theirs, strict=True))
    yield Row(name=f"{name}: requests/s, noren-serve / bentoml serve", value=_rounded(faster), unit="x", goal=">= 1")
    yield Row(name=f"{name}: items/s, in batches / one by one", value=_gain(name, measured["noren-serve"]), unit="x")


def table(name: str, measured: Mapping[str, Rounds]) -> str:
    """What the service's page says of it."""
    seen = [{figure: value for figure, (value, _) in figures(name, rounds).items()} for rounds in measured.values()]
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


def _gain(name: str, rounds: Rounds) -> float:
    return _rounded(median(m.batches.per_second * SHOP[name].size / max(m.guests.per_second, 1e-9) for m in rounds))


def _rounded(value: float) -> float:
    """To three digits, which is more than repeats."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
