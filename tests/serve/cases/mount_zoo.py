"""Requests to mount_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

CASES: Cases = {
    "api beside them": {"path": "/plain", "json": {"n": 4}},
    "starlette": {"path": "/star/hello", "method": "GET"},
    "starlette HEAD": {"path": "/star/hello", "method": "HEAD"},
    "starlette POST": {"path": "/star/echo", "body": b"abc"},
    "starlette PUT chunked": {"path": "/star/echo", "method": "PUT", "chunks": [b"ab", b"c"]},
    "starlette wrong method": {"path": "/star/hello", "json": {}},
    "starlette stream": {"path": "/star/stream", "method": "GET"},
    "starlette redirect": {"path": "/star/away", "method": "GET"},
    "starlette unknown": {"path": "/star/nope", "method": "GET"},
    "starlette itself": {"path": "/star", "method": "GET"},
    "starlette slash": {"path": "/star/hello/", "method": "GET"},
    "fastapi": {"path": "/fast/items/a%20b?q=2", "method": "GET"},
    "fastapi wrong query": {"path": "/fast/items/a?q=x", "method": "GET"},
    "fastapi error": {"path": "/fast/items/none", "method": "GET"},
    "fastapi POST": {"path": "/fast/items", "json": {"name": "n"}},
    "fastapi wrong": {"path": "/fast/items", "json": {}},
    "fastapi slash": {"path": "/fast/items/", "json": {"name": "n"}},
    "fastapi self": {"path": "/fast/self", "method": "GET"},
    "fastapi docs": {"path": "/fast/openapi.json", "method": "GET"},
    "fastapi docs page": {"path": "/fast/docs", "method": "GET"},
    "fastapi unknown": {"path": "/fast/nope", "method": "GET"},
    "bare": {"path": "/bare/x/y", "method": "GET"},
    "bare itself": {"path": "/bare", "method": "GET"},
    "bare POST": {"path": "/bare/", "body": b"x" * 300_000},
    "bare HEAD": {"path": "/bare/x", "method": "HEAD"},
    "wsgi": {"path": "/wsgi/a%20b?c=d", "method": "GET"},
    "wsgi POST": {"path": "/wsgi/x", "body": b"body"},
    "wsgi DELETE": {"path": "/wsgi/x", "method": "DELETE"},
    "mounted at the root": {"path": "/at-the-root", "method": "GET"},
    "mounted at the root, wrong method": {"path": "/at-the-root", "json": {}},
    "nowhere": {"path": "/nope", "method": "GET"},
    "index": {"path": "/", "method": "GET"},
    "websocket": {"path": "/fast/ws/echo", "say": ["hello", b"\x01\x02", "ü", "bye"]},
    "websocket with a large message": {"path": "/fast/ws/echo", "say": ["x" * 200_000, "bye"]},
    "websocket refused": {"path": "/fast/ws/refuse", "say": ["x"]},
    "websocket query and headers": {"path": "/fast/ws/query?a=%C3%BC", "say": [], "headers": {"x-token": "t"}},
    "websocket unknown": {"path": "/fast/ws/nope", "say": []},
    "websocket by GET": {"path": "/fast/ws/echo", "method": "GET"},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
