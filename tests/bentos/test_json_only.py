"""What is no JSON, or too much of it, is refused before the service sees it."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bentos.json_only import JsonOnly, Message

LIMIT = 10


def parts(*bodies: bytes) -> list[Message]:
    """A body in that many messages."""
    last = len(bodies) - 1
    return [{"type": "http.request", "body": body, "more_body": i < last} for i, body in enumerate(bodies)]


class Asked:
    """A service behind the middleware, asked once: what it was told, and what the client was answered."""

    def __init__(self, messages: Iterable[Message], *, method: str = "POST", **headers: str) -> None:
        self.told: list[Message] = []
        self.answer: list[Message] = []
        self._messages = iter(messages)
        self.received = 0
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "headers": named}
        asyncio.run(JsonOnly(self._service, max_bytes=LIMIT)(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        self.received += 1
        return next(self._messages, {"type": "http.disconnect"})

    async def _send(self, message: Message) -> None:
        self.answer.append(message)

    async def _service(self, scope: Message, receive: Callable[[], Any], send: Any) -> None:
        while not self.told or self.told[-1]["type"] != "http.disconnect":
            self.told.append(await receive())

    @property
    def refusal(self) -> tuple[int, list[str]]:
        """Status, and the place of what is wrong. The service was told nothing."""
        assert not self.told
        detail = json.loads(self.answer[1]["body"])["detail"][0]
        assert detail["msg"]
        return self.answer[0]["status"], detail["loc"]


GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "bodies", [(b"",), (b"1234567890",), (b"12345", b"67890"), (b"", b"1", b"", b"2"), (b"1", b"")]
)
def test_a_body_up_to_the_limit_reaches_the_service_whole(bodies: tuple[bytes, ...]) -> None:
    asked = Asked(parts(*bodies))

    assert asked.told == [*parts(b"".join(bodies)), GONE]


def test_a_body_in_one_message_is_passed_on_as_it_is() -> None:
    (message,) = parts(b"{}")

    assert Asked([message]).told[0] is message


@pytest.mark.parametrize("bodies", [(b"12345678901",), (b"1234567890", b"1"), (b"1",) * 11, (b"", b"1" * 100)])
def test_a_longer_body_is_refused_also_without_a_length_or_with_a_wrong_one(bodies: tuple[bytes, ...]) -> None:
    assert Asked(parts(*bodies)).refusal == (413, ["body"])
    assert Asked(parts(*bodies), content_length="5").refusal == (413, ["body"])


def test_of_an_endless_body_no_more_is_read_than_the_limit() -> None:
    def endless() -> Iterable[Message]:
        while True:
            yield {"type": "http.request", "body": b" " * 3, "more_body": True}

    asked = Asked(endless())

    assert asked.refusal == (413, ["body"])
    assert asked.received == 4


def test_an_announced_length_is_refused_unread() -> None:
    asked = Asked(parts(b"x"), content_length="11")

    assert (asked.refusal, asked.received) == ((413, ["content-length"]), 0)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/json2", ""])
def test_another_content_type_is_refused_unread(kind: str) -> None:
    asked = Asked(parts(b"x"), content_type=kind)

    assert (asked.refusal, asked.received) == ((415, ["content-type"]), 0)


def test_a_client_that_hangs_up_midway_is_told_to_the_service() -> None:
    assert Asked([{"type": "http.request", "body": b"1", "more_body": True}, GONE]).told == [GONE]


def test_what_is_no_post_is_left_alone() -> None:
    long = parts(b"x" * 100)

    assert Asked(long, method="GET", content_type="text/plain").told == [*long, GONE]
