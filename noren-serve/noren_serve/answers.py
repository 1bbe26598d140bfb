"""Answers that this server gives by itself, in the words of BentoML where BentoML has some."""

import json
import logging
from typing import Any

from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from noren_serve.batching import Overloaded

logger = logging.getLogger("bentoml.serve")
UNEXPECTED = "An unexpected error has occurred, please check the server log."
Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json")


def problem(error: Exception, scope: Any) -> tuple[int, Any, Headers]:
    """Status, JSON content and extra headers for what an endpoint raised; logged as it deserves."""
    if isinstance(error, Overloaded):
        return 503, {"error": str(error)}, retry_after(error.retry_after_s)
    if isinstance(error, ValidationError):
        _log_refused(scope, 400, f"{error.error_count()} validation error for {error.title}")
        detail = error.errors(include_context=False, include_input=False)
        return 400, {"error": f"{error.error_count()} validation error for {error.title}", "detail": detail}, []
    if isinstance(error, BrokenJson):
        _log_refused(scope, 400, str(error))
        return 400, {"error": "1 validation error: the body is not JSON", "detail": [error.detail()]}, []
    logger.error("Exception on %s [%s]", scope["path"], scope["method"], exc_info=error)
    if isinstance(error, BentoMLException):
        status = error.error_code.value
        if status in (401, 403):
            return status, {"error": "Authorization error"}, []
        if status < 500:
            return status, [{"error": str(error)}], []  # a list, as BentoML has it
        return status, {"error": UNEXPECTED}, []
    return 500, {"error": UNEXPECTED}, []


class BrokenJson(Exception):  # noqa: N818  it is what the caller sent
    """A body that is no JSON. BentoML answers 500 to some of these; it is the caller's mistake."""

    def detail(self) -> dict[str, Any]:
        """In the shape of a validation error of pydantic."""
        return {"type": "json_invalid", "loc": [], "msg": f"Invalid JSON: {self}"}


def retry_after(seconds: int) -> Headers:
    """The header that tells when to come again (RFC 9110, 10.2.3)."""
    return [(b"retry-after", str(seconds).encode())]


def encode(content: Any) -> bytes:
    """JSON as Starlette writes it."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def send_body(send: Any, status: int, body: bytes, headers: Headers) -> None:
    """Send one whole answer by ASGI."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _log_refused(scope: Any, status: int, why: str) -> None:
    # One line and no traceback: a client that errs must not fill the log.
    logger.warning("%d on %s [%s]: %s", status, scope["path"], scope["method"], why)
