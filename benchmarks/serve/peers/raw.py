"""The physical limit: a bare asyncio.Protocol on uvloop with httptools, without any server.

python -m benchmarks.serve.peers.raw PORT
"""

import asyncio
import sys
from typing import cast

import httptools
import uvloop

from benchmarks.serve.message import Message


class Echo(asyncio.Protocol):
    """Answers every POST with its body, read and written by pydantic."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the two below."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._body += body

    def on_message_complete(self) -> None:
        """A whole request."""
        content = Message.model_validate_json(self._body).model_dump_json().encode()
        self._body = b""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(content) + content)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
