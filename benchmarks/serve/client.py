"""A load generator that costs little: HTTP/1.1 over plain sockets and epoll, in one thread.

Closed loop: a fixed number of connections, each asking again as soon as it is answered. Open loop: requests
come at a rate whether or not earlier ones were answered, as they do from the world. Linux only, for epoll.
"""

import contextlib
import random
import resource
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

import numpy as np

SAMPLE_EVERY = 97  # answers; a prime, so that it meets every kind of request
MOST_CONNECTIONS = 1024  # at a time, as a proxy has them; what comes due beyond them waits here, and its time runs
REUSED_WITHIN_S = 3.0  # servers close idle connections after 5 s: what is sent just then is lost, and nobody's fault
PATIENCE_S = 10.0  # for answers that are still due when the time is over


@dataclass
class Answers:
    """What came back.

    offered     requests due in the measured time; in a closed loop as many as were answered
    latencies   of the answers with status 200, in milliseconds; in an open loop from the moment a request was due
    statuses    how many answers had which status; 0 stands for no answer
    samples     some answers: which request, and the body
    """

    seconds: float = 0.0
    offered: int = 0
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: dict[int, int] = field(default_factory=dict)
    samples: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Answers with status 200."""
        return self.statuses.get(200, 0)

    @property
    def failed(self) -> int:
        """Everything else."""
        return sum(self.statuses.values()) - self.answered

    def fail_as(self, other: "Answers") -> None:
        """Count what failed there, too."""
        for status, count in other.statuses.items():
            if status != 200:
                self.statuses[status] = self.statuses.get(status, 0) + count

    @property
    def per_second(self) -> float:
        """Answers with status 200 per second."""
        return self.answered / self.seconds

    def quantile_ms(self, q: float) -> float:
        """Latency below which a fraction `q` of the good answers came, in milliseconds; 0 when there was none."""
        return quantile(self.latencies, q)


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a fraction `q` of `values` lies, interpolated linearly; 0 when there are none."""
    return float(np.quantile(np.asarray(values), q)) if len(values) else 0.0


def request(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """The bytes of one POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Client:
    """Sends `requests` in turn to one port of this machine. Close it by `with`."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        raise_file_limit()
        self._port = port
        self._requests = cycle(enumerate(requests))
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()  # when they were due
        self._answers = Answers()
        self._seen = 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def first_answer(self) -> bool:
        """Ask once, and say whether the answer has status 200. Raises OSError when nobody listens."""
        self._begin(0.0)
        self._ask(self._connect(), time.perf_counter())
        while not self._answers.statuses:
            self._idle.extend(self._events(PATIENCE_S))
        return bool(self._answers.answered)

    def closed_loop(self, *, connections: int, seconds: float) -> Answers:
        """Ask on `connections` connections for `seconds`. What is then under way is awaited: it counts, and so does the
        time that it takes. Of a slow server it is a good part, and its work has been paid for.
        """
        answers, began = self._begin(seconds), time.perf_counter()
        until = began + seconds
        for connection in [self._reused() or self._connect() for _ in range(connections)]:
            self._ask(connection, time.perf_counter())
        while (now := time.perf_counter()) < until:
            for connection in self._events(until - now):
                self._ask(connection, time.perf_counter())
        self._drain()
        answers.seconds = time.perf_counter() - began
        answers.offered = answers.answered + answers.failed
        return answers

    def open_loop(self, *, per_second: float, seconds: float, seed: int = 0) -> Answers:
        """Ask `per_second` times a second on average (Poisson), on as many connections as that takes."""
        answers, chance = self._begin(seconds), random.Random(seed)
        due = begin = time.perf_counter()
        while due < begin + seconds:
            now = time.perf_counter()
            while due <= now and due < begin + seconds:
                answers.offered += 1
                self._ask_somewhere(due)
                due += chance.expovariate(per_second)
            self._free(self._events(max(0.0, due - time.perf_counter())))
        until = time.perf_counter() + PATIENCE_S
        while self._under_way and (now := time.perf_counter()) < until:
            self._free(self._events(until - now))
        answers.statuses[0] = answers.statuses.get(0, 0) + self._under_way + len(self._waiting)
        self._waiting.clear()
        return answers

    def _free(self, connections: Iterator["_Connection"]) -> None:
        """Give connections that were answered to who waits longest."""
        for connection in connections:
            if self._waiting:
                self._ask(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)

    @property
    def _under_way(self) -> int:
        return len(self._connections) - len(self._idle)

    def _begin(self, seconds: float) -> Answers:
        self._answers = Answers(seconds=seconds)
        return self._answers

    def _drain(self) -> None:
        """Await what is under way; what does not come has failed."""
        until = time.perf_counter() + PATIENCE_S
        while self._under_way and (now := time.perf_counter()) < until:
            self._idle.extend(self._events(until - now))
        for connection in [c for c in self._connections.values() if c not in self._idle]:
            self._count(0)
            self._drop(connection)

    def _ask_somewhere(self, due: float) -> None:
        if connection := self._reused():
            self._ask(connection, due)
        elif len(self._connections) < MOST_CONNECTIONS:
            self._ask(self._connect(), due)
        else:
            self._waiting.append(due)

    def _reused(self) -> "_Connection | None":
        """The connection that was answered last, if that was not too long ago; the others were answered before it."""
        now = time.perf_counter()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < REUSED_WITHIN_S:
                return connection
            self._drop(connection)
        return None

    def _connect(self) -> "_Connection":
        connection = _Connection(socket.create_connection(("127.0.0.1", self._port), timeout=5))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket.setblocking(False)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
        return connection

    def _drop(self, connection: "_Connection") -> None:
        self._connections.pop(connection.socket.fileno())
        self._epoll.unregister(connection.socket.fileno())
        connection.socket.close()

    def _ask(self, connection: "_Connection", due: float) -> None:
        connection.index, data = next(self._requests)
        connection.due = due
        with contextlib.suppress(ConnectionError):  # then the end of the stream is read next
            connection.socket.send(data)  # a request is far smaller than the socket's buffer

    def _events(self, patience_s: float) -> Iterator["_Connection"]:
        """The connections that were answered: the same, or a new one where the server closed."""
        for number, _ in self._epoll.poll(patience_s):
            connection = self._connections[number]
            try:
                data = connection.socket.recv(1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                yield from self._lost(connection)
            elif answer := connection.take(data):
                self._settle(connection, answer)
                yield connection

    def _settle(self, connection: "_Connection", answer: "_Answer") -> None:
        connection.idle_since = time.perf_counter()
        latency_s = connection.idle_since - connection.due
        self._count(answer.status)
        if answer.status == 200:
            self._answers.latencies.append(latency_s * 1000)
            self._seen += 1
            if self._seen % SAMPLE_EVERY == 0:
                self._answers.samples.append((connection.index, answer.body))

    def _lost(self, connection: "_Connection") -> Iterator["_Connection"]:
        """The server hung up. That is its right while nothing is asked, and a failure otherwise."""
        idle = connection in self._idle
        if idle:
            self._idle.remove(connection)
        self._drop(connection)
        if not idle:
            self._count(0)
            yield self._connect()

    def _count(self, status: int) -> None:
        self._answers.statuses[status] = self._answers.statuses.get(status, 0) + 1


class _Answer(NamedTuple):  # made faster than a frozen dataclass, and one is made for every answer
    status: int
    body: bytes


class _Connection:
    """A socket, the request on it, and what came of the answer so far."""

    __slots__ = ("buffer", "due", "idle_since", "index", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = b""
        self.index = 0
        self.due = 0.0
        self.idle_since = time.perf_counter()

    def take(self, data: bytes) -> _Answer | None:
        """The answer, when `data` completes it."""
        if self.buffer:
            data = self.buffer + data
        answer = parse(data)
        self.buffer = b"" if answer else data
        return answer


def parse(data: bytes) -> _Answer | None:
    """An HTTP answer; None while it is incomplete. Knows bodies with a length and bodies in chunks, no more."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at >= 0:
        length = int(lower[at + 15 :].split(b"\r", 1)[0])
        return _Answer(int(head[9:12]), body) if len(body) >= length else None
    if body.endswith(b"0\r\n\r\n"):
        return _Answer(int(head[9:12]), _unchunked(body))
    return None


def _unchunked(body: bytes) -> bytes:
    content = b""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            return content
        content, body = content + rest[:length], rest[length + 2 :]


def raise_file_limit() -> None:
    """Allow as many open sockets as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
