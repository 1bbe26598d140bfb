"""What a service answered, written down beside the work: input digest, output, version, latency.

INFERENCE_LOG   off (default)
                file:FOLDER    lines of JSON in FOLDER/<service>-<process id>.jsonl
                mlflow:URI     the same lines as artifacts of a run of the experiment <service>; needs mlflow-skinny,
                               and mlflow for a URI that is no server's
INFERENCE_LOG_KEY   key of the inputs' digests, the same for all processes and as secret as a password; without it each
                process has a random one

A full queue or a broken disk drops records, and counts them; it never delays or fails a request. Inputs are not
written, only a digest with that key: who does not have it cannot find an input by trying all that there may be. Equal
inputs have equal digests within one process, or under one INFERENCE_LOG_KEY. Texts in outputs are masked (masking.py).
"""

import atexit
import errno
import hashlib
import json
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from bentos.masking import mask

QUEUE = 2_000  # records that wait to be written, with the answers that they hold
FILE_BYTES = 64 * 1024 * 1024  # then the file is put aside as .1, and the one before it is gone
_FILE_EVERY_S = 0.1  # what comes meanwhile is written together
_MLFLOW_EVERY_S = 2.0
_LAST_WORDS_S = 2.0  # how long the end of the process waits for what is not written yet

_LOG = logging.getLogger(__name__)


class Drops(Protocol):
    """Where lost records are counted."""

    def dropped(self, count: int) -> None:
        """Count records that were not written."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, lines: list[str]) -> None:
        """Write them. Any exception means that they are lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    at: datetime
    digest: str
    output: BaseModel | Mapping[str, Any]
    latency_ms: float


class InferenceLog:
    """The log of one worker. Its thread begins with the first record, in each process anew.

    catalogue   fields of the output with ids of ours, never of people: their values are not masked
    key         of the digests; empty: a random one
    pause_s     how long the thread rests after writing
    """

    def __init__(
        self,
        sink: Sink | None,
        *,
        version: str,
        drops: Drops,
        catalogue: Collection[str] = (),
        key: str = "",
        pause_s: float = 0.0,
    ) -> None:
        self._sink, self._version, self._drops, self._pause_s = sink, version, drops, pause_s
        self._catalogue, self._wanted_key = catalogue, key
        self._begin()
        if sink is not None:
            os.register_at_fork(after_in_child=self._begin)

    @classmethod
    def from_environment(
        cls, service: str, *, version: str, drops: Drops, catalogue: Collection[str] = ()
    ) -> "InferenceLog":
        """As INFERENCE_LOG asks. Raises SystemExit with what is wrong with it."""
        sink = _sink(os.environ.get("INFERENCE_LOG") or "off", service)
        pause_s = _MLFLOW_EVERY_S if isinstance(sink, _MLflow) else _FILE_EVERY_S
        key = os.environ.get("INFERENCE_LOG_KEY", "")
        return cls(sink, version=version, drops=drops, catalogue=catalogue, key=key, pause_s=pause_s)

    @property
    def on(self) -> bool:
        """Whether anything is written at all. Who has to work for a digest may ask first."""
        return self._sink is not None

    def note(self, *, digest: str, output: BaseModel | Mapping[str, Any], latency_ms: float) -> None:
        """Write down an answer, later.

        digest   what identifies the input; it is written with the key only
        """
        if not self.on:
            return
        if self._thread is None:
            self._start()
        try:
            self._queue.put_nowait(_Record(at=datetime.now(UTC), digest=digest, output=output, latency_ms=latency_ms))
        except queue.Full:
            with suppress(Exception):  # a counter that fails fails no request
                self._drops.dropped(1)

    def flush(self, patience_s: float | None = None) -> None:
        """Wait until what was noted so far is written or lost, but no longer than `patience_s`."""
        done = self._queue.all_tasks_done
        with done:
            done.wait_for(lambda: not self._queue.unfinished_tasks, patience_s)

    def _begin(self) -> None:
        # A forked process has neither the thread nor the right to what its parent is about to write, and any lock may
        # have been held.
        wanted = os.fsencode(self._wanted_key)
        self._key = hashlib.blake2b(wanted).digest() if wanted else secrets.token_bytes(64)
        self._queue: queue.Queue[_Record] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ending = threading.Event()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._write_forever, name="inference-log", daemon=True)
                with suppress(RuntimeError):  # no thread to be had: the queue fills, and that is counted
                    thread.start()
                    self._thread = thread
                    atexit.register(self._end)

    def _end(self) -> None:
        self._ending.set()
        self.flush(_LAST_WORDS_S)

    def _write_forever(self) -> None:
        while True:
            records = [self._queue.get()]
            while len(records) < QUEUE and not self._queue.empty():
                records.append(self._queue.get_nowait())
            with suppress(Exception):  # not even a counter that fails may end this thread
                self._write(records)
            for _ in records:
                self._queue.task_done()
            del records  # the last answers of a busy hour need no memory in a quiet one
            self._ending.wait(self._pause_s)

    def _write(self, records: Sequence[_Record]) -> None:
        assert self._sink
        lines = [line for line in map(self._line, records) if line is not None]
        lost = len(records) - len(lines)
        try:
            if lines:
                self._sink.write(lines)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on
            lost = len(records)
            _LOG.warning("%d records of the inference log are lost: %s", lost, error)
        if lost:
            self._drops.dropped(lost)

    def _line(self, record: _Record) -> str | None:
        """The record as JSON; None if its output is not made for it."""
        time.sleep(0)  # a request that waits for the interpreter goes first
        output = record.output
        try:
            fields = output.model_dump(mode="json") if isinstance(output, BaseModel) else dict(output)
            return json.dumps(
                {
                    "at": record.at.isoformat(timespec="milliseconds"),
                    "version": self._version,
                    "input": hashlib.blake2b(record.digest.encode(), key=self._key, digest_size=32).hexdigest(),
                    "output": mask(fields, catalogue=self._catalogue),
                    "latency_ms": round(record.latency_ms, 3),
                }
            )
        except Exception as error:  # noqa: BLE001 - the records beside it are written
            _LOG.warning("a record of the inference log is lost: %s", error)
            return None


def _sink(wanted: str, service: str) -> Sink | None:
    kind, _, where = wanted.partition(":")
    match kind:
        case "off":
            return None
        case "file" if where:
            return _File(Path(where), service)
        case "mlflow" if where:
            return _MLflow(where, service)
    raise SystemExit(f"INFERENCE_LOG must be off, file:FOLDER or mlflow:URI, not {wanted!r}")


class _File:
    """Lines in a file of this process. Files of processes that ended stay."""

    def __init__(self, folder: Path, service: str) -> None:
        self._folder, self._service = folder.absolute(), service
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"INFERENCE_LOG: cannot write to {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SystemExit(f"INFERENCE_LOG: cannot write to {folder}: {os.strerror(errno.EACCES)}")

    def write(self, lines: list[str]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up
        path = self._folder / f"{self._service}-{os.getpid()}.jsonl"
        if path.exists() and path.stat().st_size > FILE_BYTES:
            path.replace(path.with_suffix(".jsonl.1"))
        text = "".join(line + "\n" for line in lines).encode()
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(text) != len(text):  # half a line would spoil the next one, too
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _MLflow:
    """Lines as artifacts of one run of this process."""

    def __init__(self, uri: str, service: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise SystemExit("INFERENCE_LOG names MLflow: add mlflow-skinny to bentofile.yaml") from None
        self._open: Any = MlflowClient
        self._uri, self._service = uri, service
        self._process = self._written = 0

    def write(self, lines: list[str]) -> None:
        if self._process != os.getpid():  # not when it is made: an open database does not survive a fork
            self._begin_run()
        self._written += 1
        self._client.log_text(self._run, "\n".join(lines) + "\n", f"inference/{self._written:06}.jsonl")

    def _begin_run(self) -> None:
        self._client = self._open(tracking_uri=self._uri)
        self._run = self._client.create_run(self._experiment(), run_name=f"inference-{os.getpid()}").info.run_id
        # Nobody ends it when the process is killed, and artifacts may still be added.
        self._client.set_terminated(self._run)
        self._process, self._written = os.getpid(), 0

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._service)
        if found is None:
            with suppress(Exception):  # another worker was quicker
                self._client.create_experiment(self._service, artifact_location=_beside(self._uri))
            found = self._client.get_experiment_by_name(self._service)
        return str(found.experiment_id)


def _beside(uri: str) -> str | None:
    """Where the artifacts of a SQLite store lie. Left alone, MLflow would put them into ./mlruns."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()
