"""Rules of the access log: one valid JSON object a line, whatever comes, and never a reason to fail."""

import asyncio
import contextlib
import io
import json
import os
import re
from collections.abc import Callable
from typing import Any

import noren_serve.access_log
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noren_serve.access_log import AccessLog

SIZES, IDS = (2, 3), ("id", "")

hostile = st.one_of(
    st.text(),
    st.text(alphabet='"\\\n\r\t\x00\x1b\x7f\u2028é😀\ud800{},:'),
    st.sampled_from(["", '","status":200,"x":"', "x\n{}", "a" * 100_000, "\\", "%0a", "</script>"]),
)


class Counted(io.StringIO):
    """A file that counts how often it is written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def scope(path: str = "/say", client: str = "10.0.0.1", method: str = "POST") -> dict[str, Any]:
    return {"type": "http", "path": path, "client": (client, 1234), "method": method}


def logged(write: Callable[[AccessLog], None], skip: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What is in the log after one turn of the event loop."""
    out = Counted()

    async def turn() -> None:
        write(AccessLog(skip, out))
        await asyncio.sleep(0)

    asyncio.run(turn())
    text = out.getvalue()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_a_line_says_who_asked_for_what_and_what_came_of_it() -> None:
    (line,) = logged(
        lambda log: log.write(scope(), 200, 0.0123456, (10, 20), ("abc", "4bf92f3577b34da6a3ce929d0e0e4736"))
    )

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "client": "10.0.0.1",
        "method": "POST",
        "path": "/say",
        "status": 200,
        "ms": 12.346,
        "request_bytes": 10,
        "response_bytes": 20,
        "request_id": "abc",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }


def test_who_has_no_trace_and_no_address_is_logged_too() -> None:
    (line,) = logged(lambda log: log.write({**scope(), "client": None}, 499, 0, (0, 0), IDS))

    assert line["client"] == ""
    assert "trace_id" not in line


@given(hostile, hostile, hostile, hostile)
def test_hostile_text_stays_inside_its_own_string(path: str, client: str, request_id: str, trace_id: str) -> None:
    def write(log: AccessLog) -> None:
        for _ in range(2):  # a path that was seen before is remembered
            log.write(scope("/" + path, client), 200, 0.001, SIZES, (request_id, trace_id))

    lines = logged(write)

    assert len(lines) == 2
    for line in lines:
        assert line["path"] == "/" + path
        assert line["client"] == client
        assert line["request_id"] == request_id
        assert line.get("trace_id", "") == trace_id
        assert line["status"] == 200


def test_what_a_client_calls_does_not_fill_the_memory() -> None:
    log = AccessLog((), io.StringIO())

    async def turn() -> None:
        for number in range(1000):
            log.write(scope(f"/{number}") | {"client": (f"10.0.{number}", 1)}, 404, 0, SIZES, (f"/{number}", ""))
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert len(log._paths) <= 64
    assert len(log._clients) <= 64
    assert log._lines == []


def test_paths_to_skip_are_skipped_with_all_below_them() -> None:
    def write(log: AccessLog) -> None:
        for path in ("/metrics", "/livez/deep", "/say", "/"):
            log.write(scope(path), 200, 0, SIZES, IDS)

    assert [line["path"] for line in logged(write, skip=("/metrics", "/livez"))] == ["/say", "/"]


def test_the_lines_of_one_turn_of_the_loop_are_written_at_once_and_those_soon_after_them_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noren_serve.access_log, "_EVERY_S", 60)  # "soon" also on a busy machine
    out = Counted()

    async def turns() -> None:
        log = AccessLog((), out)
        for _ in range(3):
            for _ in range(10):
                log.write(scope(), 200, 0, SIZES, IDS)
            await asyncio.sleep(0)
        assert out.writes == 1
        assert out.getvalue().count("\n") == 10
        log.flush()  # what the timer does

    asyncio.run(turns())
    assert out.writes == 2
    assert out.getvalue().count("\n") == 30


def closed_file() -> io.TextIOBase:
    out = io.StringIO()
    out.close()
    return out


def broken_pipe() -> io.TextIOBase:
    read, write = os.pipe()
    os.close(read)
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(write, "w")), encoding="utf-8")


def ascii_only() -> io.TextIOBase:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


@pytest.mark.parametrize("out", [closed_file, broken_pipe, ascii_only])
def test_a_log_that_cannot_be_written_disturbs_nobody(out: Callable[[], Any]) -> None:
    failures: list[Any] = []

    async def turns() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        log = AccessLog((), file)
        for _ in range(3):
            log.write(scope("/é"), 200, 0, SIZES, IDS)
            log.flush()
        assert log._lines == []

    file = out()
    asyncio.run(turns())
    assert failures == []
    with contextlib.suppress(OSError):
        file.close()
