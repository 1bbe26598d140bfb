"""Offline use of a service: a file in, a file out. `python -m bentos.<name> batch IN OUT`.

IN is .csv, .jsonl or .parquet (needs pyarrow), or whatever else the service reads. Each row has the fields of a
request. OUT gets a line for each good row, in order, with the number of its row; OUT.rejects.jsonl gets the bad ones,
with the field and the reason, never with the value. Work that was interrupted goes on where it was when the same
command is typed again: what is done is in OUT.partial and OUT.progress, which are gone at the end.
"""

import argparse
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from bentos.out_files import OutFiles, Progress
from bentos.tables import (
    CHUNK,
    KINDS,
    BatchError,
    Fields,
    Unreadable,
    as_text,
    check_installed,
    given,
    is_table,
    read_rows,
    why_unreadable,
)

Row = TypeVar("Row", bound=BaseModel)

_EXIT_CODES = """exit codes:
  0    done; some rows may have been rejected
  1    done, but every row was rejected
  2    a mistake in the command, the files or the model; what is answered is kept
  130  interrupted; the same command goes on
"""
_REASONS = 10  # told of a row at most
_OURS = ("row", "reasons")  # names in OUT and in the rejects


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[Row]):
    """What a service does with a file.

    row      what a row must be
    load     gives the version of the model and what answers rows; called once
    read     makes the fields of a request of those of a row, where they differ
    folder   the rows of an IN that is a folder, as fields or Unreadable, where it may be one
    shown    fields that rejects show, since they tell which row it is
    """

    row: type[Row]
    load: Callable[[], tuple[str, Callable[[Sequence[Row]], Sequence[BaseModel]]]]
    read: Callable[[Fields], Fields] = dict
    folder: Callable[[Path], Iterator[Fields]] | None = None
    shown: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A row: its fields, and how its line begins in OUT or in the rejects."""

    fields: Fields
    in_out: Fields
    in_rejects: Fields


def main(job: Job[Any], arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit codes are told by --help."""
    options = _options(arguments)
    keep = list(dict.fromkeys(options.keep))
    try:
        done = run(job, options.source, options.out, chunk=max(1, options.chunk), keep=keep)
    except BatchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from here\n")
        return 130
    return _told(done, options.out)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    texts: Any = {"description": __doc__, "epilog": _EXIT_CODES}
    texts["formatter_class"] = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(**texts)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("batch", help="answer every row of a file", **texts)
    verb.add_argument("source", type=Path, metavar="IN")
    verb.add_argument("out", type=Path, metavar="OUT", help=KINDS)
    verb.add_argument("--chunk", type=int, default=CHUNK, help=f"rows at a time [{CHUNK}]")
    verb.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="a column of IN that is copied into OUT and the rejects and not given to the model, an id say; repeatable",
    )
    return parser.parse_args(arguments)


def _told(done: Progress, out: Path) -> int:
    """What was done, in words and as an exit code."""
    answered, name = done.rows - done.rejected, as_text(str(out))
    sys.stdout.write(f"{answered:,} rows answered by version {done.version}, {done.rejected:,} rejected: {name}\n")
    if answered or not done.rejected:
        return 0
    told = f"all {done.rejected:,} rows were rejected, see {name}.rejects.jsonl; the commonest reason"
    sys.stderr.write(f"error: {told}: {OutFiles(out).commonest_reason()}\n")
    return 1


def newest(name: str) -> Any:
    """The newest model of that name in the BentoML store. Raises BatchError."""
    import bentoml

    try:
        return bentoml.models.get(f"{name}:latest")
    except bentoml.exceptions.NotFound:
        raise BatchError(f"there is no model {name} in the BentoML store: python -m training.{name}") from None


def run(job: Job[Row], source: Path, out: Path, *, chunk: int = CHUNK, keep: Sequence[str] = ()) -> Progress:
    """Answer every row of `source`; the columns `keep` are copied, not asked. Raises BatchError."""
    _check(job, source, out)
    _check_columns(job, source, keep)
    version, answer = _loaded(job)
    files = OutFiles(out)
    done = files.resume(Progress(source=_fingerprint(source), version=version, keep=list(keep)))
    rows = itertools.islice(_asked(job, source, keep), done.rows, None)
    with _progress(source.name) as show:
        while not done.finished:
            good, bad = _validated(job.row, itertools.islice(rows, chunk))
            answers = answer([row for _, row in good]) if good else []
            lines = [_line(begin, found) for (begin, _), found in zip(good, answers, strict=True)]
            done.rows += len(good) + len(bad)
            done.rejected += len(bad)
            done.finished = not (good or bad)
            files.append(lines, bad, done)
            show(done)
    files.finish()
    return done


def _loaded(job: Job[Row]) -> tuple[str, Callable[[Sequence[Row]], Sequence[BaseModel]]]:
    try:
        return job.load()
    except (OSError, ValueError) as error:
        raise BatchError(
            f"the newest model in the BentoML store cannot be loaded: {error}\n"
            "  fix: train it again (python -m training), or use the code that it was trained with"
        ) from error


def _check(job: Job[Any], source: Path, out: Path) -> None:
    if not source.exists():
        raise BatchError(f"{source} does not exist")
    readable = source.is_file() and is_table(source)
    if not (readable or (job.folder and source.is_dir())):
        raise BatchError(f"{source} must be a file that ends with {KINDS}")
    if not is_table(out) or out.is_dir():
        raise BatchError(f"{out} must be a file that ends with {KINDS}")
    check_installed(source, out)
    if not out.parent.is_dir():
        raise BatchError(f"the folder {out.parent} does not exist: make it first")
    if source.is_file():
        _check_apart(source, out)
    if source.is_dir() and out.parent.resolve().is_relative_to(source.resolve()):
        raise BatchError(f"{out} lies inside of {source}: write it elsewhere")


def _check_apart(source: Path, out: Path) -> None:
    """IN may be none of the files that are written, by whatever name: it would be truncated and removed."""
    for written in (out, *OutFiles(out).beside):
        if written.exists() and written.samefile(source):
            raise BatchError(f"IN would be overwritten: {written} is the same file; give OUT another name")


def _fingerprint(source: Path) -> str:
    """Tells whether IN is what was begun with: the paths, sizes and times of change of its files."""
    digest = hashlib.sha256()
    for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
        found = file.stat(follow_symlinks=file.exists())
        digest.update(os.fsencode(f"{file.absolute()} {found.st_size} {found.st_mtime_ns}\n"))
    return digest.hexdigest()


def _rows(job: Job[Any], source: Path) -> Iterator[Fields]:
    return job.folder(source) if job.folder and source.is_dir() else read_rows(source)


def _check_columns(job: Job[Any], source: Path, keep: Sequence[str]) -> None:
    """Ends with the first row that has all of them: of a table, the first one."""
    for name in keep:
        if name in _OURS:
            raise BatchError(f"--keep {name}: the answers have a {name} of their own; rename the column of IN")
    missing, readable = set(keep), False
    for row in _rows(job, source) if keep else ():
        readable = readable or not why_unreadable(row)
        missing -= row.keys()
        if not missing:
            return
    if readable:
        raise BatchError(f"--keep {min(missing)}: {source} has no such column")


def _asked(job: Job[Any], source: Path, keep: Sequence[str]) -> Iterator[_Asked]:
    kind = source.suffix.lower()
    for number, row in enumerate(_rows(job, source), start=1):
        fields: Fields = {name: cell for name, cell in row.items() if name not in keep}
        shown: Fields = {}
        kept: Fields = {}
        try:
            shown, kept = _copied(row, job.shown), _copied(row, keep)
        except ValueError:
            fields = Unreadable("what is to be copied is nested too deeply")
        if not why_unreadable(fields):
            fields = job.read(given(fields, kind))
        yield _Asked(fields=fields, in_out={"row": number, **kept}, in_rejects={"row": number, **shown, **kept})


def _copied(row: Fields, names: Iterable[str]) -> Fields:
    """These cells as JSON has them: times in ISO 8601, bytes in base64, NaN as null. Raises ValueError."""
    return {name: to_jsonable_python(row.get(name), bytes_mode="base64", inf_nan_mode="null") for name in names}


def _validated(kind: type[Row], rows: Iterable[_Asked]) -> tuple[list[tuple[Fields, Row]], list[Fields]]:
    """The good rows, after what their lines begin with, and the bad ones' lines. Nothing else stays in memory."""
    good: list[tuple[Fields, Row]] = []
    bad: list[Fields] = []
    for asked in rows:
        try:
            if reason := why_unreadable(asked.fields):
                bad.append({**asked.in_rejects, "reasons": [reason]})
            else:
                good.append((asked.in_out, kind.model_validate(asked.fields)))
        except ValidationError as error:
            bad.append({**asked.in_rejects, "reasons": _reasons(error)})
    return good, bad


def _line(begin: Fields, found: BaseModel) -> Fields:
    answer = found.model_dump(mode="json")
    if twice := begin.keys() & answer.keys():
        raise BatchError(f"--keep {min(twice)}: the answers have a {min(twice)} of their own; rename the column of IN")
    return {**begin, **answer}


def _reasons(error: ValidationError) -> list[dict[str, str]]:
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {"field": ".".join(map(str, mistake["loc"]))[:200], "message": mistake["msg"]}
        for mistake in mistakes[:_REASONS]
    ]


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Progress], None]]:
    """A line in a terminal, and every ten thousand rows elsewhere."""
    from rich.console import Console
    from rich.markup import escape

    console, told = Console(stderr=True, highlight=False), 0

    def show(done: Progress) -> None:
        nonlocal told
        text = escape(f"{name}: {done.rows:,} rows, {done.rejected:,} rejected")
        status.update(text)
        if not console.is_terminal and done.rows - told >= 10 * CHUNK:
            told = done.rows
            console.print(text)

    with console.status(escape(f"{name} ...")) as status:
        yield show
