"""Of a table each row is read or said to be unreadable; and what lines of JSON hold fits into one."""

import json
import tracemalloc
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from bentos import tables
from bentos.tables import BatchError, Fields, given, read_rows, why_unreadable, writer_for


def made(table: Path, rows: Sequence[Fields]) -> Path:
    """A table of these rows, as a batch makes it of its answers."""
    lines = table.with_suffix(".partial")
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write = writer_for(table)
    assert write is not None
    write(lines, table)
    return table


# Reading


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "is no JSON"),
        (b"a,b", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[1]", "no JSON object"),
        (b'"a"', "no JSON object"),
        (b"null", "no JSON object"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is no JSON"),
        (b'{"a": 1, "text": "\xff"}', "is no JSON"),
        (b'{"a": 1, "text": "\\ud800"}', "is no JSON"),
        (b'{"a": 1, "\xff": 2}', "is no JSON"),
        (b'{"a": 1, "text": "' + b"x" * 5000 + b'"}', "longer than 4,096 characters"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_after_a_bad_line_of_json_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, reason: str
) -> None:
    monkeypatch.setattr(tables, "LINE", 200_000 if line.startswith((b"[[", b'{"a": 11')) else 4096)
    (tmp_path / "in.jsonl").write_bytes(b'{"a": 1}\n' + line + b'\n\n{"a": 3}\n')

    first, bad, last = read_rows(tmp_path / "in.jsonl")

    assert (first, last) == ({"a": 1}, {"a": 3})
    why = why_unreadable(bad)
    assert why is not None
    assert reason in why["message"]


@pytest.mark.parametrize(
    ("line", "reason"), [(b"1,2,3", "there are 3 cells, but 2 columns"), (b"\xff,2", "the row is no valid UTF-8")]
)
def test_after_a_bad_line_of_a_csv_the_next_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,1\r\n" + line + b"\r\n\r\n3,1\r\n")

    first, bad, last = read_rows(tmp_path / "in.csv")

    assert (first, last) == ({"a": "1", "b": "1"}, {"a": "3", "b": "1"})
    assert why_unreadable(bad) == {"field": "", "message": reason}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'a,b\n1,1\n2,"open\n3,1\n', "line 4: unexpected end of data"),
        (b'a,b\n1,1\n2,"x"y\n3,1\n', "line 3: ',' expected"),
        (b'a,b\n1,1\n2,"' + b"x\n" * 100_000, "field larger than field limit"),
        (b"a,b\n1,1\n" + b"2" * 5000 + b",1\n3,1\n", "line 3 is longer than 4,096 characters"),
        (b"a" * 5000 + b"\n1\n", "line 1 is longer than 4,096 characters"),
        (b"a,b,a\n1,2,3\n", "two columns of the same name"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_csv_of_which_nobody_knows_how_it_goes_on_ends_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, problem: str
) -> None:
    monkeypatch.setattr(tables, "LINE", 4096)
    (tmp_path / "in.csv").write_bytes(content)

    with pytest.raises(BatchError, match=problem):
        list(read_rows(tmp_path / "in.csv"))


def test_lists_stand_in_a_csv_as_json_and_other_brackets_are_text(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('a,more,text\n1,"[1, 2]",[sic]\n2,,{\n')

    rows = [given(row, ".csv") for row in read_rows(tmp_path / "in.csv")]

    assert rows == [{"a": "1", "more": [1, 2], "text": "[sic]"}, {"a": "2", "text": "{"}]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100])
def test_what_is_no_parquet_file_is_told(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "in.parquet").write_bytes(content)

    with pytest.raises(BatchError, match=r"in\.parquet cannot be read"):
        list(read_rows(tmp_path / "in.parquet"))


def spoilt(kind: str) -> tuple[Any, Any]:
    """A column of three cells of which the second one cannot be read, and the first one as Python has it."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    if kind == "text":
        return pyarrow.Array.from_buffers(pyarrow.string(), 3, pyarrow.array([b"x", b"\xff", b""]).buffers()), "x"
    if kind == "list":
        return pyarrow.ListArray.from_arrays([0, 1, 2, 3], spoilt("text")[0]), ["x"]
    if kind == "day":
        return pyarrow.array([1, 4_000_000, 1], pyarrow.int32()).view(pyarrow.date32()), date(1970, 1, 2)
    return pyarrow.array([0, 2**60, 0]).view(pyarrow.timestamp("us")), datetime(1970, 1, 1)  # noqa: DTZ001 - as in the file


@pytest.mark.parametrize("kind", ["text", "list", "day", "time"])
def test_after_a_bad_cell_of_a_parquet_file_the_next_row_is_read(tmp_path: Path, kind: str) -> None:
    column, cell = spoilt(kind)
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": [1.0, 2.0, 3.0], "any": column})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "in.parquet")

    first, bad, last = read_rows(tmp_path / "in.parquet")

    assert (first, bad["a"], last["a"]) == ({"a": 1.0, "any": cell}, 2.0, 3.0)
    why = why_unreadable(bad)
    assert why is not None
    assert why["field"] == "any"
    assert "no valid UTF-8" in why["message"]


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_memory_does_not_grow_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(tables, "LINE", 10_000)
    (tmp_path / f"in{kind}").write_text("a\n" + "1" * 20_000_000)

    tracemalloc.start()
    try:
        assert all(map(why_unreadable, read_rows(tmp_path / f"in{kind}")))
    except BatchError:
        assert kind == ".csv"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peak < 2_000_000


# Writing


def test_types_may_show_late_in_a_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    monkeypatch.setattr(tables, "CHUNK", 2)
    rows: list[Fields] = [*[{"half": None, "more": []}] * 4, *[{"half": 0.5, "more": [1]}] * 2]

    assert list(read_rows(made(tmp_path / "out.parquet", rows))) == rows


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        ([{}, {}, {}], ["{}", "{}", "{}"]),
        ([{"a": 1}, {}, {"b": [{}]}], ['{"a": 1}', "{}", '{"b": [{}]}']),
        ([None, None, {}], [None, None, "{}"]),
        ([[], [{}], [{"a": 1.5}]], ["[]", "[{}]", '[{"a": 1.5}]']),
        ([[], [], []], [[], [], []]),
        ([[], None, [[], [1]]], [[], None, [[], [1]]]),
        ([1, None, 2.5], [1.0, None, 2.5]),
        ([1, "one", [1]], ["1", "one", "[1]"]),
        (["one", True, {}], ["one", "true", "{}"]),
        ([[1], "[1]", ["a"]], ["[1]", "[1]", '["a"]']),
        ([1, 2**70, None], ["1", str(2**70), None]),
        (["a", "\udcff.png", None], ["a", "\\udcff.png", None]),
        ([["a"], ["\udcff.png"], []], ['["a"]', '["\\udcff.png"]', "[]"]),
        ([None, None, None], [None, None, None]),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk", [1, 2, 10])
def test_what_a_row_holds_fits_into_one_type_of_a_parquet_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, cells: list[Any], written: list[Any]
) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr(tables, "CHUNK", chunk)

    made(tmp_path / "out.parquet", [{"row": number, "more": cell} for number, cell in enumerate(cells, start=1)])

    assert pyarrow.read_table(tmp_path / "out.parquet")["more"].to_pylist() == written


def test_a_field_that_is_called_like_our_mark_is_a_field_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"\0": {"field": "a", "message": "secret"}}))
    (row,) = read_rows(file)
    assert why_unreadable(row) is None
