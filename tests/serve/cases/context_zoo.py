"""Requests to context_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

SHOP, STRANGER = {"origin": "http://shop.test"}, {"origin": "http://stranger.test"}
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

TWICE = (
    b"POST /asked_async HTTP/1.1\r\nHost: zoo.test\r\nConnection: close\r\nContent-Length: 13\r\n"
    b"Content-Type: application/json\r\nContent-Type: multipart/form-data; boundary=b"
)
CASES: Cases = {
    "the request": {"path": "/asked?a=1&b=%C3%BC&a=2", "json": {}, "headers": {"cookie": "k=v; l=w", "x-token": "t"}},
    "the request's links": {"path": "/linked", "json": {}},
    "the request's links by form": {"path": "/linked", "form": {"n": "1"}},
    "two content types": {"path": "", "raw": [TWICE + b"\r\n\r\n" + b'{"word": "x"}']},
    "the request async": {"path": "/asked_async", "json": {"word": "x"}},
    "the request unannotated": {"path": "/unannotated", "json": {"n": 3}},
    "the context is no input": {"path": "/unannotated", "json": {"n": 3, "ctx": 1}},
    "the response": {"path": "/answered", "json": {}},
    "the response with a status": {"path": "/answered", "json": {"status": 404}},
    "the response with a wrong input": {"path": "/answered", "json": {"status": "x"}},
    "headers replaced": {"path": "/own_type", "json": {}},
    "state": [{"path": "/stateful", "json": {}}, {"path": "/stateful", "json": {}}],
    "a context that is held": {"path": "/held", "json": {}},
    "a folder for each request": {"path": "/request_state", "json": {}},
    "server_context": {"path": "/whereabouts", "json": {}},
    "background tasks": [
        {"path": "/background", "json": {}},
        {"path": "/afterwards", "json": {}, "until": "done"},
    ],
    "the request by form": {"path": "/asked?a=1", "form": {"n": "1"}, "headers": {"cookie": "k=v"}},
    "the request async by form": {"path": "/asked_async", "form": {"word": "x"}},
    "the response by form": {"path": "/answered", "form": {"status": "404"}},
    "the response by form with a wrong input": {"path": "/answered", "form": {"status": "x"}},
    "a folder for each form": {"path": "/request_state", "parts": [("n", None, b"1", None)]},
    "background tasks by form": [
        {"path": "/background", "form": {"n": "1"}},
        {"path": "/afterwards", "form": {"n": "1"}, "until": "done"},
    ],
    "form of unusual case": {
        "path": "/asked_async",
        "body": b"word=x",
        "headers": {"content-type": "Application/X-WWW-Form-URLencoded"},
    },
    "cors of a form": {"path": "/answered", "form": {"status": "201"}, "headers": SHOP},
    "trace given": {"path": "/held", "json": {}, "headers": TRACE},
    "trace broken": {"path": "/held", "json": {}, "headers": {"traceparent": "nonsense"}},
    "middleware answers": {"path": "/stamped", "json": {}},
    "middleware on livez": {"path": "/livez", "method": "GET"},
    "middleware on an unknown path": {"path": "/nope", "method": "GET"},
    "middleware on a wrong method": {"path": "/held", "method": "GET"},
    "cors simple": {"path": "/held", "json": {}, "headers": SHOP},
    "cors simple with cookie": {"path": "/answered", "json": {}, "headers": {**SHOP, "cookie": "a=b"}},
    "cors stranger": {"path": "/held", "json": {}, "headers": STRANGER},
    "cors of an error": {"path": "/answered", "json": {"status": "x"}, "headers": SHOP},
    "cors of a 404": {"path": "/nope", "json": {}, "headers": SHOP},
    "cors preflight": {
        "path": "/held",
        "method": "OPTIONS",
        "headers": {**SHOP, "access-control-request-method": "POST", "access-control-request-headers": "x-token"},
    },
    "cors preflight, other method": {
        "path": "/held",
        "method": "OPTIONS",
        "headers": {**SHOP, "access-control-request-method": "DELETE"},
    },
    "cors preflight, other header": {
        "path": "/held",
        "method": "OPTIONS",
        "headers": {**SHOP, "access-control-request-method": "POST", "access-control-request-headers": "x-evil"},
    },
    "cors preflight, stranger": {
        "path": "/held",
        "method": "OPTIONS",
        "headers": {**STRANGER, "access-control-request-method": "POST"},
    },
    "cors preflight of livez": {
        "path": "/livez",
        "method": "OPTIONS",
        "headers": {**SHOP, "access-control-request-method": "GET"},
    },
    "options without cors": {"path": "/held", "method": "OPTIONS"},
    "docs": {"path": "/docs.json", "method": "GET", "headers": SHOP},
    "schema": {"path": "/schema.json", "method": "GET"},
}
