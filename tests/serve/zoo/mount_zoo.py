# mypy: allow-untyped-decorators
"""Apps within the app: Starlette, FastAPI, bare ASGI, WSGI; websockets."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import bentoml
from fastapi import FastAPI, HTTPException, WebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

Message = MutableMapping[str, Any]


class Item(BaseModel):
    name: str
    price: float = 1.0


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.awake = True
    yield


async def hello(request: Request) -> Response:
    return JSONResponse({"awake": request.app.state.awake, "root": request.scope.get("root_path")})


async def echo(request: Request) -> Response:
    return Response(await request.body(), status_code=201, headers={"x-from": "starlette"})


async def stream(_: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    return StreamingResponse(parts(), media_type="text/plain")


async def away(_: Request) -> Response:
    return RedirectResponse("/star/hello")


star = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/echo", echo, methods=["POST", "PUT"]),
        Route("/stream", stream),
        Route("/away", away),
    ],
    lifespan=lifespan,
)

fast = FastAPI()


@fast.get("/items/{name}")
async def item(name: str, q: int = 0) -> dict[str, Any]:
    if name == "none":
        raise HTTPException(404, "no such item")
    return {"name": name, "q": q}


@fast.post("/items")
def add_item(item: Item) -> Item:
    return item


@fast.websocket("/ws/echo")
async def ws_echo(ws: WebSocket) -> None:
    await ws.accept(subprotocol="zoo")
    while True:
        message = await ws.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes") is not None:
            await ws.send_bytes(message["bytes"][::-1])
        elif message["text"] == "bye":
            return await ws.close(4001, "bye")
        else:
            await ws.send_text(message["text"].upper())


@fast.websocket("/ws/refuse")
async def ws_refuse(ws: WebSocket) -> None:
    await ws.close(1008)


@fast.websocket("/ws/query")
async def ws_query(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json({"query": dict(ws.query_params), "token": ws.headers.get("x-token"), "path": ws.url.path})
    await ws.close()


async def bare(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
    """No framework: also what the server makes of headers in capitals and of a body in pieces."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    headers = [(b"X-Bare", b"Yes"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"size=%d " % size, "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("202 Accepted", [("Content-Type", "text/plain"), ("X-From", "wsgi")])
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["PATH_INFO"].encode(), b" ", body]


root = Starlette(routes=[Route("/at-the-root", lambda _: PlainTextResponse("root"))])


@bentoml.asgi_app(fast, path="/fast")
@bentoml.service(traffic={"timeout": 30})
@bentoml.asgi_app(star, path="/star")
class MountZoo:
    @bentoml.api
    def plain(self, n: int = 1) -> int:
        return n

    @fast.get("/self")
    def selfish(self) -> str:
        return type(self).__name__


MountZoo.mount_asgi_app(bare, path="/bare")  # type: ignore[attr-defined]
MountZoo.mount_wsgi_app(wsgi, path="/wsgi")  # type: ignore[attr-defined]
MountZoo.mount_asgi_app(root)  # type: ignore[attr-defined]
