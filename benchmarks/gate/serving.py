"""The services that are asked, and the cores on which they and the generator run."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks.gate.scenarios import Injection
from benchmarks.gate.work import trees
from benchmarks.serve.environments import ROOT
from benchmarks.serve.tree import cores
from noren.machine import free_port

_START_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which core both arms share, and which one the generator has for itself. None: the kernel decides.

    Left alone on two cores, the kernel may put one arm beside the generator for the whole of a run, and the same Bento
    on both sides differs. So the arms get the same core, that neither is favoured, and the generator a different one,
    that it does not take from one arm what it needs itself.
    """

    services: int | None = None
    generator: int | None = None

    @property
    def pinned(self) -> bool:
        """Whether the cores are ours to choose."""
        return self.services is not None

    def take(self) -> None:
        """Move this process to the generator's core. What it starts from now on inherits that: the generator does."""
        if self.generator is not None:
            os.sched_setaffinity(0, {self.generator})

    def argv(self, argv: list[str]) -> list[str]:
        """Such that a service runs on its core, whatever it inherits."""
        return argv if self.services is None else ["taskset", "--cpu-list", str(self.services), *argv]


def placement(*, pin: bool) -> Placement:
    """The first and the last core of this process."""
    services, generator = cores()
    return Placement(services=services, generator=generator) if pin and services != generator else Placement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How a service is started; `argv` without its port, and a request that it answers when it is ready."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: tuple[str, str, object]  # method, path and body


def forest(injection: Injection, record: Path | None = None) -> Service:
    """The forest of service.py, made worse. `record`: the file in which it notes what it did, and when."""
    noted = {"RECORD": str(record)} if record else {}
    return Service(
        argv=(str(Path(sys.executable).with_name("noren-serve")), "benchmarks.gate.service:Forest"),
        env={"INJECT": json.dumps(asdict(injection)), "TREES": str(trees()), "OMP_NUM_THREADS": "1", **noted},
        ready=("GET", "/readyz", None),
    )


def echo() -> Service:
    """Bare ASGI, the quickest there is with a body: what is left is the generator."""
    switches = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return Service(
        argv=(sys.executable, "-m", "uvicorn", "benchmarks.serve.peers.asgi:app", "--factory", *switches),
        env={"NOREN_BENCH_MODEL": "echo"},
        ready=("POST", "/", {"text": "", "number": 0}),
    )


@contextlib.contextmanager
def serving(service: Service, where: Placement) -> Iterator[str]:
    """A service that answers; its URL."""
    port = free_port()
    argv, env = where.argv([*service.argv, "--port", str(port)]), {**os.environ, **service.env}
    with subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await(service, f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _await(service: Service, url: str, server: "subprocess.Popen[bytes]") -> None:
    method, path, body = service.ready
    until = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"the service did not start: {service.argv[0]} ended with {server.returncode}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.request(method, url + path, json=body, trust_env=False, timeout=5).status_code == 200:
                return
        time.sleep(0.05)  # also where it answers that it is not ready yet
    raise SystemExit(f"{url} did not answer in a minute")
