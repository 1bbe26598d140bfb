"""The access log: one JSON object a line, cheap enough to stay on."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_.~:,;=+@() ")
_LONG, _MANY = 64, 64
_EVERY_S = 0.05


class AccessLog:
    """Writes a line at the end of its turn of the event loop; a busy server's lines together, 20 times a second.

    Each writing asks the kernel, which costs as much as a quarter of a small request.
    """

    def __init__(self, skip: Sequence[str] = (), out: TextIO | None = None) -> None:
        self._skip, self._out = tuple(skip), out or sys.stdout
        self._lines: list[str] = []
        self._second, self._stamp = 0, ""
        self._flushed = 0.0
        self._paths: dict[str, str] = {}  # as JSON strings
        self._clients: dict[str, str] = {}

    def write(self, scope: Any, status: int, seconds: float, sizes: tuple[int, int], ids: tuple[str, str]) -> None:
        """Note one request.

        sizes  bytes of the request's and of the response's body, as far as known
        ids    request id and W3C trace id, "" where there is none
        """
        path = scope["path"]
        if path.startswith(self._skip):
            return
        client = scope.get("client")  # behind a proxy, what X-Forwarded-For says
        whose = _known(client[0] if client else "", self._clients)
        line = (
            f'{{"time":"{self._now()}","client":{whose},"method":"{scope["method"]}",'
            f'"path":{_known(path, self._paths)},"status":{status},"ms":{seconds * 1000:.3f},'
            f'"request_bytes":{sizes[0]},"response_bytes":{sizes[1]},"request_id":{_text(ids[0])}'
        )
        self._lines.append(f'{line},"trace_id":{_text(ids[1])}}}\n' if ids[1] else f"{line}}}\n")
        if len(self._lines) == 1:
            loop = asyncio.get_running_loop()
            if time.monotonic() - self._flushed < _EVERY_S:
                loop.call_later(_EVERY_S, self.flush)
            else:
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is collected."""
        lines, self._lines = self._lines, []
        self._flushed = time.monotonic()
        try:
            self._out.write("".join(lines))
            self._out.flush()
        except (OSError, ValueError):  # a full disk or a closed pipe must not end the service
            return

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"


def _known(text: str, texts: dict[str, str]) -> str:
    """`text` as a JSON string, remembered while there are few."""
    found = texts.get(text)
    if found is None:
        found = _text(text)
        if len(text) < _LONG and len(texts) < _MANY:
            texts[text] = found
    return found


def _text(text: str) -> str:
    """`text` as a JSON string. What a client sends may hold quotes and line breaks."""
    plain = (text.isalnum() and text.isascii()) or _PLAIN.issuperset(text)
    return f'"{text}"' if plain else json.dumps(text)
