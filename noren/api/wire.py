"""uvicorn as the control plane runs it: its connections are few, and none is kept open for nothing.

uvicorn itself waits for ever for the rest of a request that has begun, and for a client that does not read its answer.
Some hundred clients that send a byte now and then ("slowloris") would take all file descriptors, and with them the
store and the replicas.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from noren.api.problems import problem

CLIENT_WITHIN_S = 10.0  # to send the headers of a request, or to read an answer; at most twice this
HEAD_BYTES = 64 * 2**10
MOST_CONNECTIONS = 200


class Guarded(H11Protocol):
    """Ends connections that wait for their client too long, the oldest first where there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.since = self.loop.time()
        self._seen: object = None  # the request of which the last look found that its client is to go on
        self._watch = self.loop.call_later(CLIENT_WITHIN_S, self._look)
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._watch.cancel()
        super().connection_lost(exc)

    @property
    def waits(self) -> bool:
        """Whether it is the client who is to go on: to ask something, or to read its answer."""
        asked = self.cycle is not None and not self.cycle.response_complete
        return not asked or self.cycle.response_started or self.flow.write_paused

    def send_400_response(self, msg: str) -> None:
        """See H11Protocol; as problem details."""
        answer = problem(400, "SpecError", msg, f"send HTTP/1.1, with at most {HEAD_BYTES} bytes before the body")
        headers = [*answer.raw_headers, (b"connection", b"close")]
        self.transport.write(self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"Bad Request")))
        self.transport.write(self.conn.send(h11.Data(data=bytes(answer.body))))
        self.transport.write(self.conn.send(h11.EndOfMessage()))
        self.transport.close()

    def _look(self) -> None:
        """End it when its client has not gone on since the last look."""
        if self.waits and self._seen is self.cycle:
            self.transport.abort()
            return
        self._seen = self.cycle if self.waits else self
        self._watch = self.loop.call_later(CLIENT_WITHIN_S, self._look)

    def _make_room(self) -> None:
        """Who has waited longest goes: a client that means it has asked by then."""
        others = [one for one in self.connections if isinstance(one, Guarded) and not one.transport.is_closing()]
        if len(others) > MOST_CONNECTIONS:
            min((one for one in others if one.waits), key=lambda one: one.since, default=self).transport.abort()


OPTIONS: Mapping[str, Any] = {
    "http": Guarded,
    "ws": "none",
    "h11_max_incomplete_event_size": HEAD_BYTES,
    "backlog": 128,  # asyncio takes as many at once, before it looks at any
    "timeout_graceful_shutdown": 10,  # no client keeps the control plane from ending
    "log_config": None,
    "access_log": False,
}
