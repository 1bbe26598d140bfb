# mypy: allow-untyped-decorators
"""Everything that goes wrong inside a service."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bentoml
from bentoml import exceptions
from pydantic import BaseModel, TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


class Teapot(exceptions.BentoMLException):
    error_code = HTTPStatus.IM_A_TEAPOT


class Thing(BaseModel):
    name: str


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


KINDS: dict[str, BaseException] = {
    "base": exceptions.BentoMLException("base"),
    "argument": exceptions.InvalidArgument("not like this"),
    "input": exceptions.BadInput("bad \u00fc"),
    "internal": exceptions.InternalServerError("internal"),
    "found": exceptions.NotFound("gone"),
    "unprocessable": exceptions.UnprocessableEntity("no"),
    "unavailable": exceptions.ServiceUnavailable("busy"),
    "teapot": Teapot("short and stout"),
    "unauthorized": exceptions.BentoMLException("who?", error_code=HTTPStatus.UNAUTHORIZED),
    "forbidden": exceptions.BentoMLException("you!", error_code=HTTPStatus.FORBIDDEN),
    "conflict": exceptions.BentoMLException("again", error_code=HTTPStatus.CONFLICT),
    "many": exceptions.BentoMLException("slower", error_code=HTTPStatus.TOO_MANY_REQUESTS),
    "gateway": exceptions.BentoMLException("upstream", error_code=HTTPStatus.BAD_GATEWAY),
    "state": exceptions.StateException("state"),
    "value": ValueError("value"),
    "key": KeyError("key"),
    "http": HTTPException(404, "from starlette"),
    "timeout": TimeoutError("late"),
    "stop": StopIteration("stop"),
    "cancelled": asyncio.CancelledError(),
}


async def _explode(_: Request) -> Response:
    raise RuntimeError("mounted")


async def _explode_late(_: Request) -> Response:
    async def parts() -> AsyncGenerator[str, None]:
        yield "first"
        raise RuntimeError("mounted, late")

    return StreamingResponse(parts())


async def _http_error(_: Request) -> Response:
    raise HTTPException(409, "conflict", headers={"x-why": "zoo"})


async def _bare(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("no framework that answers")


mounted = Starlette(
    routes=[Route("/explode", _explode), Route("/late", _explode_late), Route("/http-error", _http_error)]
)


# The timeout is what a request costs that BentoML forgets.
@bentoml.service(traffic={"timeout": 4})
class FailingZoo:
    @bentoml.api
    def fail(self, kind: str = "value") -> str:
        raise KINDS[kind]

    @bentoml.api
    async def fail_async(self, kind: str = "value") -> str:
        raise KINDS[kind]

    @bentoml.api
    def validation(self) -> int:
        """A pydantic error of the method's own."""
        return TypeAdapter(int).validate_python("x")

    @bentoml.api
    def group(self) -> str:
        raise ExceptionGroup("many", [ValueError("one")])

    @bentoml.api
    def wrong_int(self) -> int:
        return "not an int"  # type: ignore[return-value]

    @bentoml.api
    def loose_int(self) -> int:
        return "5"  # type: ignore[return-value]

    @bentoml.api
    def wrong_list(self) -> list[Thing]:
        return [{"nom": "x"}]  # type: ignore[list-item]

    @bentoml.api
    def wrong_model(self) -> Thing:
        return {"name": "x"}  # type: ignore[return-value]

    @bentoml.api
    def other_model(self) -> Thing:
        return self  # type: ignore[return-value]

    @bentoml.api
    def no_json(self) -> Any:
        return object()

    @bentoml.api
    def circular(self) -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop

    @bentoml.api
    def no_text(self) -> str:
        return "\ud800"

    @bentoml.api
    def huge_int(self) -> Any:
        return 10**5000

    @bentoml.api
    def no_file(self) -> Path:
        return Path("/nowhere/file.txt")

    @bentoml.api
    def folder(self) -> Path:
        return Path("/")

    @bentoml.api
    def bad_header(self, ctx: bentoml.Context) -> str:
        ctx.response.headers["x-\u65e5"] = "\u672c"
        return "x"

    @bentoml.api
    def broken_header(self, ctx: bentoml.Context) -> str:
        ctx.response.headers["x-split"] = "a\r\nx-injected: b"
        return "x"

    @bentoml.api
    def no_status(self, ctx: bentoml.Context, status: int = 204) -> str:
        ctx.response.status_code = status
        return "x"

    @bentoml.api
    async def stream_before(self) -> AsyncGenerator[str, None]:
        if self:
            raise exceptions.InvalidArgument("before the first")
        yield "never"

    @bentoml.api
    async def stream_after(self) -> AsyncGenerator[str, None]:
        yield "one"
        raise ValueError("after the first")

    @bentoml.api
    def sync_before(self) -> Generator[str, None, None]:
        if self:
            raise ValueError("before the first")
        yield "never"

    @bentoml.api
    def sync_after(self) -> Generator[str, None, None]:
        yield "one"
        raise ValueError("after the first")

    @bentoml.api
    async def stream_wrong(self) -> AsyncGenerator[Thing, None]:
        yield Thing(name="x")
        yield {"name": "no model"}  # type: ignore[misc]

    @bentoml.api
    async def read_again(self, ctx: bentoml.Context, n: int = 1) -> str:
        return (await ctx.request.body()).decode() * n

    @bentoml.api
    def optional_root(self, thing: Thing | None = None, /) -> Any:
        """With this input BentoML 1.4.39 cannot make /docs.json."""
        return thing

    @bentoml.api
    def total(self, tree: Tree) -> int:
        """With this input BentoML 1.4.39 cannot make /schema.json."""
        return tree.value + sum(map(self._total, tree.children))

    def _total(self, tree: Tree) -> int:
        return tree.value + sum(map(self._total, tree.children))

    @bentoml.api
    async def fine(self, n: int = 1) -> int:
        return n


FailingZoo.mount_asgi_app(mounted, path="/mounted")  # type: ignore[attr-defined]
FailingZoo.mount_asgi_app(_bare, path="/bare")  # type: ignore[attr-defined]
