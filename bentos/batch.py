"""Offline use of a service: a file in, a file out. `python -m bentos.<name> batch IN OUT`.

IN is .csv, .jsonl or .parquet (needs pyarrow), or whatever else the service reads. Each row has the fields of a
request. OUT gets a line for each good row, in order, with the number of its row; OUT.rejects.jsonl gets the bad ones,
with the field and the reason, never with the value. Work that was interrupted goes on where it was when the same
command is typed again: what is done is in OUT.partial and OUT.progress, which are gone at the end.
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

Row = TypeVar("Row", bound=BaseModel)
Fields = Mapping[str, Any]

CHUNK = 1_000  # rows answered, and made safe, together
LINE = 4 * 1024 * 1024  # characters; no longer line is held in memory
_EXIT_CODES = """exit codes:
  0    done; some rows may have been rejected
  1    done, but every row was rejected
  2    a mistake in the command, the files or the model; what is answered is kept
  130  interrupted; the same command goes on
"""
_REASONS = 10  # told of a row at most
_KINDS = ".jsonl, .csv or .parquet"
_OURS = ("row", "reasons")  # names in OUT and in the rejects
_WHY = "\0"  # the only field of an Unreadable; no other has this name


class BatchError(Exception):
    """The files cannot be worked on; the text says what and what to do."""


class Unreadable(dict[str, Any]):
    """A row that could not even be read: it is rejected with this reason, whatever else is added to its fields."""

    def __init__(self, reason: str, *, field: str = "", fields: Fields | None = None) -> None:
        """Say why. `field`: where; `fields`: what could be read all the same."""
        super().__init__({**(fields or {}), _WHY: {"field": field, "message": reason}})


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
    verb.add_argument("out", type=Path, metavar="OUT", help=_KINDS)
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
    answered, name = done.rows - done.rejected, _text(str(out))
    sys.stdout.write(f"{answered:,} rows answered by version {done.version}, {done.rejected:,} rejected: {name}\n")
    if answered or not done.rejected:
        return 0
    told = f"all {done.rejected:,} rows were rejected, see {name}.rejects.jsonl; the commonest reason"
    sys.stderr.write(f"error: {told}: {_Files(out).commonest_reason()}\n")
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
    files = _Files(out)
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


def read_rows(source: Path) -> Iterator[Fields]:
    """The rows of a table; an empty cell is None. Raises BatchError.

    A line that is no JSON is Unreadable. Where the next row of a broken .csv begins, nobody knows: it ends there.
    """
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise BatchError(f"{source} must end with {_KINDS}")
    try:
        yield from reader(source)
    except OSError as error:
        raise BatchError(f"{source} cannot be read: {error}") from error


def _read_csv(source: Path) -> Iterator[Fields]:
    csv.field_size_limit(LINE)  # a series of 10,000 numbers is more than the default
    # What is no UTF-8 makes its own row invalid, not the file.
    with source.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        table = csv.reader(_csv_lines(source, file), strict=True)
        try:
            names = next(table, [])
            if len(set(names)) < len(names):
                raise BatchError(f"the header of {source} has two columns of the same name")
            for cells in table:
                if cells:
                    yield _of_cells(names, cells)
        except csv.Error as error:
            problem = f"{source} line {table.line_num}: {error}"
            raise BatchError(f"{problem}; mend it, or write .jsonl, of which only the bad line is lost") from error


def _csv_lines(source: Path, file: TextIO) -> Iterator[str]:
    for number, line in enumerate(_lines(file), start=1):
        if line is None:
            raise BatchError(f"{source} line {number} is longer than {LINE:,} characters")
        yield line


def _of_cells(names: Sequence[str], cells: Sequence[str]) -> Fields:
    if len(cells) > len(names):
        return Unreadable(f"there are {len(cells)} cells, but {len(names)} columns")
    row = {name: cell or None for name, cell in itertools.zip_longest(names, cells)}
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Unreadable("the row is no valid UTF-8", fields=row)
    return row


def _read_jsonl(source: Path) -> Iterator[Fields]:
    with source.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in _lines(file):
            if line is None:
                yield Unreadable(f"the line is longer than {LINE:,} characters")
            elif line.strip():
                yield _of_json(line)


def _of_json(line: str) -> Fields:
    try:
        line.encode()  # bytes that are no UTF-8 were read as halves of surrogate pairs, which nothing can write
        row = json.loads(line)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return Unreadable(f"the line is no JSON: {error}")
    return row if isinstance(row, dict) else Unreadable("the line is no JSON object")


def _lines(file: TextIO) -> Iterator[str | None]:
    """Its lines, with None for one that is longer than LINE."""
    while line := file.readline(LINE):
        if len(line) < LINE or line.endswith("\n"):
            yield line
            continue
        while (rest := file.readline(LINE)) and not rest.endswith("\n"):
            pass
        yield None


def _read_parquet(source: Path) -> Iterator[Fields]:
    pyarrow = _pyarrow()
    try:
        with source.open("rb") as file, pyarrow.parquet.ParquetFile(file) as table:
            for part in table.iter_batches(batch_size=CHUNK):
                yield from _parquet_rows(pyarrow, part)
    except pyarrow.ArrowException as error:
        raise BatchError(f"{source} cannot be read: {error}") from error


def _parquet_rows(pyarrow: Any, part: Any) -> Iterable[Fields]:
    """All at once where that can be done; Arrow does not tell which cell was the bad one."""
    bad = ValueError, OverflowError, LookupError, pyarrow.ArrowException
    try:
        return part.to_pylist()  # type: ignore[no-any-return]
    except bad:
        return (_parquet_row(row, bad) for row in (part.slice(number, 1) for number in range(len(part))))


def _parquet_row(row: Any, bad: tuple[type[Exception], ...]) -> Fields:
    cells, unread = {}, ""
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            cells[name] = column[0].as_py()
        except bad:  # the text of the error may show the value
            unread = name
    if not unread:
        return cells
    return Unreadable("is no valid UTF-8, or no value that Python has (years end at 9999)", field=unread, fields=cells)


_READERS: dict[str, Callable[[Path], Iterator[Fields]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise BatchError("Parquet needs pyarrow: pip install pyarrow, or use .jsonl or .csv") from None
    return pyarrow


def _check(job: Job[Any], source: Path, out: Path) -> None:
    if not source.exists():
        raise BatchError(f"{source} does not exist")
    readable = source.is_file() and source.suffix.lower() in _READERS
    if not (readable or (job.folder and source.is_dir())):
        raise BatchError(f"{source} must be a file that ends with {_KINDS}")
    if out.suffix.lower() not in _READERS or out.is_dir():
        raise BatchError(f"{out} must be a file that ends with {_KINDS}")
    if ".parquet" in (source.suffix.lower(), out.suffix.lower()):
        _pyarrow()
    if not out.parent.is_dir():
        raise BatchError(f"the folder {out.parent} does not exist: make it first")
    if source.is_file():
        _check_apart(source, out)
    if source.is_dir() and out.parent.resolve().is_relative_to(source.resolve()):
        raise BatchError(f"{out} lies inside of {source}: write it elsewhere")


def _check_apart(source: Path, out: Path) -> None:
    """IN may be none of the files that are written, by whatever name: it would be truncated and removed."""
    for written in (out, *_Files(out).beside):
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
        readable = readable or _WHY not in row
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
        if _WHY not in fields:
            fields = job.read(_of_table(fields, kind))
        yield _Asked(fields=fields, in_out={"row": number, **kept}, in_rejects={"row": number, **shown, **kept})


def _copied(row: Fields, names: Iterable[str]) -> Fields:
    """These cells as JSON has them: times in ISO 8601, bytes in base64, NaN as null. Raises ValueError."""
    return {name: to_jsonable_python(row.get(name), bytes_mode="base64", inf_nan_mode="null") for name in names}


def _of_table(row: Fields, kind: str) -> Fields:
    """An empty cell of a table counts as a field that is not there. In a .csv, lists and objects stand as JSON."""
    if kind == ".jsonl":
        return row
    return {name: _nested(cell) if kind == ".csv" else cell for name, cell in row.items() if cell is not None}


def _nested(cell: str) -> Any:
    if cell[0] in "[{":
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    return cell


def _validated(kind: type[Row], rows: Iterable[_Asked]) -> tuple[list[tuple[Fields, Row]], list[Fields]]:
    """The good rows, after what their lines begin with, and the bad ones' lines. Nothing else stays in memory."""
    good: list[tuple[Fields, Row]] = []
    bad: list[Fields] = []
    for asked in rows:
        try:
            if reason := asked.fields.get(_WHY):
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


class _Files:
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
        """Where the same work was interrupted, or the beginning."""
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
        """Make a chunk safe: the lines first, then the word that they are there."""
        with _writing(self._out):
            done.out_bytes = _append(self._partial, lines, at=done.out_bytes)
            done.rejects_bytes = _append(self._rejects, bad, at=done.rejects_bytes)
            _replace(self._progress, json.dumps(asdict(done)))

    def finish(self) -> None:
        """Make OUT of what is there. May be interrupted and repeated, too."""
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
        write = _WRITERS.get(self._out.suffix.lower())
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


def _write_csv(partial: Path, out: Path) -> None:
    """With the columns of the first row; what is nested is written as JSON."""
    with out.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer: Any = None
        for rows in _written(partial):
            writer = writer or _headed(file, list(rows[0]))
            for row in rows:
                writer.writerow({name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in row.items()})


def _headed(file: TextIO, names: Sequence[str]) -> Any:
    writer = csv.DictWriter(file, names, extrasaction="ignore")
    writer.writeheader()
    return writer


def _write_parquet(partial: Path, out: Path) -> None:
    """A column has the type that all its cells fit into. It is JSON, as in a .csv, where there is none or where it has
    objects: Parquet takes no empty one, and what they may hold is not the same in each row."""
    pyarrow = _pyarrow()
    types = _types(pyarrow, partial) or {"row": pyarrow.int64()}
    schema = pyarrow.schema(list(types.items()))
    as_text = {name for name, kind in types.items() if pyarrow.types.is_string(kind)}
    try:
        with out.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for rows in _written(partial):
                for row in rows:
                    row.update({name: _text(row[name]) for name in as_text if row.get(name) is not None})
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    except pyarrow.ArrowException as error:
        raise BatchError(f"no Parquet table can be made of {partial}, which has all answers: {error}") from error


def _types(pyarrow: Any, partial: Path) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for rows in _written(partial):
        for name in rows[0]:
            known = types.get(name, pyarrow.null())
            types[name] = _common_type(pyarrow, known, [row.get(name) for row in rows])
    return types


def _common_type(pyarrow: Any, known: Any, cells: Sequence[Any]) -> Any:
    """What was null, or a list of nothing, so far may be a number, or numbers, in these cells."""
    try:
        schemas = [pyarrow.schema([("", kind)]) for kind in (known, pyarrow.array(cells).type)]
        found = pyarrow.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return pyarrow.string()
    return pyarrow.string() if _has_objects(pyarrow, found) else found


def _has_objects(pyarrow: Any, kind: Any) -> bool:
    inner = pyarrow.types.is_list(kind) and _has_objects(pyarrow, kind.value_type)
    return bool(inner or pyarrow.types.is_struct(kind))


def _text(cell: Any) -> str:
    """As in a .csv, the bytes of a file name that is no UTF-8 are escaped."""
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else json.dumps(cell)


def _written(partial: Path) -> Iterator[list[dict[str, Any]]]:
    """The answers, some at a time."""
    with partial.open() as file:
        while lines := list(itertools.islice(file, CHUNK)):
            yield [json.loads(line) for line in lines]


_WRITERS: dict[str, Callable[[Path, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}


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
