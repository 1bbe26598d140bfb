"""`bentoml serve` and `noren-serve` as processes, side by side."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from noren.machine import free_port

SERVERS = {
    "bentoml": [str(Path(sys.executable).with_name("bentoml")), "serve"],
    "noren": [sys.executable, "-m", "noren_serve"],
}

# One for all: each new client would read the certificates of all authorities, which takes as long as 20 requests.
HTTP = httpx.Client(trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What both are asked to serve."""

    name: str
    folder: Path | None = None  # where the code is
    env: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Server:
    """One of the two, running."""

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    folder: Path  # of its own: its home and its working directory

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """Whether it answers anything at all; some of the zoo are never ready in BentoML's sense."""
        try:
            HTTP.get(f"{self.url}/schema.json", timeout=5)
            return True
        except httpx.TransportError:
            return False

    def await_ready(self, within_s: float = 120.0) -> None:
        deadline = time.monotonic() + within_s
        while not self.ready():
            assert self.process.poll() is None, f"{self.kind} ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"{self.kind} is not ready:\n{self.log.read_text()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Workers may live in sessions of their own; only their supervisor can end them."""
        self.process.send_signal(signal.SIGTERM)

    def gone(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(60)


def start(kind: str, target: Target, folder: Path, *options: str) -> Server:
    """Start one, with only the environment it needs, and do not wait."""
    folder.mkdir(parents=True)
    port, log = free_port(), folder / "log"
    argv = [*SERVERS[kind], target.name, "--host", "127.0.0.1", "--port", str(port), *options]
    if target.folder:
        argv += ["--working-dir", str(target.folder)]
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("NOREN_", "BENTOML_", "PROMETHEUS_", "ZOO_"))}
    home = {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True", "TMPDIR": str(folder)}
    env = {**ours, **home, **(target.env or {})}
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    return Server(kind=kind, port=port, process=process, log=log, folder=folder)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both servers with the same service."""

    service: str
    bentoml: Server
    noren: Server

    @property
    def both(self) -> tuple[Server, Server]:
        return self.bentoml, self.noren

    def gone(self) -> None:
        """Wait for the end of both."""
        for server in self.both:
            server.gone()


@contextmanager
def serving(target: Target, service: str, folder: Path) -> Iterator[Pair]:
    """Both, ready; afterwards both have been told to go."""
    with ExitStack() as stack:
        servers = []
        for kind in SERVERS:
            servers.append(start(kind, target, folder / kind))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.await_ready()
        yield Pair(service=service, bentoml=servers[0], noren=servers[1])
