"""The inference log writes what it can, masks it, counts what it cannot, and never stands in the way."""

import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bentos import inference_log
from bentos.cache import digest
from bentos.inference_log import InferenceLog
from bentos.recommend.schema import RecommendRequest

ROOT = Path(__file__).resolve().parents[2]


class Answer(BaseModel):
    label: str
    score: float


@dataclass
class Drops:
    count: int = 0

    def dropped(self, count: int) -> None:
        self.count += count


@dataclass
class Memory:
    """A sink that can be held up, or broken."""

    writings: list[list[str]] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    broken: bool = False

    def __post_init__(self) -> None:
        self.free.set()

    def write(self, lines: list[str]) -> None:
        self.entered.set()
        self.free.wait(10)
        if self.broken:
            raise OSError("gone")
        self.writings.append(lines)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for lines in self.writings for line in lines]

    @property
    def noted(self) -> list[str]:
        return [record["output"]["n"] for record in self.records]


@pytest.fixture
def sink() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.free.set()


@pytest.fixture
def drops() -> Drops:
    return Drops()


@pytest.fixture
def log(sink: Memory, drops: Drops) -> InferenceLog:
    return InferenceLog(sink, version="v1", drops=drops)


def note(log: InferenceLog, number: int = 1, **output: Any) -> None:
    log.note(digest=f"{number}", output=output or {"n": str(number)}, latency_ms=1.0)


# What is written


def test_a_record_says_when_what_by_which_version_and_how_long(log: InferenceLog, sink: Memory) -> None:
    log.note(digest="abc", output=Answer(label="good", score=0.25), latency_ms=1.23456)
    log.flush()

    (record,) = sink.records
    at = datetime.fromisoformat(record.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert re.fullmatch("[0-9a-f]{64}", record.pop("input"))
    assert record == {
        "version": "v1",
        "output": {"label": "good", "score": 0.25},
        "latency_ms": 1.235,
    }


def test_personal_data_in_texts_are_masked(log: InferenceLog, sink: Memory) -> None:
    note(log, title="Dear Mr. Smith, write to a@b.cd or call 030 123456", price=123456)
    log.flush()

    assert sink.records[0]["output"] == {"title": "Dear Mr. <name>, write to <email> or call <number>", "price": 123456}


def test_ids_of_a_catalogue_stay(sink: Memory, drops: Drops) -> None:
    log = InferenceLog(sink, version="v1", drops=drops, catalogue={"id"})
    note(log, items=[{"id": "112852", "title": "Call 030 123456"}], user_id="112852")
    log.flush()

    output = {"items": [{"id": "112852", "title": "Call <number>"}], "user_id": "<masked>"}
    assert sink.records[0]["output"] == output


def test_equal_inputs_have_equal_digests(log: InferenceLog, sink: Memory) -> None:
    for number in (1, 2, 1):
        note(log, number)
    log.flush()

    one, two, again = (record["input"] for record in sink.records)
    assert one == again != two


def test_an_input_cannot_be_found_by_trying_all_that_there_may_be(log: InferenceLog, sink: Memory) -> None:
    log.note(digest=digest(RecommendRequest(user_id="196")), output={}, latency_ms=1.0)
    log.flush()

    tried = {digest(RecommendRequest(user_id=str(user))) for user in range(1, 944)}
    unkeyed = {hashlib.blake2b(each.encode(), digest_size=32).hexdigest() for each in tried}
    assert sink.records[0]["input"] not in tried | unkeyed


@pytest.mark.parametrize(("keys", "same"), [(("", ""), False), (("a", "b"), False), (("a" * 99, "a" * 99), True)])
def test_processes_agree_on_a_digest_if_they_have_one_key(
    keys: tuple[str, str], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops
) -> None:
    for key in keys:
        monkeypatch.setenv("INFERENCE_LOG_KEY", key)
        log = to_files(tmp_path, monkeypatch, drops)
        note(log)
        log.flush()

    one, other = (json.loads(line)["input"] for file in tmp_path.iterdir() for line in file.read_text().splitlines())
    assert (one == other) is same


def test_records_keep_their_order_and_those_that_wait_are_written_together(log: InferenceLog, sink: Memory) -> None:
    sink.free.clear()
    note(log, 0)
    assert sink.entered.wait(10)
    for number in range(1, 2000):
        note(log, number)
    sink.free.set()
    log.flush()

    assert sink.noted == [str(number) for number in range(2000)]
    assert len(sink.writings) <= 3


def test_an_output_that_is_no_json_is_lost_alone(log: InferenceLog, sink: Memory, drops: Drops) -> None:
    outputs: list[dict[str, object]] = [{"a": 1}, {"a": object()}, {"a": 2}]
    for number, output in enumerate(outputs):
        note(log, number, **output)
    log.flush()

    assert [record["output"] for record in sink.records] == [{"a": 1}, {"a": 2}]
    assert drops.count == 1


# What stands in nobody's way


def test_a_full_queue_drops_and_counts_and_does_not_wait(
    sink: Memory, drops: Drops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_log, "QUEUE", 5)
    log = InferenceLog(sink, version="v1", drops=drops)
    sink.free.clear()
    note(log, 0)
    assert sink.entered.wait(10)

    began = time.monotonic()
    for number in range(1, 1001):
        note(log, number)
    assert time.monotonic() - began < 1

    sink.free.set()
    log.flush()
    assert drops.count == 995
    assert sink.noted == ["0", "1", "2", "3", "4", "5"]


def test_a_broken_sink_drops_and_counts_and_may_recover(
    log: InferenceLog, sink: Memory, drops: Drops, caplog: pytest.LogCaptureFixture
) -> None:
    sink.broken = True
    note(log, 1)
    log.flush()
    sink.broken = False
    note(log, 2)
    log.flush()

    assert drops.count == 1
    assert sink.noted == ["2"]
    assert "1 records of the inference log are lost: gone" in caplog.messages


def test_a_counter_that_fails_does_not_end_the_log(sink: Memory) -> None:
    class Broken:
        def dropped(self, count: int) -> None:
            raise RuntimeError("no space left in the metrics folder")

    log = InferenceLog(sink, version="v1", drops=Broken())
    sink.broken = True
    note(log, 1)
    log.flush()
    sink.broken = False
    note(log, 2)
    log.flush()

    assert sink.noted == ["2"]


def test_many_threads_may_note(log: InferenceLog, sink: Memory) -> None:
    def note_many() -> None:
        for number in range(200):
            note(log, number)

    threads = [threading.Thread(target=note_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()

    assert len(sink.records) == 1600


def test_whoever_waits_may_lose_patience(log: InferenceLog, sink: Memory) -> None:
    sink.free.clear()
    note(log)

    log.flush(0.01)

    assert sink.writings == []


# Where it goes


@pytest.mark.parametrize("wanted", ["", "off", None])
def test_it_is_off_by_default(monkeypatch: pytest.MonkeyPatch, drops: Drops, wanted: str | None) -> None:
    monkeypatch.delenv("INFERENCE_LOG", raising=False)
    if wanted is not None:
        monkeypatch.setenv("INFERENCE_LOG", wanted)
    log = InferenceLog.from_environment("prices", version="v1", drops=drops)

    note(log)
    log.flush()

    assert not log.on
    assert log._thread is None


@pytest.mark.parametrize("wanted", ["on", "file", "file:", "mlflow", "mlflow:", "/var/log"])
def test_a_setting_that_says_nothing_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, drops: Drops, wanted: str
) -> None:
    monkeypatch.setenv("INFERENCE_LOG", wanted)

    with pytest.raises(SystemExit, match=r"INFERENCE_LOG must be off, file:FOLDER or mlflow:URI"):
        InferenceLog.from_environment("prices", version="v1", drops=drops)


def to_files(folder: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> InferenceLog:
    monkeypatch.setenv("INFERENCE_LOG", f"file:{folder}")
    return InferenceLog.from_environment("prices", version="v1", drops=drops)


def noted(folder: Path, pattern: str = "*") -> list[str]:
    """What was noted in all files of a folder."""
    lines = [line for file in sorted(folder.rglob(pattern)) for line in file.read_text().splitlines()]
    return [json.loads(line)["output"]["n"] for line in lines]


def test_a_file_of_the_process_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    log = to_files(tmp_path / "new/folder", monkeypatch, drops)
    for number in range(3):
        note(log, number)
    log.flush()

    assert noted(tmp_path / "new/folder") == ["0", "1", "2"]
    assert (tmp_path / f"new/folder/prices-{os.getpid()}.jsonl").exists()


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    log = to_files(tmp_path / "folder", monkeypatch, drops)
    (tmp_path / "folder").rmdir()
    note(log)
    log.flush()

    assert noted(tmp_path / "folder") == ["1"]


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    monkeypatch.chdir(tmp_path)
    log = to_files(Path("folder"), monkeypatch, drops)
    monkeypatch.chdir("/")
    note(log)
    log.flush()

    assert noted(tmp_path / "folder") == ["1"]


def test_a_long_file_is_put_aside_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    monkeypatch.setattr(inference_log, "FILE_BYTES", 10)
    log = to_files(tmp_path, monkeypatch, drops)
    for number in range(4):
        note(log, number)
        log.flush()

    name = f"prices-{os.getpid()}.jsonl"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.1"]
    assert noted(tmp_path) == ["3", "2"]


def test_a_full_disk_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    log = to_files(tmp_path, monkeypatch, drops)
    (tmp_path / f"prices-{os.getpid()}.jsonl").symlink_to("/dev/full")
    note(log)
    log.flush()

    assert drops.count == 1


def test_a_folder_that_cannot_be_made_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SystemExit, match=r"cannot write to .*file/folder: Not a directory"):
        to_files(tmp_path / "file/folder", monkeypatch, drops)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(SystemExit, match=r"cannot write to .*: Permission denied"):
        to_files(tmp_path, monkeypatch, drops)


# Processes: forks, ends

PROCESS = """
import os, sys, threading, time
from bentos import inference_log
from bentos.inference_log import InferenceLog

class Drops:
    count = 0
    def dropped(self, count):
        self.count += count

class Stuck:
    def write(self, lines):
        time.sleep(60)

def note(log, name):
    log.note(digest="same", output={"n": str(name)}, latency_ms=0)

drops = Drops()
"""


def run(script: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROCESS + script],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        cwd=environment.get("FOLDER"), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_noted_last_is_written_when_the_process_ends(tmp_path: Path) -> None:
    run(
        """
log = InferenceLog.from_environment("prices", version="v1", drops=drops)
for number in range(500):
    note(log, number)
""",
        INFERENCE_LOG=f"file:{tmp_path}",
    )

    assert noted(tmp_path) == [str(number) for number in range(500)]


def test_a_sink_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    said = run(
        """
import atexit
inference_log._LAST_WORDS_S = 0.1
log = InferenceLog(Stuck(), version="v1", drops=drops)
began = time.monotonic()
atexit.register(lambda: print(time.monotonic() - began))  # runs last
note(log, 1)
"""
    )

    assert 0.1 <= float(said) < 5


def test_processes_forked_after_it_was_made_each_write_their_own(tmp_path: Path) -> None:
    run(
        """
log = InferenceLog.from_environment("prices", version="v1", drops=drops)
children = []
for name in ("one", "two"):
    if (child := os.fork()) == 0:
        note(log, name)
        sys.exit()
    children.append(child)
note(log, "parent")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
""",
        INFERENCE_LOG=f"file:{tmp_path}",
    )

    assert sorted(noted(tmp_path)) == ["one", "parent", "two"]
    assert len({json.loads(file.read_text())["input"] for file in tmp_path.iterdir()}) == 3  # each has its own key
    assert len(list(tmp_path.iterdir())) == 3


def test_a_fork_while_it_is_busy_neither_hangs_nor_writes_twice(tmp_path: Path) -> None:
    run(
        """
log = InferenceLog.from_environment("prices", version="v1", drops=drops)
threading.Thread(target=lambda: [note(log, "parent") for _ in range(2000)]).start()
children = []
for _ in range(20):
    if (child := os.fork()) == 0:
        note(log, "child")
        log.flush(10)
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
""",
        INFERENCE_LOG=f"file:{tmp_path}",
    )

    found = noted(tmp_path)
    assert (found.count("parent"), found.count("child")) == (2000, 20)


def test_half_a_line_never_spoils_the_next_one(tmp_path: Path) -> None:
    said = run(
        """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # a disk of which 1,000 bytes are left
log = InferenceLog(inference_log._File(inference_log.Path(os.environ["FOLDER"]), "prices"), version="v1", drops=drops)
for number in range(100):
    note(log, number)
    log.flush()
print(drops.count)
""",
        FOLDER=str(tmp_path),
    )

    written = noted(tmp_path)
    assert len(written) > 3
    assert written == [str(number) for number in range(len(written))]
    assert int(said) == 100 - len(written)


# MLflow


def test_mlflow_that_is_not_installed_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch, drops: Drops) -> None:
    monkeypatch.setenv("INFERENCE_LOG", "mlflow:http://localhost:1")
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(SystemExit, match="add mlflow-skinny"):
        InferenceLog.from_environment("prices", version="v1", drops=drops)


NOTE_TWICE = """
log = InferenceLog.from_environment("prices", version="v1", drops=drops)
note(log, 1)
log.flush()
note(log, 2)  # is written at the end of the process
"""


@pytest.mark.e2e
def test_each_process_has_a_run_in_a_real_sqlite_store(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    for _ in range(2):
        run(NOTE_TWICE, INFERENCE_LOG=f"mlflow:{uri}", FOLDER=str(tmp_path))

    assert noted(tmp_path / "artifacts", "inference/*.jsonl") == ["1", "2"] * 2
    assert not (tmp_path / "mlruns").exists()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)] * 2
        assert ("prices",) in database.execute("select name from experiments").fetchall()


@pytest.mark.e2e
def test_a_folder_of_mlflow_works_where_mlflow_still_allows_one(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    store = tmp_path / "store"

    run(
        NOTE_TWICE,
        INFERENCE_LOG=f"mlflow:{store.as_uri()}",
        FOLDER=str(tmp_path),
        MLFLOW_ALLOW_FILE_STORE="true",
    )

    assert noted(store, "inference/*.jsonl") == ["1", "2"]


@pytest.mark.e2e
def test_a_server_of_mlflow_that_is_gone_costs_records_only(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")

    said = run(
        """
log = InferenceLog.from_environment("prices", version="v1", drops=drops)
began = time.monotonic()
note(log, 1)
print(time.monotonic() - began)
log.flush()
print(drops.count)
""",
        INFERENCE_LOG="mlflow:http://127.0.0.1:9",
        FOLDER=str(tmp_path),
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    )

    seconds, dropped = said.split()
    assert float(seconds) < 0.1
    assert dropped == "1"
