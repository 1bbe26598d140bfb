"""Requests to hooks_zoo; what is called when is in test_lifecycle.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases


CASES: Cases = {
    "ready": {"path": "/readyz", "method": "GET"},
    "alive": {"path": "/livez", "method": "GET"},
    "not ready": [
        {"path": "/switch", "json": {"ready": False}},
        {"path": "/readyz", "method": "GET"},
        {"path": "/readyz", "method": "HEAD"},
        {"path": "/livez", "method": "GET"},
        {"path": "/pid", "json": {}, "vary": r"\d+"},
        {"path": "/switch", "json": {}},
        {"path": "/readyz", "method": "GET"},
    ],
    "not alive": [
        {"path": "/switch", "json": {"alive": False}},
        {"path": "/livez", "method": "GET"},
        {"path": "/healthz", "method": "GET"},
        {"path": "/readyz", "method": "GET"},
        {"path": "/switch", "json": {}},
        {"path": "/livez", "method": "GET"},
    ],
    "schema": {"path": "/schema.json", "method": "GET"},
    "docs": {"path": "/docs.json", "method": "GET"},
}
