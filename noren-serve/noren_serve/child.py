"""A worker, as the supervisor sees it: a pid and a channel."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Child:
    """One forked worker. It says `loaded`, `ready` and `retire`; it is told only where to listen."""

    pid: int
    index: int  # 1 to the number of workers; the same for its replacement
    writer: str  # of metric files; never that of another one that lives
    channel: socket.socket
    started: float = field(default_factory=time.monotonic)
    retiring: bool = False
    end_by: float | None = None  # it was told to end, and is killed after this
    closed: bool = False
    _heard: bytes = b""

    def hear(self) -> Iterator[tuple[str, Any]]:
        """What it has said since last time."""
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.closed = not data
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            word, content = json.loads(line)
            yield word, content

    def hand_over(self, listener: socket.socket) -> None:
        """Give it the listening socket."""
        with contextlib.suppress(OSError):  # it died meanwhile: the supervisor will notice
            socket.send_fds(self.channel, [b"listen"], [listener.fileno()])

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there. It has not been waited for, so the pid is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def tell(channel: socket.socket, word: str, content: Any = None) -> None:
    """From the worker to the supervisor."""
    with contextlib.suppress(OSError):  # it is gone, and we shall soon be too
        channel.sendall(json.dumps([word, content]).encode() + b"\n")


def receive_listener(channel: socket.socket) -> socket.socket:
    """In the worker: wait for the listening socket. Raises EOFError when the supervisor is gone."""
    data, handed, _, _ = socket.recv_fds(channel, 64, 1)
    if not data or not handed:
        raise EOFError("the supervisor ended")
    return socket.socket(fileno=handed[0])
