"""A shop of its own for the tests: code copied from the repository, a small model, a built Bento."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENTOML = Path(sys.executable).with_name("bentoml")

SAVE_A_SMALL_MODEL = """
from models.sentiment import Parameters, fit
from training.store import save
texts = ["good great fun", "bad awful dull", "great film, great fun!", "dull bad film"] * 3
model = fit(texts, [True, False, True, False] * 3, Parameters(min_df=1))
print(save("sentiment", {"model.npz": model.to_bytes()}, labels={}, metadata={}))
"""

SAVE = """
import sys
from pathlib import Path
from training.store import save
name, *files = sys.argv[1:]
save(name, {file: Path(file).read_bytes() for file in files}, labels={}, metadata={})
"""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A project root with its state inside, where it tempts `bentoml build` to copy it."""

    root: Path
    environment: dict[str, str]

    def run(self, *argv: str | Path) -> str:
        done = subprocess.run(
            argv, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self, *target: str) -> Iterator[str]:
        """The address of a running `bentoml serve`; afterwards no process of it is left."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.root / f"serve-{port}.log"
        argv = [str(BENTOML), "serve", *target, "--host", "127.0.0.1", "--port", str(port)]
        with log.open("wb") as output:
            server = subprocess.Popen(argv, cwd=self.root, env=self.environment, stdout=output, stderr=output)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_ready(address, server, log)
            yield address
        finally:
            # The workers live in sessions of their own; only the supervisor can end them.
            server.send_signal(signal.SIGTERM)
            server.wait(60)

    @contextmanager
    def client(self, target: str, model: str, **files: bytes) -> Iterator[httpx.Client]:
        """Asks a running `bentoml serve` of the target, once a model with these files is in the store."""
        for name, content in files.items():
            (self.root / name).write_bytes(content)
        self.run(sys.executable, "-c", SAVE, model, *files)
        with self.serving(target) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as opened:
            yield opened


def _wait_ready(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{address}/readyz", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"not ready:\n{log.read_text()}")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("shop")
    for folder in ("bentos", "models", "training", "loadtests", "docs/services"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "bentofile.yaml", root, follow_symlinks=False)
    shutil.copy(ROOT / "configuration.yaml", root)
    for decoy in (".noren/secret", ".venv/lib.py", "tests/test_x.py", "data/reviews.csv", "mlruns/0", "notes.py"):
        (root / decoy).parent.mkdir(parents=True, exist_ok=True)
        (root / decoy).write_text("must stay out of the Bento")
    environment = {
        **os.environ,
        "BENTOML_HOME": str(root / ".noren/bentoml"),
        "BENTOML_CONFIG": str(root / "configuration.yaml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": "",
    }
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    made = Shop(root=root, environment=environment)
    made.run(sys.executable, "-c", SAVE_A_SMALL_MODEL)
    return made


@pytest.fixture(scope="session")
def bento(shop: Shop) -> Path:
    """The folder of the Bento that a plain `bentoml build` made."""
    tag = shop.run(BENTOML, "build", "--output", "tag").strip().split("\n")[-1]
    name, version = tag.removeprefix("__tag__:").split(":")
    return shop.root / ".noren/bentoml/bentos" / name / version


@pytest.fixture(scope="session")
def address(shop: Shop, bento: Path) -> Iterator[str]:
    """A running server of the built Bento."""
    with shop.serving(f"{bento.parent.name}:{bento.name}") as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the inference log of the module's `worker`."""
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def worker(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Makes a service as a worker process has it, with a model that needs no store: `worker(Churn, **{file: bytes})`.

    Once for each service: prometheus-client allows a metric of a name once in a process.
    """

    def made(service: Any, **files: bytes) -> Any:  # the decorator made it a Service; `inner` is the class
        folder = tmp_path_factory.mktemp("model")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        stored = SimpleNamespace(tag=SimpleNamespace(version="v1"), path_of=lambda name: str(folder / name))
        with pytest.MonkeyPatch.context() as changed:  # the servers that other tests start must not inherit this
            changed.setattr(service.inner, "stored", stored)
            changed.setenv("INFERENCE_LOG", f"file:{log}")
            changed.delenv("CACHE_REDIS_URL", raising=False)
            return service.inner()

    yield made
    gc.unfreeze()
