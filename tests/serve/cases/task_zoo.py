"""Requests to task_zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.serve.wire import Cases

TASK = r"[0-9a-f]{32}"
STAMPS = TASK + r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?"

CASES: Cases = {
    "submit and get": [
        {"path": "/double/submit", "json": {"n": 21}, "keep": "task_id", "vary": TASK},
        {"path": "/double/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/double/get?task_id={task_id}", "method": "GET"},
        {"path": "/double/get?task_id={task_id}", "method": "GET"},
    ],
    "submit with a context": [
        {"path": "/cook/submit", "json": {"order": {"dish": "ramen"}}, "keep": "task_id", "vary": TASK},
        {"path": "/cook/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/cook/get?task_id={task_id}", "method": "GET", "vary": TASK},
    ],
    "submit a file": [
        {"path": "/weigh/submit", "parts": [("file", "a", b"123", None)], "keep": "task_id", "vary": TASK},
        {"path": "/weigh/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/weigh/get?task_id={task_id}", "method": "GET"},
    ],
    "submit an array": [
        {"path": "/matrix/submit", "json": {"x": [[1, 2]]}, "keep": "task_id", "vary": TASK},
        {"path": "/matrix/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/matrix/get?task_id={task_id}", "method": "GET"},
    ],
    "while it runs": [
        {"path": "/work/slow/submit", "json": {"seconds": 4}, "keep": "task_id", "vary": TASK},
        {"path": "/work/slow/status?task_id={task_id}", "method": "GET", "vary": STAMPS},
        {"path": "/work/slow/get?task_id={task_id}", "method": "GET", "vary": TASK},
        {"path": "/work/slow/retry?task_id={task_id}", "vary": TASK},
        {"path": "/work/slow/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
    ],
    "retry": [
        {"path": "/count_runs/submit", "json": {}, "keep": "task_id", "vary": TASK},
        {"path": "/count_runs/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/count_runs/retry?task_id={task_id}", "keep": "task_id", "vary": TASK},
        {"path": "/count_runs/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/count_runs/get?task_id={task_id}", "method": "GET"},
    ],
    "cancel": [
        {"path": "/work/slow/submit", "json": {"seconds": 4}, "keep": "task_id", "vary": TASK},
        {"path": "/work/slow/cancel?task_id={task_id}", "method": "PUT"},
        {"path": "/work/slow/status?task_id={task_id}", "method": "GET", "vary": STAMPS},
    ],
    "failure": [
        {"path": "/fail/submit", "json": {}, "keep": "task_id", "vary": TASK},
        {"path": "/fail/status?task_id={task_id}", "method": "GET", "until": "failed", "vary": STAMPS},
        {"path": "/fail/get?task_id={task_id}", "method": "GET"},
    ],
    "failure with a code": [
        {"path": "/fail/submit", "json": {"kind": "argument"}, "keep": "task_id", "vary": TASK},
        {"path": "/fail/status?task_id={task_id}", "method": "GET", "until": "failed", "vary": STAMPS},
        {"path": "/fail/get?task_id={task_id}", "method": "GET"},
    ],
    "wrong input": [
        {"path": "/double/submit", "json": {"n": "x"}, "keep": "task_id", "vary": TASK},
        {"path": "/double/status?task_id={task_id}", "method": "GET", "until": "failed", "vary": STAMPS},
        {"path": "/double/get?task_id={task_id}", "method": "GET"},
    ],
    "another task's route": [
        {"path": "/double/submit", "json": {"n": 2}, "keep": "task_id", "vary": TASK},
        {"path": "/cook/status?task_id={task_id}", "method": "GET", "until": "completed", "vary": STAMPS},
        {"path": "/cook/get?task_id={task_id}", "method": "GET"},
    ],
    "called at once": {"path": "/double", "json": {"n": 4}},
    "called at once, wrongly": {"path": "/double", "json": {"n": "x"}},
    "called at once, failing": {"path": "/fail", "json": {"kind": "argument"}},
    "status without an id": {"path": "/double/status", "method": "GET"},
    "get without an id": {"path": "/double/get", "method": "GET"},
    "retry without an id": {"path": "/double/retry"},
    "cancel without an id": {"path": "/double/cancel", "method": "PUT"},
    "status of an unknown task": {"path": "/double/status?task_id=nope", "method": "GET"},
    "get an unknown task": {"path": "/double/get?task_id=nope", "method": "GET"},
    "retry an unknown task": {"path": "/double/retry?task_id=nope"},
    "cancel an unknown task": {"path": "/double/cancel?task_id=nope", "method": "PUT"},
    "submit by GET": {"path": "/double/submit", "method": "GET"},
    "status by POST": {"path": "/double/status?task_id=x", "json": {}},
    "cancel by POST": {"path": "/double/cancel?task_id=x", "json": {}},
    "submit pickle": {
        "path": "/double/submit",
        "body": b"x",
        "headers": {"content-type": "application/vnd.bentoml+pickle"},
        "vary": TASK,
    },
    "no task": {"path": "/plain/submit", "json": {}},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
