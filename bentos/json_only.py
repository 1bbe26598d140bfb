"""Refuses bodies that are not JSON, before BentoML tries to guess what they are.

BentoML parses forms and unknown types too, and answers 500 to some that are malformed.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class JsonOnly:
    """ASGI middleware: 415 for a POST of another content type, 413 for one longer than `max_bytes`.

    A request without a content type counts as JSON, as it does for BentoML.
    """

    def __init__(self, app: App, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer here, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = dict(scope["headers"])  # names are lower-case bytes (ASGI specification)
            kind = headers.get(b"content-type", b"application/json").split(b";")[0].strip().lower()
            if kind != b"application/json":
                problem = f"content-type must be application/json, not {kind.decode('latin-1')!r}"
                return await _refuse(send, 415, "header", "content-type", problem)
            length = headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > self._max_bytes:
                problem = f"the body has {int(length):,} bytes; at most {self._max_bytes:,} are accepted"
                return await _refuse(send, 413, "header", "content-length", problem)
            # Counted all the same: a body in chunks announces no length.
            whole = await _whole(receive, self._max_bytes)
            if whole is None:
                problem = f"the body has more than the {self._max_bytes:,} bytes that are accepted"
                return await _refuse(send, 413, "body", "body", problem)
            receive = whole
        return await self._app(scope, receive, send)


async def _whole(receive: Receive, limit: int) -> Receive | None:
    """`receive` with the body in one message, as most bodies come anyway; None when it is longer than the limit."""
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        body = bytearray(body)
        while message.get("more_body") and len(body) <= limit:
            message = await receive()
            body += message.get("body", b"")
    if len(body) > limit:
        return None
    if isinstance(body, bytearray) and message["type"] == "http.request":  # and not a client that hung up
        message = {"type": "http.request", "body": bytes(body), "more_body": False}
    waiting = [message]

    async def whole() -> Message:
        return waiting.pop() if waiting else await receive()  # what the service has taken is not kept here, too

    return whole


async def _refuse(send: Send, status: int, kind: str, place: str, problem: str) -> None:
    """Answer in the shape of BentoML's own validation errors."""
    content = {"error": problem, "detail": [{"type": kind, "loc": [place], "msg": problem}]}
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
