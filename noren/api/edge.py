"""What stands before the application: by which name it may be called, how much may be sent, and how slowly."""

import asyncio
import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noren.api.problems import problem

MOST_BYTES = 4 * 2**20  # of a body: a Locust file of 1 MB, and what JSON makes of its line breaks and umlauts
BODY_WITHIN_S = 10.0


class Edge:
    """Hands on whole requests alone: nothing behind it waits for a client, or keeps what never ends."""

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app, self._allowed = app, [host.encode() for host in allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if not self._knows(scope):
            return await _unknown_host(self._allowed)(scope, receive, send)
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                body = await _whole_body(scope, receive)
        except TimeoutError:
            return await _refusal(408, "the body of the request did not come in time", "send it at once")(
                scope, receive, send
            )
        except _TooLargeError:
            fix = "keep data out of the deployment file and the Locust file"
            return await _refusal(413, f"the body is larger than {MOST_BYTES} bytes", fix)(scope, receive, send)
        except _HungUpError:
            return None
        return await self._app(scope, _replayed(body, receive), send)

    def _knows(self, scope: Scope) -> bool:
        """Whether it is called by a name of ours.

        A page in a browser can make it call loopback under a name of the page's own (DNS rebinding).
        """
        if b"*" in self._allowed:
            return True
        named = [value for key, value in scope["headers"] if key == b"host"]
        return len(named) == 1 and re.sub(rb":[0-9]*\Z", b"", named[0]).lower() in self._allowed


class _TooLargeError(Exception):
    """The body is larger than allowed."""


class _HungUpError(Exception):
    """The client is gone, and nobody waits for an answer."""


async def _whole_body(scope: Scope, receive: Receive) -> bytes:
    declared = dict(scope["headers"]).get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > 9 or int(declared) > MOST_BYTES):
        raise _TooLargeError
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _HungUpError
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > MOST_BYTES:
            raise _TooLargeError
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body as one message, and then whatever comes: that the client has hung up."""
    kept: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return kept.pop() if kept else await receive()

    return next_message


def _unknown_host(allowed: Sequence[bytes]) -> Response:
    names = ", ".join(name.decode() for name in allowed)
    return _refusal(400, "the Host header names something else than this control plane", f"call it by one of: {names}")


def _refusal(status: int, detail: str, fix: str) -> Response:
    """With it the connection ends: what a client goes on sending is not read."""
    return problem(status, "SpecError", detail, fix, headers={"connection": "close"})
