"""The files beside OUT, so that work on it can be interrupted at any moment and goes on where it was."""

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bentos.tables import CHUNK, BatchError, Fields, writer_for


@dataclass(slots=True)
class Progress:
    """What is done, as it is stored. Bytes are those of the two unfinished files."""

    source: str  # which IN this is of
    version: str
    rows: int = 0
    rejected: int = 0
    out_bytes: int = 0
    rejects_bytes: int = 0
    finished: bool = False  # all rows are answered; OUT may still have to be made of them
    keep: list[str] = field(default_factory=list)


class OutFiles:
    """OUT while it is unfinished. What counts is what `progress` says is done; the rest is cut off."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._partial = _beside(out, ".partial")
        self._rejects = _beside(out, ".rejects.jsonl")
        self._progress = _beside(out, ".progress")

    @property
    def beside(self) -> tuple[Path, ...]:
        """All other files that are written, some of them for a moment only."""
        lasting = self._partial, self._rejects, self._progress
        return *lasting, _unfinished(self._progress), _unfinished(self._out)

    def resume(self, fresh: Progress) -> Progress:
        """Where the same work was interrupted, or the beginning. Raises BatchError."""
        done = self._stored() or fresh
        if (done.source, done.version, done.keep) != (fresh.source, fresh.version, fresh.keep):
            raise BatchError(
                f"{self._out} was begun with another IN, another --keep ({' '.join(done.keep) or 'none'}) or another "
                f"version of the model ({done.version}); remove {self._progress} to begin again"
            )
        if not done.finished:
            with _writing(self._out):
                self._cut(self._partial, done.out_bytes)
                self._cut(self._rejects, done.rejects_bytes)
        return done

    def append(self, lines: Sequence[Fields], bad: Sequence[Fields], done: Progress) -> None:
        """Make a chunk safe: the lines first, then the word that they are there. Raises BatchError."""
        with _writing(self._out):
            done.out_bytes = _append(self._partial, lines, at=done.out_bytes)
            done.rejects_bytes = _append(self._rejects, bad, at=done.rejects_bytes)
            _replace(self._progress, json.dumps(asdict(done)))

    def finish(self) -> None:
        """Make OUT of what is there. May be interrupted and repeated, too. Raises BatchError."""
        with _writing(self._out):
            if self._partial.exists():
                self._make_out()
            if self._rejects.exists() and not self._rejects.stat().st_size:
                self._rejects.unlink()
            self._progress.unlink(missing_ok=True)

    def commonest_reason(self) -> str:
        """Among the first rejects, of which there must be one."""
        with self._rejects.open() as file:
            rejects = [json.loads(line)["reasons"] for line in itertools.islice(file, CHUNK)]
        counts = Counter((reason["field"], reason["message"]) for reasons in rejects for reason in reasons)
        return ": ".join(filter(None, counts.most_common(1)[0][0]))

    def _stored(self) -> Progress | None:
        try:
            return Progress(**json.loads(self._progress.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise BatchError(f"{self._progress} cannot be read ({error}): remove it to begin again") from error

    def _cut(self, file: Path, size: int) -> None:
        with file.open("ab") as opened:
            if opened.tell() < size:
                raise BatchError(f"{file} has lost what was in it: remove {self._progress} to begin again")
            opened.truncate(size)

    def _make_out(self) -> None:
        write = writer_for(self._out)
        if write is None:
            self._partial.replace(self._out)
            return
        unfinished = _unfinished(self._out)
        write(self._partial, unfinished)
        unfinished.replace(self._out)
        self._partial.unlink()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _unfinished(path: Path) -> Path:
    return _beside(path, ".unfinished")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BatchError(f"cannot write {out}: {error}") from error


def _append(path: Path, lines: Sequence[Fields], *, at: int) -> int:
    with path.open("ab") as file:
        if file.tell() != at:
            raise BatchError(f"somebody else writes to {path}: does the same command run twice?")
        file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _replace(path: Path, text: str) -> None:
    """A reader finds the old text or the new one, even after a power failure."""
    unfinished = _unfinished(path)
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
