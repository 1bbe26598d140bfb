"""Errors as RFC 9457 problem details (application/problem+json)."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from noren.domain.errors import Conflict, DriverError, DriverUnavailable, NorenError, NotFound, SpecError

_STATUS = {SpecError: 422, NotFound: 404, Conflict: 409, DriverUnavailable: 503, DriverError: 500}
MEDIA_TYPE = "application/problem+json"


def install(app: FastAPI) -> None:
    """Answer every error with problem details."""
    app.add_exception_handler(NorenError, _noren)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(Exception, _unexpected)


def problem(status: int, kind: str, detail: str, fix: str) -> JSONResponse:
    """One problem: `detail` says what is wrong, `fix` what to do next."""
    document = {"type": f"noren:{kind}", "title": kind, "status": status, "detail": detail, "fix": fix}
    return JSONResponse(document, status, media_type=MEDIA_TYPE)


def _noren(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NorenError)
    kind = next(kind for kind in (DriverUnavailable, *_STATUS) if isinstance(error, kind))
    return problem(_STATUS[kind], kind.__name__, error.problem, error.fix)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return problem(422, "SpecError", wrong, "see /docs for what this address takes")


def _no_such_address(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = "NotFound" if error.status_code == 404 else "SpecError"
    return problem(error.status_code, kind, error.detail, "see /docs for the addresses that there are")


def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    structlog.get_logger().error("request", exc_info=error)
    return problem(500, "Fault", "a fault in Noren, not in your request", "see logs/server.log in the Noren home")
