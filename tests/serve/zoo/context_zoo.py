# mypy: allow-untyped-decorators
"""The request and the response as methods see them; CORS; middlewares; trace ids."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import bentoml
from bentoml import server_context

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Stamp:
    """Marks every answer, and answers /stamped itself."""

    def __init__(self, app: Any, *, mark: str) -> None:
        self._app, self._mark = app, mark.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-stamp", self._mark)]
            await send(message)

        if scope["path"] == "/stamped":
            await marked({"type": "http.response.start", "status": 203, "headers": [(b"content-length", b"2")]})
            return await marked({"type": "http.response.body", "body": b"ok"})
        return await self._app(scope, receive, marked)  # type: ignore[no-any-return]


@bentoml.service(
    name="context-zoo",
    traffic={"timeout": 30},
    http={
        "cors": {
            "enabled": True,
            "access_control_allow_origins": ["http://shop.test"],
            "access_control_allow_methods": ["POST", "GET"],
            "access_control_allow_headers": ["x-token"],
            "access_control_allow_credentials": True,
            "access_control_max_age": 60,
            "access_control_expose_headers": ["x-zoo"],
        },
        "response": {"trace_id": True},
    },
)
class ContextZoo:
    def __init__(self) -> None:
        self.context = bentoml.Context()

    @bentoml.api
    def asked(self, ctx: bentoml.Context) -> dict[str, Any]:
        request = ctx.request
        return {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "cookies": request.cookies,
            "token": request.headers.get("x-token"),
            "kind": request.headers.get("content-type"),
            "scheme": request.url.scheme,
            "host": request.headers["host"],
        }

    @bentoml.api
    def linked(self, ctx: bentoml.Context) -> list[str]:
        """What Starlette knows on the way to an endpoint."""
        request = ctx.request
        return [str(request.url_for("livez")), type(request.app).__name__, str(request.path_params)]

    @bentoml.api
    async def asked_async(self, context: bentoml.Context, word: str = "w") -> list[str]:
        return [word, context.request.method]

    @bentoml.api
    def unannotated(self, ctx, n: int = 1) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
        return f"{n} {ctx.request.method}"

    @bentoml.api
    def answered(self, ctx: bentoml.Context, status: int = 201) -> dict[str, int]:
        ctx.response.status_code = status
        ctx.response.headers["X-Zoo"] = "yes"
        ctx.response.headers.append("x-many", "one")
        ctx.response.headers.append("x-many", "two")
        ctx.response.set_cookie("plain", "1")
        ctx.response.set_cookie(
            "full", "two words", max_age=9, path="/a", domain="zoo.test", secure=True, httponly=True
        )
        return {"status": status}

    @bentoml.api
    async def own_type(self, ctx: bentoml.Context) -> str:
        ctx.response.headers["content-type"] = "text/csv"
        ctx.response.headers["server"] = "mine"
        return "a,b"

    @bentoml.api
    def stateful(self, ctx: bentoml.Context) -> int:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return int(ctx.state["n"])

    @bentoml.api
    def held(self) -> list[str]:
        """The context is there without being a parameter."""
        return [self.context.request.method, bentoml.Context().request.headers["host"]]

    @bentoml.api
    def request_state(self, ctx: bentoml.Context) -> list[bool]:
        folder = Path(ctx.temp_dir)
        return [folder.is_dir(), not list(folder.iterdir()), folder == Path(ctx.temp_dir)]

    @bentoml.api
    def whereabouts(self) -> dict[str, Any]:
        here = server_context
        return {
            "service": here.service_name,
            "type": here.service_type,
            "bento": here.bento_name,
            "version": here.bento_version,
            "worker": here.worker_index,
            "routes": here.service_routes,
        }

    @bentoml.api
    async def background(self, ctx: bentoml.Context) -> str:
        ctx.response.background.add_task(self._later, ctx)
        return "soon"

    @bentoml.api
    async def afterwards(self, ctx: bentoml.Context) -> str:
        return str(ctx.state.get("background", "not yet"))

    async def _later(self, ctx: bentoml.Context) -> None:
        ctx.state["background"] = "done"


ContextZoo.add_asgi_middleware(Stamp, mark="first")  # type: ignore[attr-defined]
ContextZoo.add_asgi_middleware(Stamp, mark="second")  # type: ignore[attr-defined]
