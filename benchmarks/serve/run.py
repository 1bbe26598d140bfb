"""One server, measured: started, asked, weighed, ended."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.serve.client import Answers, Client
from benchmarks.serve.contenders import Contender, free_port
from benchmarks.serve.environments import ROOT, InstallError
from benchmarks.serve.neighbours import LIMIT, Neighbours, Watch
from benchmarks.serve.scorers import CACHE
from benchmarks.serve.tree import Tree, cores

START_PATIENCE_S = 90.0
WARM_UP_S = 1.0
TRIES = 3  # to find a window without others on the machine
GAP_S = 0.005  # between two questions whether it answers yet: the error of the seconds to the first answer


class StartError(Exception):
    """A server could not be measured; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One load on one server.

    cpu_us   CPU of the whole process tree for one request, in microseconds
    wrong    sampled answers with the wrong content
    """

    connections: int
    answers: Answers
    cpu_us: float
    wrong: int
    neighbours: Neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One start of one server."""

    first_answer_s: float
    memory_mb: float
    windows: list[Window] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server that answers."""

    tree: Tree
    port: int
    requests: list[bytes]
    first_answer_s: float


@contextlib.contextmanager
def serving(contender: Contender, model: str) -> Iterator[Serving]:
    """Start a server and wait for its first good answer. Raises StartError."""
    port = free_port()
    try:
        argv, variables = contender.launch(model, port)
    except (InstallError, OSError, subprocess.SubprocessError) as error:
        raise StartError(f"not installed: {error}") from error
    requests = contender.dialect.requests(_samples_of(model))
    logs = CACHE / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{model}-{contender.name.replace(' ', '-').replace(',', '')}.log"
    began = time.perf_counter()
    tree = Tree.start(argv, environment=variables, folder=ROOT, log=log, core=cores()[0])
    try:
        wait_for_an_answer(tree, port, requests[0])
        yield Serving(tree=tree, port=port, requests=requests, first_answer_s=time.perf_counter() - began)
    except (StartError, OSError) as error:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip() and " INFO " not in line]
        raise StartError(f"{error}: {said[-1][:200] if said else 'it said nothing'}") from error
    finally:
        tree.stop()


def run(contender: Contender, model: str, *, connections: Sequence[int], seconds: float) -> Run:
    """Start a server, load it with each number of connections in turn, and end it. Raises StartError."""
    with serving(contender, model) as server:
        windows = [_window(server, contender, model, count, seconds) for count in connections]
        return Run(first_answer_s=server.first_answer_s, memory_mb=server.tree.memory_mb(), windows=windows)


def _window(server: Serving, contender: Contender, model: str, connections: int, seconds: float) -> Window:
    """Looked through again while something else works on this machine: the quietest. What failed counts of all."""
    seen: list[Window] = []
    with Client(server.port, server.requests) as client:
        client.closed_loop(connections=connections, seconds=min(WARM_UP_S, seconds / 2))
        while len(seen) < TRIES and all(window.neighbours.share > LIMIT for window in seen):
            seen.append(_looked_through(server, client, contender, model, connections, seconds))
    quietest = min(seen, key=lambda window: window.neighbours.share)
    for other in seen:
        if other is not quietest:
            quietest.answers.fail_as(other.answers)
    return replace(quietest, wrong=sum(window.wrong for window in seen))


def _looked_through(
    server: Serving, client: Client, contender: Contender, model: str, connections: int, seconds: float
) -> Window:
    watch, before = Watch(), server.tree.cpu_s()
    answers = client.closed_loop(connections=connections, seconds=seconds)
    spent = server.tree.cpu_s() - before
    neighbours = watch.seen({process.pid for process in server.tree.processes}, ours_s=spent)
    return Window(
        connections=connections,
        answers=answers,
        cpu_us=spent / max(1, answers.offered) * 1e6,
        wrong=wrong(contender, model, answers),
        neighbours=neighbours,
    )


def wrong(contender: Contender, model: str, answers: Answers) -> int:
    """How many of the sampled answers have the wrong content."""
    judge, of = contender.dialect.right, _samples_of(model)
    return sum(not judge(of, index, body) for index, body in answers.samples)


def _samples_of(model: str) -> str:
    """The shop's own model has other scores than ours, but takes the same texts."""
    return "lean" if model == "shop" else model


def wait_for_an_answer(tree: Tree, port: int, data: bytes) -> None:
    """Ask until it answers well. Raises StartError when it ended, or takes too long."""
    until = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < until:
        if not tree.running:
            raise StartError(f"it ended with exit code {tree.root.returncode}")
        with contextlib.suppress(OSError), Client(port, [data]) as client:
            if client.first_answer():
                return
        time.sleep(GAP_S)
    raise StartError(f"no answer with status 200 in {START_PATIENCE_S:g} s")
