"""A whole answer, written in one piece to uvicorn's connection instead of in two ASGI messages.

uvicorn reads every header of every answer with two regular expressions and tells by them how the connection goes on.
For an answer that this server has made itself that is work for nothing.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_KNOWN = (
    *("self", "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers"),
    *("message_event", "expect_100_continue", "keep_alive", "on_response"),
)
_IS_KNOWN = tuple(inspect.signature(RequestResponseCycle.__init__).parameters) == _KNOWN  # of uvicorn 0.30 to 0.54
CLOSE = (b"connection", b"close")
_SMALL = 1 << 16  # bytes of a body that is worth copying behind its head


def write(send: Any, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the answer has been written; if not, it has to go the way of ASGI.

    send      as uvicorn gave it
    headers   well-formed, without a length, and with nothing of the connection but CLOSE
    """
    cycle = getattr(send, "__self__", None)
    if not (_IS_KNOWN and type(cycle) is RequestResponseCycle and len(body) <= _SMALL):
        return False
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or not cycle.keep_alive:
        return False
    if cycle.access_log or cycle.scope["method"] == "HEAD" or CLOSE in headers:
        return False
    if CLOSE in cycle.scope["headers"]:  # which an older uvicorn looks at only now
        return False
    lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (STATUS_LINE[status], b"".join(lines), len(body), body))
    cycle.message_event.set()
    cycle.on_response()
    return True
