"""Files from their canonical address: pinned by sha256, never larger than said, and fetched once."""

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx

from training.datasets import DataError

CACHE = Path(".noren/data")
_TIMEOUT_S = 30.0  # without a byte


def download(url: str, *, sha256: str, max_bytes: int, folder: Path = CACHE) -> Path:
    """The file behind `url`: from `folder`, else over the network and then kept in `folder`. Raises DataError."""
    target = folder / PurePosixPath(urlsplit(url).path).name
    with _room(folder) as unfinished:
        if target.is_file() and _sha256(target) == sha256:
            return target
        partial = unfinished / target.name
        _fetch(url, partial, max_bytes=max_bytes)
        if (found := _sha256(partial)) != sha256:
            raise DataError(
                f"{url} is not the file that was expected: its sha256 is {found}, not {sha256}",
                fix="it was changed, or damaged on the way: fetch it by hand, look at it, and use --data",
            )
        partial.replace(target)
    return target


def unzip(archive: Path, members: Sequence[str], *, folder: Path, max_bytes: int) -> Path:
    """`folder`, with these members of a zip file in it under their last names, and nothing else. Raises DataError.

    max_bytes   of each of them, unpacked
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = {PurePosixPath(member).name: _member(opened, member, max_bytes) for member in members}
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}", fix="remove it and fetch it again") from error
    with _room(folder) as unfinished:
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
            (unfinished / name).replace(folder / name)
    return folder


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """A place for unfinished files beside the finished ones, so that a reader never sees half of one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
            yield Path(unfinished)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}", fix="work where you may write") from error


def _fetch(url: str, target: Path, *, max_bytes: int) -> None:
    size = 0
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_S) as answer, target.open("wb") as file:
            answer.raise_for_status()
            for part in answer.iter_bytes():
                size += len(part)
                if size > max_bytes:
                    raise DataError(
                        f"{url} has more than the {max_bytes:,} bytes that were expected",
                        fix="it was changed: fetch it by hand, look at it, and use --data",
                    )
                file.write(part)
    except httpx.HTTPError as error:
        raise DataError(
            f"{url} cannot be downloaded: {(str(error).splitlines() or [type(error).__name__])[0]}",
            fix="are you online? Else fetch it elsewhere, unpack it, and name the folder with --data",
        ) from error


def _member(opened: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    with opened.open(name) as file:
        content = file.read(max_bytes + 1)  # not what the archive says of itself: it may lie
    if len(content) > max_bytes:
        raise DataError(
            f"{name} in {opened.filename} has more than {max_bytes:,} bytes",
            fix="it is not what was expected: remove it",
        )
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
