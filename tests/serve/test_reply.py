"""A whole answer in one piece is, byte by byte, the one that uvicorn writes in two."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from noren_serve import answers, reply
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEADERS = [(b"content-type", b"application/json"), (b"server", b"BentoML Service/shop"), (b"retry-after", b"1")]


class Connection:
    """Keeps what is written."""

    def __init__(
        self, *, method: str = "POST", keep_alive: bool = True, access_log: bool = False, asked: Any = ()
    ) -> None:
        self.written, self.responses = b"", 0
        logger = logging.getLogger("test")
        flow: Any = SimpleNamespace(write_paused=False, resume_reading=lambda: None)
        transport: Any = SimpleNamespace(write=self._write, close=lambda: None, is_closing=lambda: False)
        scope: Any = {"method": method, "path": "/say", "http_version": "1.1", "query_string": b"", "client": None}
        scope["headers"] = list(asked)
        self.cycle = RequestResponseCycle(
            scope, transport, flow, logger, logger, access_log, [(b"date", b"today")],
            asyncio.Event(), True, keep_alive, self._responded,
        )  # fmt: skip

    def _write(self, data: bytes) -> None:
        self.written += data

    def _responded(self) -> None:
        self.responses += 1

    @property
    def state(self) -> tuple[Any, ...]:
        cycle = self.cycle
        waiting = cycle.waiting_for_100_continue
        return cycle.response_started, cycle.response_complete, waiting, cycle.message_event.is_set(), self.responses


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest.mark.parametrize("body", [b"", b'{"text": "moin"}', b"x" * (1 << 16)])
def test_the_bytes_and_what_is_left_behind_are_those_of_uvicorn(status: int, body: bytes) -> None:
    ours, theirs = Connection(), Connection()

    assert reply.write(ours.cycle.send, status, body, HEADERS)
    asyncio.run(answers.send_body(theirs.cycle.send, status, body, list(HEADERS)))

    assert ours.written == theirs.written
    assert ours.state == theirs.state == (True, True, False, True, 1)


@pytest.mark.parametrize("settings", [
    {"method": "HEAD"},
    {"keep_alive": False},
    {"access_log": True},
    {"asked": [reply.CLOSE]},
])  # fmt: skip
def test_what_says_how_the_connection_goes_on_is_left_to_uvicorn(settings: dict[str, Any]) -> None:
    connection = Connection(**settings)
    assert not reply.write(connection.cycle.send, 200, b"moin", HEADERS)
    assert connection.written == b""


def test_so_is_an_answer_after_which_it_is_closed_and_a_large_one() -> None:
    connection = Connection()
    assert not reply.write(connection.cycle.send, 413, b"moin", [*HEADERS, reply.CLOSE])
    assert not reply.write(connection.cycle.send, 200, b"x" * ((1 << 16) + 1), HEADERS)
    assert connection.written == b""


@pytest.mark.parametrize("state", ["disconnected", "response_started"])
def test_so_is_one_that_has_begun_or_whose_client_has_gone(state: str) -> None:
    connection = Connection()
    setattr(connection.cycle, state, True)
    assert not reply.write(connection.cycle.send, 200, b"moin", HEADERS)


def test_so_is_one_for_a_client_who_reads_too_slowly() -> None:
    connection = Connection()
    connection.cycle.flow.write_paused = True
    assert not reply.write(connection.cycle.send, 200, b"moin", HEADERS)


def test_another_server_or_a_middleware_gets_asgi_messages() -> None:
    async def send(message: Any) -> None:
        raise AssertionError(message)

    assert not reply.write(send, 200, b"moin", HEADERS)


def test_the_uvicorn_of_the_lock_is_one_that_is_known() -> None:
    assert reply._IS_KNOWN
