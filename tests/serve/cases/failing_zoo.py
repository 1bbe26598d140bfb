"""Requests to failing_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

KINDS = [
    "base",
    "argument",
    "input",
    "internal",
    "found",
    "unprocessable",
    "unavailable",
    "teapot",
    "unauthorized",
    "forbidden",
    "conflict",
    "many",
    "gateway",
    "state",
    "value",
    "key",
    "http",
    "timeout",
    "stop",
]
SMALL = [
    "validation",
    "group",
    "wrong_int",
    "loose_int",
    "wrong_list",
    "wrong_model",
    "other_model",
    "no_json",
    "circular",
    "no_text",
    "huge_int",
    "no_file",
    "folder",
    "bad_header",
    "broken_header",
    "stream_before",
    "stream_after",
    "sync_before",
    "sync_after",
    "stream_wrong",
]

CASES: Cases = {
    **{f"raises {kind}": {"path": "/fail", "json": {"kind": kind}} for kind in KINDS},
    "raises async argument": {"path": "/fail_async", "json": {"kind": "argument"}},
    "raises async value": {"path": "/fail_async", "json": {"kind": "value"}},
    "raises async stop": {"path": "/fail_async", "json": {"kind": "stop"}},
    "raises async cancelled": {"path": "/fail_async", "json": {"kind": "cancelled"}},
    **{name: {"path": f"/{name}", "json": {}} for name in SMALL},
    **{f"raises {kind} by form": {"path": "/fail", "form": {"kind": kind}} for kind in KINDS},
    "status 204 with a body by form": {"path": "/no_status", "form": {"status": "204"}},
    "status 204 with a body": {"path": "/no_status", "json": {}},
    "status 304 with a body": {"path": "/no_status", "json": {"status": 304}},
    "status 999": {"path": "/no_status", "json": {"status": 999}},
    "mounted app raises": {"path": "/mounted/explode", "method": "GET"},
    "mounted bare app raises": {"path": "/bare/", "method": "GET"},
    "mounted app raises late": {"path": "/mounted/late", "method": "GET"},
    "mounted app answers an error": {"path": "/mounted/http-error", "method": "GET"},
    "the body read again": {"path": "/read_again", "json": {"n": 2}},
    "root null": {"path": "/optional_root", "json": None},
    "root optional": {"path": "/optional_root", "json": {"name": "x"}},
    "root optional empty body": {"path": "/optional_root"},
    "recursive": {
        "path": "/total",
        "json": {"tree": {"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}]}},
    },
    "recursive wrong": {"path": "/total", "json": {"tree": {"value": 1, "children": [{"value": "x"}]}}},
    "and still serves": {"path": "/fine", "json": {"n": 3}},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
