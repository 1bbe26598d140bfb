"""The first life of a replica's process: prepare the Bento's environment, then become its server.

Preparing here, and not in the control plane, keeps the ticks short, puts uv's complaints into the replica's
own log, and leaves one process to find again, whatever it is doing.
"""

import os
import sys
from pathlib import Path

from noren.domain.deployment import Server
from noren.domain.errors import DriverError
from noren.runtimes.environment import prepare
from noren.runtimes.pinned import pinned_store


def main(bento: Path, tag: str, envs: Path, port: str, workers: str, server: Server) -> None:
    """Become the server of the Bento; the exit code is 1 with a message when that cannot be."""
    print(f"noren: preparing the environment of {tag}", flush=True)  # noqa: T201  the log is stdout
    try:
        python = prepare(bento, envs, server)
        os.environ["BENTOML_HOME"] = str(pinned_store(bento, Path(os.environ["BENTOML_HOME"]), envs.parent / "stores"))
    except (DriverError, OSError) as error:
        sys.exit(f"noren: {error}")
    config = bento / "src" / "configuration.yaml"
    if config.is_file():
        os.environ.setdefault("BENTOML_CONFIG", str(config))
    serve = argv(server, tag, port=port, workers=workers)
    print(f"noren: {' '.join(serve)}", flush=True)  # noqa: T201
    for name in [name for name in os.environ if name.startswith("UV_")]:
        del os.environ[name]  # uv is done, and the address of a private index may hold a password
    os.execv(python, [str(python), "-m", *serve])  # noqa: S606  no shell on purpose


def argv(server: Server, tag: str, *, port: str, workers: str, host: str = "127.0.0.1") -> list[str]:
    """What comes after `python -m`: the module of the server, and how it is to serve."""
    where = ["--host", host, "--port", port]
    if server is Server.NOREN:
        return ["noren_serve", tag, *where, "--workers", workers]
    return ["bentoml", "serve", tag, *where, "--api-workers", workers]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5], Server(sys.argv[6]))
