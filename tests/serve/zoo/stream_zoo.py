# mypy: allow-untyped-decorators
"""Generators of both kinds, of everything they may yield."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from pydantic import BaseModel


class Token(BaseModel):
    text: str
    index: int


@bentoml.service(traffic={"timeout": 30}, threads=4)
class StreamZoo:
    def __init__(self) -> None:
        self.closed = 0
        self.told: set[str] = set()

    @bentoml.api
    async def words(self, text: str = "a b c") -> AsyncGenerator[str, None]:
        for word in text.split():
            yield word + "\n"

    @bentoml.api
    def words_sync(self, text: str = "a b c") -> Generator[str, None, None]:
        for word in text.split():
            yield word + "\n"

    @bentoml.api
    async def slowly(self, n: int = 3, pause: float = 0.2) -> AsyncIterator[str]:
        for index in range(n):
            yield f"{index};"
            await asyncio.sleep(pause)

    @bentoml.api
    def slowly_sync(self, n: int = 3, pause: float = 0.2) -> Iterator[str]:
        for index in range(n):
            yield f"{index};"
            time.sleep(pause)

    @bentoml.api
    async def when_told(self, name: str = "async") -> AsyncIterator[str]:
        yield "one;"
        while name not in self.told:
            await asyncio.sleep(0.01)
        yield "two;"

    @bentoml.api
    def when_told_sync(self, name: str = "sync") -> Iterator[str]:
        yield "one;"
        while name not in self.told:
            time.sleep(0.01)
        yield "two;"

    @bentoml.api
    async def tell(self, name: str) -> None:
        self.told.add(name)

    @bentoml.api
    async def raw(self) -> AsyncGenerator[bytes, None]:
        yield b"\x00\xff"
        yield b""
        yield b"end"

    @bentoml.api
    async def tokens(self, n: int = 3) -> AsyncGenerator[Token, None]:
        for index in range(n):
            yield Token(text="t", index=index)

    @bentoml.api
    def tokens_sync(self, n: int = 3) -> Generator[Token, None, None]:
        for index in range(n):
            yield Token(text="t", index=index)

    @bentoml.api
    async def numbers(self, n: int = 3) -> AsyncGenerator[int, None]:
        for index in range(n):
            yield index

    @bentoml.api
    async def mixed(self) -> AsyncGenerator[Any, None]:
        yield "text "
        yield b"bytes "
        yield {"a": [1, None]}
        yield 2.5

    @bentoml.api
    async def empty(self) -> AsyncGenerator[str, None]:
        for word in "":
            yield word

    @bentoml.api
    def empty_sync(self) -> Generator[str, None, None]:
        yield from ()

    @bentoml.api
    async def events(self) -> AsyncGenerator[Annotated[str, ContentType("text/plain")], None]:
        yield "event: one\ndata: 1\n\n"
        yield "data: ü\n\n"

    @bentoml.api
    async def headed(self, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        ctx.response.status_code = 206
        ctx.response.headers["x-zoo"] = "stream"
        yield "one"
        ctx.response.headers["x-late"] = "too late"
        yield "two"

    @bentoml.api
    async def big(self, n: int = 100) -> AsyncGenerator[str, None]:
        for _ in range(n):
            yield "x" * 10_000

    @bentoml.api
    async def endless(self) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.02)
        finally:
            self.closed += 1

    @bentoml.api
    async def closings(self) -> int:
        return self.closed
