"""Every server that takes part, each at the best setting that we found, and how to start it."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serve import environments
from benchmarks.serve.dialects import MLFLOW, OPEN_INFERENCE, PLAIN, SHOP, Dialect
from benchmarks.serve.environments import ROOT
from benchmarks.serve.scorers import CACHE

PEERS = "benchmarks.serve.peers"
SERVICES = "benchmarks.serve.services"
BATCH = 64  # the largest batch of every server that has batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What starting a server may depend on. `bin` is the folder of the environment's programs."""

    bin: Path
    model: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A server in one setting. `name` is the same in every model's table."""

    name: str
    environment: str
    argv: Callable[[Launch], list[str]]
    dialect: Dialect = PLAIN
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def peer(self) -> str:
        """The name without the setting."""
        return self.name.partition(",")[0]

    def launch(self, model: str, port: int) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment variables. Raises InstallError."""
        python = environments.python(self.environment)
        argv = self.argv(Launch(bin=python.parent, model=model, port=port))
        return argv, _variables(python.parent, model) | dict(self.variables)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _variables(folder: Path, model: str) -> dict[str, str]:
    """Few, so that nothing of the caller's settings leaks into a measurement."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NOREN_BENCH_MODEL": model,
        "NOREN_BENCH_CACHE": str(CACHE),
        "BENTOML_HOME": str(CACHE / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would make this environment again for each worker
    }


def _uvicorn(app: str) -> Callable[[Launch], list[str]]:
    switches = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    factory = ["--factory"] if ".asgi:" in app else []
    return lambda at: [
        *(str(at.bin / "python"), "-m", "uvicorn", f"{PEERS}.{app}", "--port", str(at.port), *switches, *factory)
    ]


def _bentoml(service: str) -> Callable[[Launch], list[str]]:
    return lambda at: [
        *(str(at.bin / "bentoml"), "serve", _target(at, service), "--host", "127.0.0.1", "--port", str(at.port))
    ]


def _noren(service: str) -> Callable[[Launch], list[str]]:
    program = ("-m", "noren_serve")
    return lambda at: [
        *(str(at.bin / "python"), *program, _target(at, service), "--host", "127.0.0.1", "--port", str(at.port))
    ]


def _target(at: Launch, service: str) -> str:
    return service if ":" in service else f"{SERVICES}.{at.model}:{service}"


def _script(name: str, batch: int) -> Callable[[Launch], list[str]]:
    return lambda at: [str(at.bin / "python"), "-m", f"{PEERS}.{name}", str(at.port), str(batch)]


def _raw(at: Launch) -> list[str]:
    return [str(at.bin / "python"), "-m", f"{PEERS}.raw", str(at.port)]


def _mlserver(batch: int) -> Callable[[Launch], list[str]]:
    def argv(at: Launch) -> list[str]:
        folder = CACHE / "mlserver" / f"{at.model}-{batch}"
        folder.mkdir(parents=True, exist_ok=True)
        ports = {"http_port": at.port, "grpc_port": free_port(), "metrics_port": free_port()}
        # Without parallel workers a request stays in one process: on one core that is the faster setting.
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        model = {"name": "bench", "implementation": f"{PEERS}.mlserver_runtime.Runtime"}
        waiting = {"max_batch_size": batch, "max_batch_time": 0.001} if batch > 1 else {}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model | waiting))
        return [str(at.bin / "mlserver"), "start", str(folder)]

    return argv


def _mlflow(at: Launch) -> list[str]:
    folder = CACHE / "mlflow" / at.model
    if not folder.exists():
        _save_mlflow(at, folder)
    return [
        *(str(at.bin / "mlflow"), "models", "serve", "--model-uri", str(folder), "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(at.port), "--workers", "1"),
    ]


def _save_mlflow(at: Launch, folder: Path) -> None:
    unfinished = folder.with_name(f"{at.model}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    argv = [str(at.bin / "python"), "-m", f"{PEERS}.mlflow_model", str(unfinished)]
    subprocess.run(argv, cwd=CACHE, env=_variables(at.bin, at.model), check=True, capture_output=True, timeout=120)
    unfinished.rename(folder)


RAW = Contender(name="asyncio.Protocol", environment="asgi", argv=_raw)
BARE = Contender(name="bare ASGI", environment="asgi", argv=_uvicorn("asgi:app"))
BARE_GREEDY = Contender(name="bare ASGI, greedy batches", environment="asgi", argv=_uvicorn("asgi:batched"))
FASTAPI_DEF = Contender(name="FastAPI, def", environment="asgi", argv=_uvicorn("fastapi_app:threaded"))
FASTAPI_ASYNC = Contender(name="FastAPI, async def", environment="asgi", argv=_uvicorn("fastapi_app:app"))
MLSERVER = Contender(name="MLServer", environment="mlserver", argv=_mlserver(1), dialect=OPEN_INFERENCE)
MLSERVER_BATCH = Contender(
    name="MLServer, adaptive batching", environment="mlserver", argv=_mlserver(BATCH), dialect=OPEN_INFERENCE
)
LITSERVE = Contender(name="LitServe", environment="litserve", argv=_script("litserve_app", 1))
LITSERVE_BATCH = Contender(name="LitServe, batching", environment="litserve", argv=_script("litserve_app", BATCH))
RAY = Contender(name="Ray Serve", environment="ray", argv=_script("ray_app", 1))
RAY_BATCH = Contender(name="Ray Serve, batching", environment="ray", argv=_script("ray_app", BATCH))
MLFLOW_SERVE = Contender(name="mlflow models serve", environment="mlflow", argv=_mlflow, dialect=MLFLOW)
BENTOML_DEF = Contender(name="bentoml serve, def", environment="bentoml", argv=_bentoml("Plain"))
BENTOML_BATCH = Contender(name="bentoml serve, batchable", environment="bentoml", argv=_bentoml("Batchable"))
BENTOML_TUNED = Contender(name="bentoml serve, every switch", environment="bentoml-fast", argv=_bentoml("Tuned"))
NOREN_DEF = Contender(name="noren-serve, def", environment="noren", argv=_noren("Plain"))
NOREN_ASYNC = Contender(name="noren-serve, async def", environment="noren", argv=_noren("Async"))
NOREN_BATCH = Contender(name="noren-serve, batchable", environment="noren", argv=_noren("Batchable"))
NOREN_NARROW = Contender(name="noren-serve, batches of 4", environment="noren", argv=_noren("Narrow"))

SHOP_SERVICE = "bentos.sentiment.service:Sentiment"
BENTOML_SHOP = Contender(
    name="bentoml serve, the shop's Bento", environment="bentoml-fast", argv=_bentoml(SHOP_SERVICE), dialect=SHOP
)
NOREN_SHOP = Contender(
    name="noren-serve, the shop's Bento", environment="noren", argv=_noren(SHOP_SERVICE), dialect=SHOP
)
