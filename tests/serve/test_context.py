"""The request that `bentoml.Context` shows: set up only when someone looks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from noren_serve import context
from noren_serve.context import LazyRequest
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/predict",
    "query_string": b"a=1",
    "headers": [(b"x-color", b"red")],
    "server": ("shop.localhost", 80),
}


async def nothing_more() -> Any:
    raise AssertionError("the body has been read")


def test_nothing_is_set_up_before_someone_looks() -> None:
    assert set(vars(LazyRequest(SCOPE, nothing_more, b"{}"))) == {"_late"}


def test_whatever_is_looked_at_first_is_there() -> None:
    looks = {
        "method": "POST",
        "headers": Headers({"x-color": "red"}),
        "metadata": Headers({"x-color": "red"}),
        "query_params": QueryParams("a=1"),
        "scope": SCOPE,
    }
    for name, expected in looks.items():
        assert getattr(LazyRequest(SCOPE, nothing_more, b"{}"), name) == expected
    assert asyncio.run(LazyRequest(SCOPE, nothing_more, b"{}").body()) == b"{}"
    assert asyncio.run(LazyRequest(SCOPE, nothing_more, b'{"a": 1}').json()) == {"a": 1}


def test_what_a_request_does_not_have_is_missing_as_ever() -> None:
    request = LazyRequest(SCOPE, nothing_more, b"{}")
    assert not hasattr(request, "colour")
    assert not hasattr(request, "colour")  # also once it is set up
    with pytest.raises(AttributeError, match="colour"):
        request.colour  # noqa: B018


def test_two_threads_that_look_at_once_both_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=30)

    class SlowlyMade(Request):
        def __init__(self, *parts: Any) -> None:
            together.wait()  # until both are here
            super().__init__(*parts)

    monkeypatch.setattr(context, "Request", SlowlyMade)
    request = LazyRequest(SCOPE, nothing_more, b"{}")
    with ThreadPoolExecutor(2) as threads:
        looks = [threads.submit(lambda: (request.scope, request.method)) for _ in range(2)]
        assert [look.result() for look in looks] == [(SCOPE, "POST")] * 2
    assert asyncio.run(request.body()) == b"{}"
