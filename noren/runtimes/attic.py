"""What revisions left in the home folder and in the BentoML store: found by its name, removed when nobody needs it.

logs/<revision>.<index>.log[.1]   what a replica wrote
gates/<run>/                      the evidence of an attempt at the gate
envs/<hash>/, envs/<hash>.lock    an environment; the lock was touched at the last start from it
stores/<name>-<version>-<hash>/   links to a Bento and to its models

A folder of these that is a link belongs to several homes, so nothing in it is ours to remove.
"""

import contextlib
import fcntl
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import structlog
import yaml

from noren.control.ports import Leftover, LeftoverKind
from noren.domain.deployment import Revision
from noren.domain.errors import DriverError
from noren.runtimes.environment import discard, name_of

_LOG = re.compile(r"(?P<revision>.+-\d+)(_twin)?\.\d+\.log(\.1)?")
_GATE = re.compile(r"(?P<revision>.+-\d+)-\d{8}T\d{6}-\d+")  # see control.reconcile.gate_name
_FOLDERS = {
    LeftoverKind.LOG: "logs",
    LeftoverKind.GATE: "gates",
    LeftoverKind.ENVIRONMENT: "envs",
    LeftoverKind.STORE: "stores",
}

log = structlog.get_logger()


class DiskAttic:
    """See Attic."""

    def __init__(self, home: Path, bentoml_home: Path) -> None:
        self.home, self.bentos = home, bentoml_home / "bentos"

    def find(self, revisions: Sequence[Revision]) -> Sequence[Leftover]:
        """See Attic."""
        return [
            *self._named(LeftoverKind.LOG, _LOG),
            *self._named(LeftoverKind.GATE, _GATE),
            *self._environments(revisions),
            *self._stores(revisions),
            *self._bentos(revisions),
        ]

    def size_bytes(self, leftover: Leftover) -> int:
        """See Attic. Files that several environments share by hard links are counted in each."""
        path = self._path(leftover)
        with contextlib.suppress(OSError):  # some of it went meanwhile
            return sum(file.lstat().st_size for file in (path, *path.rglob("*")))
        return 0

    def remove(self, leftover: Leftover) -> bool:
        """See Attic."""
        path = self._path(leftover)
        try:
            if leftover.kind is LeftoverKind.ENVIRONMENT:
                return _remove_environment(path)
            _remove(_set_aside(path, leftover.kind))
            if leftover.kind is LeftoverKind.BENTO:
                _mend_latest(path.parent, path.name)
        except OSError as error:
            log.warning("sweep", left=str(path), problem=str(error))
            return False
        return True

    # Looking

    def _named(self, kind: LeftoverKind, pattern: re.Pattern[str]) -> Iterator[Leftover]:
        """Those that belong to the one revision whose name theirs begins with."""
        for path in self._inside(kind):
            match = pattern.fullmatch(path.name)
            if match and (used_at := _changed(path)):
                yield Leftover(kind=kind, name=path.name, used_at=used_at, users=frozenset({match["revision"]}))

    def _environments(self, revisions: Sequence[Revision]) -> Iterator[Leftover]:
        users = self._users_of_environments(revisions)
        for name in sorted({path.name.removesuffix(".lock") for path in self._inside(LeftoverKind.ENVIRONMENT)}):
            folder = self.home / "envs" / name
            if used_at := _changed(_lock(folder)) or _changed(folder):
                yield Leftover(
                    kind=LeftoverKind.ENVIRONMENT, name=name, used_at=used_at, users=frozenset(users.get(name, ()))
                )

    def _users_of_environments(self, revisions: Sequence[Revision]) -> dict[str, set[str]]:
        """Who would start from the environment of that name, if they were started now."""
        names: dict[object, str | None] = {}
        users: dict[str, set[str]] = defaultdict(set)
        for revision in revisions:
            key = revision.bento, revision.server
            if key not in names:
                names[key] = self._environment(revision)
            if name := names[key]:
                users[name].add(revision.name)
        return users

    def _environment(self, revision: Revision) -> str | None:
        name, _, version = revision.bento.partition(":")
        try:
            return name_of(self.bentos / name / version, revision.server)
        except (DriverError, OSError, AttributeError, yaml.YAMLError):  # the Bento is gone, or damaged
            return None

    def _stores(self, revisions: Sequence[Revision]) -> Iterator[Leftover]:
        users = _by_bento(revisions, separator="-")
        for path in self._inside(LeftoverKind.STORE):
            bento = path.name.rpartition("-")[0]
            if used_at := _changed(path):
                yield Leftover(
                    kind=LeftoverKind.STORE,
                    name=path.name,
                    used_at=used_at,
                    users=frozenset(users.get(bento, ())),
                )

    def _bentos(self, revisions: Sequence[Revision]) -> Iterator[Leftover]:
        """Only those that were rolled out from here: of others we know nothing."""
        for bento, users in sorted(_by_bento(revisions, separator=":").items()):
            name, _, version = bento.partition(":")
            if used_at := _changed(self.bentos / name / version / "bento.yaml"):
                yield Leftover(kind=LeftoverKind.BENTO, name=bento, used_at=used_at, users=frozenset(users))

    def _inside(self, kind: LeftoverKind) -> list[Path]:
        folder = self.home / _FOLDERS[kind]
        return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []

    def _path(self, leftover: Leftover) -> Path:
        if leftover.kind is LeftoverKind.BENTO:
            name, _, version = leftover.name.partition(":")
            return self.bentos / name / version
        return self.home / _FOLDERS[leftover.kind] / leftover.name


def _by_bento(revisions: Sequence[Revision], *, separator: str) -> dict[str, set[str]]:
    """Names of revisions by their Bento's name and version."""
    users: dict[str, set[str]] = defaultdict(set)
    for revision in revisions:
        users[revision.bento.replace(":", separator)].add(revision.name)
    return users


def _changed(path: Path) -> datetime | None:
    """When it was written last; None when it is not there."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


# Removing


def _set_aside(path: Path, kind: LeftoverKind) -> Path:
    """Where it is to be removed from. Whoever looks in between, or after a crash, must not take half of it for all."""
    if kind is LeftoverKind.BENTO:
        (path / "bento.yaml").unlink(missing_ok=True)
    if kind is LeftoverKind.STORE and path.exists():
        return path.rename(path.with_name(f".{path.name}"))
    return path


def _remove(path: Path) -> None:
    """Links are removed, and not what they lead to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_environment(folder: Path) -> bool:
    """Under its lock, so that nobody makes it meanwhile; not while a process runs from it, whoever's it is."""
    lock = _lock(folder)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if _runs(folder):
            return False
        discard(folder)
        lock.unlink(missing_ok=True)
    return True


def _runs(folder: Path) -> bool:
    """Whether any process was started by the Python in the folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            command = process.cmdline()
            if command and command[0].startswith(f"{folder}/"):
                return True
    return False


def _mend_latest(bento: Path, removed: str) -> None:
    """As BentoML does: "latest" is the newest that is left, and a name without versions goes."""
    left = sorted(bento.glob("*/bento.yaml"), key=lambda manifest: manifest.stat().st_mtime)
    marker = bento / "latest"
    if not left:
        marker.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something that is not BentoML's lies in it
            bento.rmdir()
    elif marker.is_file() and marker.read_text().strip() == removed:
        marker.write_text(left[-1].parent.name)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
