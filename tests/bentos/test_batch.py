"""Every good row of a file is answered once, every bad one is rejected with its reason, whatever happens."""

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from bentos import batch
from bentos.batch import Job, main, run
from bentos.tables import BatchError, Fields, Unreadable, read_rows

ROOT = Path(__file__).resolve().parents[2]
KINDS = (".csv", ".jsonl", ".parquet")


class Pair(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    a: float = Field(allow_inf_nan=False, le=1000)
    b: int = 0
    text: str = ""
    more: list[int] = []


class Total(BaseModel):
    total: float
    more: list[int] = []


@dataclass
class Adder:
    """Adds up pairs, and remembers what it was asked."""

    version: str = "v1"
    asked: list[float] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def load(self) -> tuple[str, Callable[[Sequence[Pair]], Sequence[Total]]]:
        return self.version, self.answer

    def answer(self, pairs: Sequence[Pair]) -> list[Total]:
        self.before()
        self.asked += [pair.a for pair in pairs]
        return [Total(total=pair.a + pair.b, more=pair.more) for pair in pairs]

    @property
    def job(self) -> Job[Pair]:
        return Job(row=Pair, load=self.load)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        table = pytest.importorskip("pyarrow").Table.from_pylist(list(rows))
        pyarrow.write_table(table, path)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """What is in OUT, as far as the format tells types."""
    return [{name: json.loads(v) if isinstance(v, str) else v for name, v in row.items()} for row in read_rows(path)]


def rejects(out: Path) -> list[dict[str, Any]]:
    file = out.with_name(out.name + ".rejects.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"a": float(number), "b": 1} for number in range(count)]


# Every row


@pytest.mark.parametrize(("kind", "out"), itertools.product(KINDS, KINDS))
def test_every_row_is_answered_in_order_whatever_the_formats(tmp_path: Path, kind: str, out: str) -> None:
    source = write(tmp_path / f"in{kind}", [*pairs(5), {"a": 5000.0, "b": 1}, {"a": 6.0, "b": 2}])

    done = run(Adder().job, source, tmp_path / f"out{out}", chunk=2)

    assert (done.rows, done.rejected) == (7, 1)
    found = read(tmp_path / f"out{out}")
    assert [(row["row"], row["total"]) for row in found] == [*((n + 1, n + 1) for n in range(5)), (7, 8)]
    assert [row["row"] for row in rejects(tmp_path / f"out{out}")] == [6]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [source.name, f"out{out}", f"out{out}.rejects.jsonl"]
    )


@pytest.mark.parametrize("kind", [".CSV", ".Jsonl"])
def test_the_case_of_the_ending_does_not_matter(tmp_path: Path, kind: str) -> None:
    write(tmp_path / f"in{kind.lower()}", pairs(2)).rename(tmp_path / f"in{kind}")

    assert run(Adder().job, tmp_path / f"in{kind}", tmp_path / f"out{kind}").rows == 2


@pytest.mark.parametrize("out", KINDS)
@pytest.mark.parametrize("content", ["", '{"a": "x"}\n'])
def test_without_a_good_row_out_is_empty(tmp_path: Path, content: str, out: str) -> None:
    if out == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "in.jsonl").write_text(content)

    run(Adder().job, tmp_path / "in.jsonl", tmp_path / f"out{out}")

    assert read(tmp_path / f"out{out}") == []


def test_a_rejected_row_says_which_field_and_why_but_never_the_value(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"a": "secret"},
        {},
        {"a": 1, "colour": "secret"},
        {"a": 1, "more": [1, "secret"]},
        {"a": 1, "b": None},
    ]
    write(tmp_path / "in.jsonl", rows)

    run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    found = rejects(tmp_path / "out.jsonl")
    assert [row["reasons"][0]["field"] for row in found] == ["a", "a", "colour", "more.1", "b"]
    assert found[1]["reasons"][0]["message"] == "Field required"
    assert "secret" not in json.dumps(found)


def test_of_a_row_with_many_mistakes_some_are_told(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"a": 1, "more": ["x"] * 1000}])

    run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert len(rejects(tmp_path / "out.jsonl")[0]["reasons"]) == 10


# Bad rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', "is no JSON"),
        (b'{"a": 1, "text": "\xff"}', "is no JSON"),
        (b'{"a": NaN}', "finite number"),
        (b'{"a": 1e999}', "finite number"),
    ],
)
def test_a_bad_line_of_json_is_rejected_and_the_next_is_answered(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"a": 1}\n' + line + b'\n\n{"a": 3}\n')

    done = run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert (done.rows, done.rejected) == (3, 1)
    assert [row["row"] for row in read(tmp_path / "out.jsonl")] == [1, 3]
    (rejected,) = rejects(tmp_path / "out.jsonl")
    assert rejected["row"] == 2
    assert message in rejected["reasons"][0]["message"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1,2,3", "there are 3 cells, but 2 columns"),
        (b",2", "Field required"),
        (b"x,2", "valid number"),
        (b"\xff,2", "valid"),
    ],
)
def test_a_bad_line_of_a_csv_is_rejected_and_the_next_is_answered(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,1\r\n" + line + b"\r\n\r\n3,1\r\n")

    run(Adder().job, tmp_path / "in.csv", tmp_path / "out.jsonl")

    assert [row["row"] for row in read(tmp_path / "out.jsonl")] == [1, 3]
    (rejected,) = rejects(tmp_path / "out.jsonl")
    assert message in rejected["reasons"][0]["message"]


def test_a_csv_that_breaks_off_ends_the_work_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text('a,b\n1,1\n2,"open\n3,1\n')

    assert main(Adder().job, ["batch", str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl")]) == 2
    assert "in.csv line 4: unexpected end of data" in capsys.readouterr().err


def test_a_cell_of_a_csv_may_be_as_long_as_a_line(tmp_path: Path) -> None:
    numbers = list(range(50_000))
    write(tmp_path / "in.csv", [{"a": 1, "more": numbers}])

    run(Adder().job, tmp_path / "in.csv", tmp_path / "out.csv")

    assert [row["more"] for row in read(tmp_path / "out.csv")] == [numbers]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    with (tmp_path / "in.jsonl").open("w") as file:
        for _ in range(60):
            file.write(json.dumps({"a": "x" * 500_000}) + "\n")

    with batch._progress("import rich before"):
        pass

    tracemalloc.start()
    try:
        run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000_000


# OUT


def test_an_out_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", pairs(1))
    (tmp_path / "out.jsonl.partial").mkdir()

    with pytest.raises(BatchError, match=r"cannot write .*out\.jsonl"):
        run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")


def test_a_finished_out_is_replaced_by_the_same_command(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [*pairs(2), {}])
    for _ in range(2):
        run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert len(read(tmp_path / "out.jsonl")) == 2
    assert len(rejects(tmp_path / "out.jsonl")) == 1


# Interruptions


class Crash(BaseException):
    """The power fails."""


@dataclass
class Machine:
    """Fails before or after one of the next calls that make something last."""

    left: float = float("inf")

    def survive(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.survive()
            found = call(*arguments, **options)
            self.survive()
            return found

        return watched


@pytest.mark.parametrize("out", KINDS)
def test_after_a_crash_at_any_moment_the_same_command_leads_to_the_same_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    source = write(tmp_path / "in.jsonl", [*pairs(3), {"a": "bad"}, *pairs(2)])
    if out == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    target, machine = tmp_path / f"out{out}", Machine()
    monkeypatch.setattr(os, "fsync", machine.watch(lambda descriptor: None))
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, machine.watch(getattr(Path, name)))

    for moment in itertools.count():
        machine.left = moment
        try:
            run(Adder().job, source, target, chunk=2)
            break
        except Crash:
            machine.left = float("inf")
        partial = target.with_name(target.name + ".partial")
        if partial.exists() and target.with_name(target.name + ".progress").exists():
            _half_a_line_more(partial, moment)
        run(Adder().job, source, target, chunk=2)
        assert [(row["row"], row["total"]) for row in read(target)] == [(1, 1), (2, 2), (3, 3), (5, 1), (6, 2)]
        assert [row["row"] for row in rejects(target)] == [4]
        assert not partial.exists()
        assert not target.with_name(target.name + ".progress").exists()
        target.unlink()

    assert moment > 20


def _half_a_line_more(partial: Path, moment: int) -> None:
    """What a crash in the middle of writing leaves; not after the last row, where nothing is written any more."""
    progress = json.loads(partial.with_name(partial.name.replace(".partial", ".progress")).read_text())
    if moment % 2 and not progress["finished"]:
        with partial.open("ab") as file:
            file.write(b'{"row": 9')


def test_what_was_answered_is_not_answered_again(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", pairs(10))
    adder = Adder()

    def interrupt() -> None:
        if len(adder.asked) >= 6:
            raise KeyboardInterrupt

    adder.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(adder.job, source, tmp_path / "out.jsonl", chunk=3)
    adder.before = lambda: None
    run(adder.job, source, tmp_path / "out.jsonl", chunk=4)

    assert adder.asked == [float(number) for number in range(10)]
    assert [row["row"] for row in read(tmp_path / "out.jsonl")] == list(range(1, 11))


def interrupted(tmp_path: Path) -> tuple[Path, Path]:
    """IN and OUT of work of which the first two rows are done."""
    source, adder = write(tmp_path / "in.jsonl", pairs(6)), Adder()

    def interrupt() -> None:
        if adder.asked:
            raise KeyboardInterrupt

    adder.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(adder.job, source, tmp_path / "out.jsonl", chunk=2)
    return source, tmp_path / "out.jsonl"


def test_work_does_not_go_on_with_another_in_or_another_model(tmp_path: Path) -> None:
    source, out = interrupted(tmp_path)

    with pytest.raises(BatchError, match=r"another version of the model \(v1\); remove .*out\.jsonl\.progress"):
        run(Adder(version="v2").job, source, out)
    with source.open("a") as file:
        file.write('{"a": 7}\n')
    with pytest.raises(BatchError, match="begun with another IN"):
        run(Adder().job, source, out)


def test_work_that_was_lost_is_told_and_not_filled_with_zeros(tmp_path: Path) -> None:
    source, out = interrupted(tmp_path)
    (tmp_path / "out.jsonl.partial").unlink()

    with pytest.raises(BatchError, match=r"has lost what was in it: remove .*out\.jsonl\.progress"):
        run(Adder().job, source, out)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"colour": "red"}', "\0"])
def test_a_damaged_progress_is_told(tmp_path: Path, content: str) -> None:
    source, out = interrupted(tmp_path)
    (tmp_path / "out.jsonl.progress").write_text(content)

    with pytest.raises(BatchError, match=r"out\.jsonl\.progress cannot be read .*: remove it"):
        run(Adder().job, source, out)


def test_the_same_command_twice_at_once_is_noticed(tmp_path: Path) -> None:
    source, adder = write(tmp_path / "in.jsonl", pairs(6)), Adder()

    def other() -> None:
        with (tmp_path / "out.jsonl.partial").open("a") as file:
            file.write("{}\n")

    adder.before = other
    with pytest.raises(BatchError, match="does the same command run twice"):
        run(adder.job, source, tmp_path / "out.jsonl", chunk=2)


KILLED = """
import os, sys, time
from pathlib import Path
from pydantic import BaseModel
from bentos.batch import Job, main

class Number(BaseModel):
    a: int

def answer(rows):
    time.sleep(float(os.environ["SECONDS"]))
    return rows

sys.exit(main(Job(row=Number, load=lambda: ("v1", answer)), ["batch", "in.jsonl", "out.jsonl", "--chunk", "5"]))
"""


@pytest.mark.e2e
def test_work_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", [{"a": number} for number in range(500)])
    argv, environment = [sys.executable, "-c", KILLED], {**os.environ, "PYTHONPATH": str(ROOT)}

    running = subprocess.Popen(argv, cwd=tmp_path, env={**environment, "SECONDS": "0.05"}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "out.jsonl.progress").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = json.loads((tmp_path / "out.jsonl.progress").read_text())["rows"]
    assert 0 < done < 500

    said = subprocess.run(
        argv, cwd=tmp_path, env={**environment, "SECONDS": "0"}, capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "500 rows answered by version v1, 0 rejected: out.jsonl\n"
    assert [row["a"] for row in read(tmp_path / "out.jsonl")] == list(range(500))


# The command line, and what it cannot work on


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.jsonl", [*pairs(2), {}])

    code = main(Adder().job, ["batch", str(source), str(tmp_path / "out.jsonl"), "--chunk", "0"])

    assert code == 0
    assert capsys.readouterr().out == f"2 rows answered by version v1, 1 rejected: {tmp_path}/out.jsonl\n"


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Adder().job, ["batch", "nowhere.csv", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err == "error: nowhere.csv does not exist\n"


def test_a_batch_of_which_no_row_was_good_is_exit_code_1_with_the_commonest_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.csv", [{"a": "x", "id": 1}, {"a": 2, "id": 2}, {"a": 2, "id": 3}])

    assert main(Adder().job, ["batch", str(source), str(tmp_path / "out.jsonl"), "--chunk", "2"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("0 rows answered by version v1, 3 rejected: ")
    assert said.err.splitlines()[-1] == (
        f"error: all 3 rows were rejected, see {tmp_path}/out.jsonl.rejects.jsonl; "
        "the commonest reason: id: Extra inputs are not permitted"
    )


@pytest.mark.parametrize("ending", KINDS)
def test_in_and_out_may_have_names_that_are_no_utf_8(tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / f"in{ending}", pairs(2))
    odd = source.rename(tmp_path / os.fsdecode(b"in\xff" + ending.encode()))

    assert main(Adder().job, ["batch", str(odd), str(odd.with_name("\udcff" + ending))]) == 0
    assert main(Adder().job, ["batch", str(odd), str(odd.with_name("\udcff" + ending)), "--keep", "\udcff"]) == 2


@pytest.mark.parametrize("content", ["a\n", "a\nx\n1\n"])
def test_a_batch_without_rows_or_with_a_good_one_is_exit_code_0(tmp_path: Path, content: str) -> None:
    (tmp_path / "in.csv").write_text(content)

    assert main(Adder().job, ["batch", str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl")]) == 0


def test_the_exit_codes_are_told_where_help_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(Adder().job, ["batch", "--help"])

    assert re.findall(r"^  (\d+) ", capsys.readouterr().out, re.MULTILINE) == ["0", "1", "2", "130"]


@pytest.mark.parametrize("error", [ValueError("it has format 1; this code reads 2: train again"), OSError("no file")])
def test_a_model_that_this_code_cannot_read_is_two_lines_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def load() -> Any:
        raise error

    write(tmp_path / "in.jsonl", pairs(1))

    code = main(Job(row=Pair, load=load), ["batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")])

    first, second = capsys.readouterr().err.splitlines()
    assert (code, str(error) in first) == (2, True)
    assert second == "  fix: train it again (python -m training), or use the code that it was trained with"


def test_an_interrupt_says_how_to_go_on_and_is_exit_code_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    source = write(tmp_path / "in.jsonl", pairs(1))

    assert main(Adder(before=interrupt).job, ["batch", str(source), str(tmp_path / "out.csv")]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "out", "problem"),
    [
        ("none.csv", "out.csv", r"none\.csv does not exist"),
        ("in.txt", "out.csv", r"in\.txt must be a file that ends with"),
        ("folder", "out.csv", "folder must be a file that ends with"),
        ("in.jsonl", "out.txt", r"out\.txt must be a file that ends with"),
        ("in.jsonl", "folder.csv", r"folder\.csv must be a file that ends with"),
        ("in.jsonl", "new/out.csv", "new does not exist: make it first"),
        ("in.jsonl", "in.jsonl", "in.jsonl is the same file"),
    ],
)
def test_files_that_cannot_be_are_told_before_the_model_is_loaded(
    tmp_path: Path, source: str, out: str, problem: str
) -> None:
    for folder in ("folder", "folder.csv"):
        (tmp_path / folder).mkdir()
    for file in ("in.txt", "in.jsonl"):
        (tmp_path / file).touch()

    def load() -> Any:
        raise AssertionError("loaded")

    with pytest.raises(BatchError, match=problem):
        run(Job(row=Pair, load=load), tmp_path / source, tmp_path / out)


@pytest.mark.parametrize(
    "ending", ["", ".partial", ".rejects.jsonl", ".progress", ".progress.unfinished", ".unfinished"]
)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_in_is_no_file_that_is_written_by_whatever_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str, link: Callable[[Path, Path], None]
) -> None:
    source, out = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    link(source, out.with_name(out.name + ending))
    before = source.read_bytes()

    assert main(Adder().job, ["batch", str(source), str(out)]) == 2
    assert f"out.jsonl{ending} is the same file; give OUT another name" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_rejects_can_be_mended_and_asked_again_under_another_name_only(tmp_path: Path) -> None:
    source = write(tmp_path / "j.jsonl.rejects.jsonl", pairs(3))

    with pytest.raises(BatchError, match="IN would be overwritten"):
        run(Adder().job, source, tmp_path / "j.jsonl")
    assert run(Adder().job, source, tmp_path / "k.jsonl").rows == 3
    assert source.exists()


def test_parquet_without_pyarrow_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(tmp_path / "in.jsonl", pairs(1))

    with pytest.raises(BatchError, match="pip install pyarrow"):
        run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.parquet")


# Rows of another kind


def names(folder: Path) -> Iterator[Fields]:
    for file in sorted(folder.iterdir()):
        yield {"a": len(file.name)} if file.suffix == ".txt" else Unreadable("it is no text")


def test_a_service_may_read_what_it_likes(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.txt", "b.png", "long.txt"):
        (photos / name).touch()
    job = Job(row=Pair, load=Adder().load, folder=names)

    run(job, photos, tmp_path / "out.jsonl")

    assert [(row["row"], row["total"]) for row in read(tmp_path / "out.jsonl")] == [(1, 5), (3, 8)]
    assert rejects(tmp_path / "out.jsonl") == [{"row": 2, "reasons": [{"field": "", "message": "it is no text"}]}]


def test_a_service_may_read_the_rows_of_a_table_in_its_own_way(tmp_path: Path) -> None:
    def words(fields: Fields) -> Fields:
        return {"a": len(fields["words"].split())}

    (tmp_path / "in.jsonl").write_text('{"words": "one two"}\nno JSON\n')

    run(Job(row=Pair, load=Adder().load, read=words), tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert [row["total"] for row in read(tmp_path / "out.jsonl")] == [2]
    assert "is no JSON" in rejects(tmp_path / "out.jsonl")[0]["reasons"][0]["message"]


def test_a_row_is_known_in_the_rejects_by_what_the_service_shows(tmp_path: Path) -> None:
    job = Job(row=Pair, load=Adder().load, shown=("a",))
    write(tmp_path / "in.jsonl", [{"a": "x"}, {"b": 1}, {"a": 2}])

    run(job, tmp_path / "in.jsonl", tmp_path / "out.jsonl")

    assert [(row["row"], row["a"]) for row in rejects(tmp_path / "out.jsonl")] == [(1, "x"), (2, None)]
    assert "a" not in read(tmp_path / "out.jsonl")[0]


# Columns that are kept

KEPT: dict[str, Any] = {"id": "c-007", "note": None}


@pytest.mark.parametrize(("kind", "out"), list(itertools.product(KINDS, KINDS)))
def test_kept_columns_go_to_out_and_to_the_rejects_and_not_to_the_model(tmp_path: Path, kind: str, out: str) -> None:
    source = write(tmp_path / f"in{kind}", [{"a": 1.0, **KEPT}, {"a": 5000.0, **KEPT}, {"a": 3.0, **KEPT, "note": "x"}])

    done = run(Adder().job, source, tmp_path / f"out{out}", keep=["id", "note"])

    assert (done.rows, done.rejected) == (3, 1)
    rows = list(read_rows(tmp_path / f"out{out}"))
    assert [(row["id"], row["note"]) for row in rows] == [("c-007", None), ("c-007", "x")]
    (rejected,) = rejects(tmp_path / f"out{out}")
    assert list(rejected) == ["row", "id", "note", "reasons"]
    assert {name: rejected[name] for name in KEPT} == KEPT
    assert list(rows[0])[:3] == ["row", "id", "note"]


@pytest.mark.parametrize("cell", ["[7]", "[1,2]", "{", "007", "1e5", " x ", "\u00fc", "true", "a\nb"])
def test_a_kept_cell_of_a_csv_is_not_read_as_anything(tmp_path: Path, cell: str) -> None:
    source = write(tmp_path / "in.csv", [{"id": cell, "a": 1}])

    for out in KINDS:
        run(Adder().job, source, tmp_path / f"out{out}", keep=["id"])
        assert [row["id"] for row in read_rows(tmp_path / f"out{out}")] == [cell]


def test_kept_cells_of_other_types_are_written_as_json_has_them(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    cells = {
        "day": (date(2020, 2, 29), "2020-02-29"),
        "time": (datetime(2020, 2, 29, 12, tzinfo=UTC), "2020-02-29T12:00:00Z"),
        "number": (Decimal("1.50"), "1.50"),
        "large": (2**63 - 1, 2**63 - 1),
        "missing": (float("nan"), None),
        "data": (b"\xff", "_w=="),
        "map": ({"x": [1]}, {"x": [1]}),
    }
    row = {"a": 1.0, **{name: cell for name, (cell, _) in cells.items()}}
    pyarrow.write_table(pytest.importorskip("pyarrow").Table.from_pylist([row]), tmp_path / "in.parquet")

    run(Adder().job, tmp_path / "in.parquet", tmp_path / "out.jsonl", keep=list(cells))

    (found,) = read_rows(tmp_path / "out.jsonl")
    assert {name: found[name] for name in cells} == {name: written for name, (_, written) in cells.items()}


@pytest.mark.parametrize("ending", KINDS)
def test_kept_cells_of_json_may_differ_from_row_to_row(tmp_path: Path, ending: str) -> None:
    ids = [2**70, "x", 1.5, None, [1], {"a": {}}]
    source = write(tmp_path / "in.jsonl", [{"a": 1, "id": cell} for cell in ids])

    run(Adder().job, source, tmp_path / f"out{ending}", keep=["id"])

    found = [row["id"] for row in read_rows(tmp_path / f"out{ending}")]
    text = [str(2**70), "x", "1.5", None, "[1]", '{"a": {}}']
    assert found == (ids if ending == ".jsonl" else text)


def test_a_cell_that_cannot_be_copied_rejects_its_row(tmp_path: Path) -> None:
    deep = '{"a": 1, "id": ' + "[" * 500 + "]" * 500 + "}\n"
    (tmp_path / "in.jsonl").write_text(deep + '{"a": 2, "id": 2}\n')

    run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl", keep=["id"])

    assert [(row["row"], row["id"]) for row in read_rows(tmp_path / "out.jsonl")] == [(2, 2)]
    assert "nested too deeply" in rejects(tmp_path / "out.jsonl")[0]["reasons"][0]["message"]


def test_a_row_that_cannot_be_read_keeps_what_can(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"id,a,text\nc7,1,\xff\nc8,1\n")

    run(Adder().job, tmp_path / "in.csv", tmp_path / "out.jsonl", keep=["id"])

    assert [row["id"] for row in rejects(tmp_path / "out.jsonl")] == ["c7"]
    assert [row["id"] for row in read_rows(tmp_path / "out.jsonl")] == ["c8"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("keep", "problem"),
    [
        (["--keep", "id"], "--keep id: .* has no such column"),
        (["--keep", "b", "--keep", "id"], "--keep id: .* has no such column"),
        (["--keep", "total"], "--keep total: the answers have a total of their own"),
        (["--keep", "row"], "--keep row: the answers have a row of their own"),
        (["--keep", "reasons"], "--keep reasons: the answers have a reasons of their own"),
    ],
)
def test_a_column_that_cannot_be_kept_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, keep: list[str], problem: str
) -> None:
    source = write(tmp_path / f"in{kind}", [{"a": 1.0, "b": 1, "total": 2}])

    assert main(Adder().job, ["batch", str(source), str(tmp_path / "out.jsonl"), *keep]) == 2
    assert re.search(problem, capsys.readouterr().err)


def test_a_column_of_which_the_first_rows_have_nothing_may_be_kept(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,id\n1\n2,\n")
    (tmp_path / "in.jsonl").write_text('{"a": 1}\nno JSON\n{"a": 2, "id": 7}\n')
    (tmp_path / "empty.csv").write_text("a,id\n")

    assert run(Adder().job, tmp_path / "in.csv", tmp_path / "out.jsonl", keep=["id"]).rejected == 0
    assert run(Adder().job, tmp_path / "in.jsonl", tmp_path / "out.jsonl", keep=["id"]).rejected == 1
    assert run(Adder().job, tmp_path / "empty.csv", tmp_path / "out.jsonl", keep=["id"]).rows == 0


def test_work_does_not_go_on_with_other_columns_kept(tmp_path: Path) -> None:
    source, out = interrupted(tmp_path)

    with pytest.raises(BatchError, match=r"another --keep \(none\) .*; remove .*out\.jsonl\.progress"):
        run(Adder().job, source, out, keep=["b"])
    assert run(Adder().job, source, out).rows == 6


def test_out_may_not_lie_in_a_folder_that_is_read(tmp_path: Path) -> None:
    job = Job(row=Pair, load=Adder().load, folder=names)

    with pytest.raises(BatchError, match="lies inside of"):
        run(job, tmp_path, tmp_path / "out.jsonl")


def test_work_does_not_go_on_after_a_file_of_the_folder_was_changed(tmp_path: Path) -> None:
    inside = tmp_path / "photos/inside"
    inside.mkdir(parents=True)
    (inside / "a.txt").touch()
    before = batch._fingerprint(tmp_path / "photos")

    (inside / "a.txt").write_text("changed")

    assert batch._fingerprint(tmp_path / "photos") != before
