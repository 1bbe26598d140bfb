"""The body of a request, whole."""

from typing import Any


class TooLarge(Exception):  # noqa: N818
    """The body is larger than allowed."""


class HungUp(Exception):  # noqa: N818
    """The client went away before its request was whole."""


async def read(receive: Any, limit: int) -> bytes:
    """Read it to its end. Raises TooLarge beyond `limit` bytes (0: no limit), HungUp."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if limit and len(body) > limit:
        raise TooLarge
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if limit and size > limit:
                raise TooLarge
        body = b"".join(parts)  # once: adding each to the last would copy the whole every time
    if message["type"] == "http.disconnect":
        raise HungUp
    return body
