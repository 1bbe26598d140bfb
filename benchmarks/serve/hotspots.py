"""Where noren-serve's time goes on a request without a model, and how far the physical limit is."""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.serve import contenders as c
from benchmarks.serve import environments, figures
from benchmarks.serve.client import Client
from benchmarks.serve.run import Run, StartError, run, serving
from benchmarks.serve.scorers import CACHE

HERTZ = 500
TOP = 25  # functions in the table
LIMITS = (c.RAW, c.BARE, c.NOREN_DEF)
CONNECTIONS = 16


def report(*, seconds: float, rounds: int) -> str:
    """Two Markdown tables: the limits, and the functions with most time of their own. Raises StartError."""
    measured: dict[str, list[Run]] = {contender.name: [] for contender in LIMITS}
    for _ in range(rounds):
        for contender in LIMITS:
            measured[contender.name].append(run(contender, "echo", connections=[CONNECTIONS], seconds=seconds))
    entries = {name: figures.entry(runs) for name, runs in measured.items()}
    cpu_us = entries[c.NOREN_DEF.name].loads[CONNECTIONS].cpu_us
    return "\n\n".join([_limits(entries), functions(_sampled(seconds), cpu_us=cpu_us)])


def functions(stacks: Sequence[str], *, cpu_us: float) -> str:
    """A table of the functions in which the time was spent, from py-spy's lines: "outer;inner;innermost COUNT"."""
    own: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        own[_function(stack.rpartition(";")[2])] += int(count)
    total = sum(own.values())
    lines = [f"| {name} | {n / total:.1%} | {n / total * cpu_us:.1f} |" for name, n in own.most_common(TOP)]
    rest = total - sum(n for _, n in own.most_common(TOP))
    return "\n".join(
        ["| function | own time | us of a request |", "|---|---|---|", *lines, f"| the rest | {rest / total:.1%} | |"]
    )


def _function(frame: str) -> str:
    """Of `run (asyncio/runners.py:118)` all but the line, so that the lines of a function add up."""
    return f"`{frame.rpartition(':')[0]})`" if ":" in frame else f"`{frame}`"


def _limits(entries: Mapping[str, figures.Entry]) -> str:
    lines = ["| 16 connections, no model | req/s | CPU us |", "|---|---|---|"]
    for name, entry in entries.items():
        load = entry.loads[CONNECTIONS]
        lines.append(f"| {name} | {load.per_second:,.0f} | {load.cpu_us:.0f} |")
    return "\n".join(lines)


def _sampled(seconds: float) -> list[str]:
    """py-spy's folded stacks of a server under load. Raises StartError when py-spy may not look into processes."""
    spy = environments.python("py-spy").with_name("py-spy")
    folded = CACHE / "noren-serve.stacks"
    with serving(c.NOREN_DEF, "echo") as server, Client(server.port, server.requests) as client:
        load = threading.Thread(target=client.closed_loop, kwargs={"connections": CONNECTIONS, "seconds": seconds + 3})
        load.start()
        time.sleep(1)  # the warm-up is not what we look for
        argv = [str(spy), "record", "--subprocesses", "--format", "raw", "--rate", str(HERTZ)]
        argv += ["--duration", str(round(seconds)), "--output", str(folded), "--pid", str(server.tree.root.pid)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        load.join()
    if done.returncode:
        raise StartError(f"py-spy: {done.stderr.strip().splitlines()[-1]}")
    return folded.read_text().splitlines()
