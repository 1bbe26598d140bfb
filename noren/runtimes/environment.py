"""The virtual environment of a Bento, made by uv from the Bento's own locked requirements.

Cached by the hash of the lock: a second replica starts at once, two versions with the same lock share one,
and two versions with different libraries never meet. With the server noren, noren-serve is in it too.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import yaml
from uv import find_uv_bin

from noren import server_wheel
from noren.domain.deployment import Server
from noren.domain.errors import DriverError
from noren.runtimes.lock import lock

_COMPLETE = ".complete"  # written last: an environment without it was interrupted, and is made again


def prepare(bento: Path, envs: Path, server: Server) -> Path:
    """Return the Python of the Bento's environment, making the environment first if need be.

    bento  the folder of the built Bento
    envs   where environments are cached
    Waits while another replica makes the same one. Raises DriverError when uv cannot make it, also when
    noren-serve does not go together with what the Bento locked.
    """
    requirements, folder = _requirements(bento), envs / name_of(bento, server)
    with lock(envs / f"{folder.name}.lock"):
        if not (folder / _COMPLETE).exists():
            _make(folder, python_version(bento), requirements, _wheels(requirements), server)
    return folder / "bin" / "python"


def name_of(bento: Path, server: Server) -> str:
    """The name of the Bento's environment below `envs`. Raises DriverError when nothing is locked."""
    requirements = _requirements(bento)
    added = [f"noren-serve {server_wheel.fingerprint()}"] if server is Server.NOREN else []
    # By what is in them: a project's own wheel keeps its name for as long as nobody changes its version.
    brought = [f"{wheel.name} {hashlib.sha256(wheel.read_bytes()).hexdigest()}" for wheel in _wheels(requirements)]
    return lock_hash(requirements.read_bytes(), python_version(bento), [*brought, *added])


def discard(folder: Path) -> None:
    """Remove an environment. One that was removed in part counts as interrupted, and is made again."""
    (folder / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def lock_hash(requirements: bytes, version: str, wheels: Sequence[str] = ()) -> str:
    """Name an environment after all that decides what is in it, also of this machine.

    Not after its kernel, which no wheel depends on: after a reboot into another one nothing has to be installed.
    """
    machine = (sys.platform, platform.machine(), *platform.libc_ver())
    words = [version, *machine, *wheels]
    return hashlib.sha256(b"\0".join([requirements, *(word.encode() for word in words)])).hexdigest()[:16]


def python_version(bento: Path) -> str:
    """The Python that the Bento was built for ("3.11"); ours when it does not say."""
    manifest = yaml.safe_load((bento / "bento.yaml").read_text())
    image = manifest.get("image") or {}
    return str(image.get("python_version") or f"{sys.version_info.major}.{sys.version_info.minor}")


def _requirements(bento: Path) -> Path:
    """The locked requirements of a built Bento."""
    requirements = bento / "env" / "python" / "requirements.txt"
    if not requirements.is_file():
        raise DriverError(
            f"the Bento at {bento} has no locked requirements ({requirements.relative_to(bento)})",
            fix="build it again with BentoML 1.4 or newer",
        )
    return requirements


def _wheels(requirements: Path) -> list[Path]:
    """Those that the Bento brings along."""
    return sorted((requirements.parent / "wheels").glob("*.whl"))


def _make(folder: Path, version: str, requirements: Path, wheels: Sequence[Path], server: Server) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    _uv(["venv", "--quiet", "--python", version, str(folder)], requirements.parent)
    added = [server_wheel.pack(folder / "server")] if server is Server.NOREN else []
    # One call: the versions of the lock are held, and noren-serve joins them or is refused.
    install = ["pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)]
    _uv([*install, *(str(wheel) for wheel in (*wheels, *added))], requirements.parent)
    (folder / _COMPLETE).touch()


def _uv(arguments: list[str], cwd: Path) -> None:
    argv, env = [find_uv_bin(), *arguments], os.environ | {"UV_NO_WRAP": "1"}
    done = subprocess.run(argv, cwd=cwd, env=env, check=False, stderr=subprocess.PIPE, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise _refusal(_error(done.stderr) or f"exit code {done.returncode}")


def _refusal(said: str) -> DriverError:
    # uv names who could not be brought together: the wheel of noren-serve by its version, or its path.
    if "noren-serve" in said or "noren_serve" in said:
        return DriverError(
            f"noren-serve does not go together with what the Bento locked: {said}",
            fix="write `server: bentoml` in the deployment file, or build the Bento with Python >= 3.11 and a "
            "newer BentoML",
        )
    return DriverError(
        f"uv could not make the Bento's environment: {said}",
        fix="try `uv pip install -r` on the requirements.txt of the Bento; see the log above",
    )


def _error(said: str) -> str:
    """The error with its cause, without the warnings before it and the hints after it."""
    lines = [line.strip() for line in said.splitlines()]
    first = next((i for i, line in enumerate(lines) if line.startswith("error:")), 0)
    return " ".join(takewhile(bool, lines[first:])).removeprefix("error: ")
