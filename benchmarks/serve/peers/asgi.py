"""Bare ASGI for uvicorn: the least that a Python web server can do. `app` one by one, `batched` greedily.

$NOREN_BENCH_MODEL is echo, or a scorer of scorers.py.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from benchmarks.serve import scorers
from benchmarks.serve.message import Message
from benchmarks.serve.peers.greedy import Greedy

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Answer = Callable[[bytes], Awaitable[bytes]]
App = Callable[[Event, Receive, Send], Awaitable[None]]

MODEL = os.environ["NOREN_BENCH_MODEL"]
BATCH = 64


def serve(answer: Answer) -> App:
    """An ASGI application that answers every POST by `answer` of its body."""

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        content = await answer(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


async def _echo(body: bytes) -> bytes:
    return Message.model_validate_json(body).model_dump_json().encode()


def _one_by_one() -> Answer:
    score = scorers.load(MODEL)

    async def answer(body: bytes) -> bytes:
        (items,) = json.loads(body).values()
        return json.dumps(score(items)).encode()

    return answer


def _together() -> Answer:
    batcher = Greedy(scorers.load(MODEL), largest=BATCH)

    async def answer(body: bytes) -> bytes:
        (items,) = json.loads(body).values()
        return json.dumps([await batcher.submit(items[0])]).encode()

    return answer


def app() -> App:
    """Every request by itself."""
    return serve(_echo if MODEL == "echo" else _one_by_one())


def batched() -> App:
    """What arrived while the last batch ran is the next batch."""
    return serve(_together())
