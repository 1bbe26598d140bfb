"""Errors as RFC 9457 problem details (application/problem+json)."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError

_STATUS = {SpecError: 422, NotFound: 404, Conflict: 409, DriverUnavailable: 503, DriverError: 500}
MEDIA_TYPE = "application/problem+json"
_MOST_MISTAKES, _LONGEST = 20, 4000  # that a person reads of one answer
_FIXES = {
    400: "send one JSON document in UTF-8; /docs has what this address takes",
    405: "see the Allow header, or /docs",
}
_TEXTS = {field: {"type": "string"} for field in ("type", "title", "detail", "fix")}
# For FastAPI: what any address may answer with, instead of the 422 that it would make up.
DESCRIBED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What is wrong, and what to do next (RFC 9457)",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "properties": {**_TEXTS, "status": {"type": "integer"}},
                    "required": [*_TEXTS, "status"],
                }
            }
        },
    }
}


def install(app: FastAPI) -> None:
    """Answer every error with problem details."""
    app.add_exception_handler(NorenError, _noren)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(Exception, _unexpected)


def problem(status: int, kind: str, detail: str, fix: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """One problem: `detail` says what is wrong, `fix` what to do next."""
    said = {"detail": _sendable(detail), "fix": _sendable(fix)}
    document = {"type": f"noren:{kind}", "title": kind, "status": status, **said}
    return JSONResponse(document, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _sendable(said: str) -> str:
    """It may quote what was sent: a megabyte, or half a character, which is no UTF-8."""
    text = said.encode(errors="replace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _noren(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NorenError)
    kind = next(kind for kind in (DriverUnavailable, *_STATUS) if isinstance(error, kind))
    return problem(_STATUS[kind], kind.__name__, error.problem, error.fix)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:_MOST_MISTAKES])
    return problem(422, "SpecError", wrong, "see /docs for what this address takes")


def _no_such_address(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = "NotFound" if error.status_code == 404 else "SpecError"
    fix = _FIXES.get(error.status_code, "see /docs for the addresses that there are")
    return problem(error.status_code, kind, error.detail, fix, error.headers)


def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    structlog.get_logger().error("request", exc_info=error)
    return problem(500, "Fault", "a fault in Noren, not in your request", "see logs/server.log in the Noren home")
