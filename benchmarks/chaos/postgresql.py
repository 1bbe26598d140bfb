"""A PostgreSQL of one's own: Debian's programs, run by a user without rights, in a folder that goes afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

MISSING = "no PostgreSQL below /usr/lib/postgresql: `apt-get install postgresql`"
_CONFIGURATION = """
listen_addresses = ''
unix_socket_directories = '{folder}'
fsync = off
max_connections = 50
shared_buffers = 16MB
"""


def programs() -> Path | None:
    """The folder of initdb and its like; None where it is not installed, or not by Debian."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgreSql:
    """One server, reached by a socket in its folder. It runs from `with` on, and is gone afterwards."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Folders of pytest and tempfile are closed to other users, and the path of a socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="noren-pg-", dir="/tmp"))
        self._data, self._databases = self.folder / "data", 0
        self._owner = _owner()
        if self._owner:
            os.chown(self.folder, self._owner["user"], self._owner["group"])
        self._run("initdb", "-D", self._data, "-U", "noren", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION.format(folder=self.folder))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def new_url(self) -> str:
        """The URL of a database with nothing in it."""
        self._databases += 1
        name = f"noren_{self._databases}"
        self._run("createdb", "-h", self.folder, "-U", "noren", name)
        return f"postgresql://noren@/{name}?host={self.folder}"

    def start(self) -> None:
        """Returns when it can be reached."""
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self.folder / "log")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is like a power cut: the next start recovers."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def remove(self) -> None:
        """Stop it, and delete its folder."""
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path) -> None:
        argv = [str(self._programs / program), *map(str, arguments)]
        how: dict[str, Any] = {"cwd": self.folder, "env": {"LC_ALL": "C"}, "timeout": 120, **self._owner}
        with (self.folder / f"{program}.out").open("wb") as out:  # no pipe: the server would keep it open
            done = subprocess.run(argv, stdout=out, stderr=out, check=False, **how)
        if done.returncode:
            raise SystemExit(f"`{' '.join(argv)}` ended with {done.returncode}:\n{Path(out.name).read_text()}")


def _owner() -> dict[str, Any]:
    """As what the server runs: it refuses to be root."""
    if os.getuid() != 0:
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
