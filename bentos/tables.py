"""Tables: .csv, .jsonl and .parquet (needs pyarrow). Rows are read from them, and they are made of lines of JSON."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

Fields = Mapping[str, Any]

KINDS = ".jsonl, .csv or .parquet"
CHUNK = 1_000  # rows held in memory together
LINE = 4 * 1024 * 1024  # characters; no longer line is held in memory
_WHY = "\0"  # the field of an Unreadable that says why


class BatchError(Exception):
    """The files cannot be worked on; the text says what and what to do."""


class _Why(dict[str, str]):
    """A reason of ours: what a file may have in a field of that name is of another type."""


class Unreadable(dict[str, Any]):
    """A row that could not even be read: it is rejected with this reason, whatever else is added to its fields."""

    def __init__(self, reason: str, *, field: str = "", fields: Fields | None = None) -> None:
        """Say why. `field`: where; `fields`: what could be read all the same."""
        super().__init__({**(fields or {}), _WHY: _Why(field=field, message=reason)})


def why_unreadable(row: Fields) -> Fields | None:
    """The reason of an Unreadable, also of a copy of its fields; None: the row could be read."""
    why = row.get(_WHY)
    return why if isinstance(why, _Why) else None


def is_table(path: Path) -> bool:
    """By its name alone: whether it can be read, or is there, is not looked at."""
    return path.suffix.lower() in _READERS


def check_installed(*paths: Path) -> None:
    """Raises BatchError where a library is missing that one of these tables needs."""
    if ".parquet" in (path.suffix.lower() for path in paths):
        _pyarrow()


def read_rows(source: Path) -> Iterator[Fields]:
    """The rows of a table; an empty cell is None. Raises BatchError.

    A line that is no JSON is Unreadable. Where the next row of a broken .csv begins, nobody knows: it ends there.
    """
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise BatchError(f"{source} must end with {KINDS}")
    try:
        yield from reader(source)
    except OSError as error:
        raise BatchError(f"{source} cannot be read: {error}") from error


def given(row: Fields, kind: str) -> Fields:
    """An empty cell of a table counts as a field that is not there. In a .csv, lists and objects stand as JSON."""
    if kind == ".jsonl":
        return row
    return {name: _nested(cell) if kind == ".csv" else cell for name, cell in row.items() if cell is not None}


def writer_for(out: Path) -> Callable[[Path, Path], None] | None:
    """What makes such a table of a file of JSON lines: `write(lines, table)`. None: those lines are the table.

    It raises BatchError, and OSError where a file cannot be written.
    """
    return _WRITERS.get(out.suffix.lower())


def as_text(cell: Any) -> str:
    """As in a .csv, the bytes of a file name that is no UTF-8 are escaped."""
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else json.dumps(cell)


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


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise BatchError("Parquet needs pyarrow: pip install pyarrow, or use .jsonl or .csv") from None
    return pyarrow


def _nested(cell: str) -> Any:
    if cell[0] in "[{":
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    return cell


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
    texts = {name for name, kind in types.items() if pyarrow.types.is_string(kind)}
    try:
        with out.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for rows in _written(partial):
                for row in rows:
                    row.update({name: as_text(row[name]) for name in texts if row.get(name) is not None})
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


def _written(partial: Path) -> Iterator[list[dict[str, Any]]]:
    """The answers, some at a time."""
    with partial.open() as file:
        while lines := list(itertools.islice(file, CHUNK)):
            yield [json.loads(line) for line in lines]


_READERS: dict[str, Callable[[Path], Iterator[Fields]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
_WRITERS: dict[str, Callable[[Path, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
