"""A PostgreSQL of the tests' own: Debian's programs, run by a user without rights, in a folder that goes afterwards.

Tests load it with `pytest_plugins`; they are skipped, with the reason, where it is not installed.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{folder}'
fsync = off
max_connections = 50
shared_buffers = 16MB
"""


class PostgreSql:
    """One server, reached by a socket in its folder."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # pytest's own folders are closed to other users, and the path of a socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="noren-pg-", dir="/tmp"))
        self._data, self._databases = self.folder / "data", 0
        self._owner = _owner()
        if self._owner:
            os.chown(self.folder, self._owner["user"], self._owner["group"])
        self._run("initdb", "-D", self._data, "-U", "noren", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION.format(folder=self.folder))

    def new_url(self) -> str:
        """The URL of a database with nothing in it."""
        self._databases += 1
        name = f"noren_{self._databases}"
        self._run("createdb", "-h", self.folder, "-U", "noren", name)
        return f"postgresql://noren@/{name}?host={self.folder}"

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self.folder / "log")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is like a power cut: the next start recovers."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        argv = [str(self._programs / program), *map(str, arguments)]
        how: dict[str, Any] = {"cwd": self.folder, "env": {"LC_ALL": "C"}, "timeout": 120, **self._owner}
        with (self.folder / f"{program}.out").open("wb") as out:  # no pipe: the server would keep it open
            done = subprocess.run(argv, stdout=out, stderr=out, check=False, **how)
        assert done.returncode == 0, (self.folder / f"{program}.out").read_text()


def _owner() -> dict[str, Any]:
    """As what the server runs: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A server that runs. Whoever stops it starts it again."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: `pip install 'psycopg[binary]'`")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL below /usr/lib/postgresql: `apt-get install postgresql`")
    server = PostgreSql(found[-1].parent)
    try:
        server.start()
        yield server
    finally:
        server.remove()
