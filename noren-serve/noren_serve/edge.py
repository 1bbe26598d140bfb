"""What every request passes: limits, ids, metrics, the access log, and a last resort for what escapes.

One class instead of five middlewares: each layer of ASGI middleware wraps `send` once more, and together they
cost BentoML more than most models.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from time import perf_counter
from typing import Any

from bentoml._internal.context import trace_context

from noren_serve import answers, body, reply
from noren_serve.access_log import AccessLog
from noren_serve.batching import Overloaded
from noren_serve.body import HungUp, TooLarge
from noren_serve.endpoint import Endpoint, chosen
from noren_serve.metrics import Traffic
from noren_serve.patience import Patience

logger = logging.getLogger("bentoml.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may take. 0 or None: no limit."""

    timeout_s: float | None
    max_body: int
    max_concurrency: int  # ours: 503, which a proxy retries elsewhere
    traffic_concurrency: int | None  # BentoML's `traffic.max_concurrency`: 429
    free_paths: frozenset[str]  # health checks and metrics pass also when all is full


class Edge:
    """The ASGI application that the server calls."""

    def __init__(
        self,
        app: Any,
        *,
        endpoints: Mapping[str, Sequence[Endpoint]],
        admit: Mapping[str, Callable[[], None]],
        limits: Limits,
        traffic: Traffic | None,
        log: AccessLog | None,
        finished: Callable[[], None] | None,
        traced: bool = False,
    ) -> None:
        self._app, self._endpoints, self._admit = app, endpoints, admit
        self._limits, self._traffic, self._log, self._finished = limits, traffic, log, finished
        self._patience = Patience(limits.timeout_s) if limits.timeout_s else None
        self._traced = traced  # OpenTelemetry's middleware comes before this, and makes the ids
        self._in_flight = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            app = self._traffic.families if self._traffic and scope["type"] == "websocket" else self._app
            await app(scope, receive, send)
            return
        start = perf_counter()
        path = scope["path"]
        counted = ""
        if self._traffic:
            if path != "/metrics":
                counted = self._traffic.begin(path)
            else:
                self._traffic.write()
        request = _Request(scope, receive, send, self._patience, self._traced)
        if self._patience:
            self._patience.begin(request, start)
        self._in_flight += 1
        try:
            await self._serve(request, path)
        finally:
            self._in_flight -= 1
            if self._patience:
                self._patience.end(request)
            if self._finished:
                self._finished()
            seconds = perf_counter() - start
            # A client that left before an answer is counted as nginx does.
            status = request.status or 499
            if counted and self._traffic:
                self._traffic.end(counted, status, seconds)
            if self._log:
                sizes = (request.length, request.sent)
                self._log.write(scope, status, seconds, sizes, (request.id.decode("latin-1"), request.trace_id))

    async def _serve(self, request: "_Request", path: str) -> None:
        try:
            if not self._admitted(path):
                return await self._refuse(request, path)
            if admit := self._admit.get(path):
                admit()
            if self._limits.max_body and request.length > self._limits.max_body:
                raise TooLarge
            endpoints = self._endpoints.get(path, ()) if request.scope["method"] == "POST" else ()
            if endpoint := chosen(endpoints, request.content_type, request.length):
                data = await body.read(request.receive, self._limits.max_body)
                request.length = len(data)
                send, whole = request.noting, request.whole_answer
                await endpoint(request.scope, request.receive, send, data, request.span_id, whole)
            else:
                await self._app(request.scope, request.counted(self._limits.max_body), request.noting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and not task.cancelling():  # not the request: something that the service waits for
                return await self._failed(request)
            if self._patience is None or not self._patience.end(request) or request.status:
                raise
            if task:
                task.uncancel()
            text = f"Not able to process the request in {self._limits.timeout_s} seconds"
            await request.answer(504, {"error": text})
        except Overloaded as error:
            await request.answer(503, {"error": str(error)}, answers.retry_after(error.retry_after_s))
        except TooLarge:
            await request.too_large(self._limits.max_body)
        except HungUp:
            return None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:  # noqa: BLE001  nothing may leave a client without an answer, also no panic of Rust code
            await self._failed(request)
        return None

    def _admitted(self, path: str) -> bool:
        limits = self._limits
        if limits.traffic_concurrency and self._in_flight > limits.traffic_concurrency:
            return path in limits.free_paths
        if limits.max_concurrency and self._in_flight > limits.max_concurrency:
            return path in limits.free_paths
        return True

    async def _refuse(self, request: "_Request", path: str) -> None:  # noqa: ARG002
        if self._limits.traffic_concurrency and self._in_flight > self._limits.traffic_concurrency:
            return await request.answer(429, {"error": "Too many requests"})
        return await request.answer(503, {"error": "too many requests in flight; try again"}, answers.retry_after(1))

    async def _failed(self, request: "_Request") -> None:
        logger.exception("Exception on %s [%s]", request.scope["path"], request.scope["method"])
        if request.whole:
            return
        if request.status:
            raise ConnectionAbortedError("the answer had begun")  # the server closes the connection
        await request.answer(500, {"error": answers.UNEXPECTED})


class _Request:
    """One HTTP request on its way: what its head says, and what has been answered so far."""

    __slots__ = (
        "_patience", "content_type", "id", "length", "receive", "refused",
        "scope", "send", "sent", "span_id", "status", "trace_id", "whole",
    )  # fmt: skip

    def __init__(self, scope: Any, receive: Any, send: Any, patience: Patience | None, traced: bool) -> None:
        self.scope, self.receive, self.send, self._patience = scope, receive, send, patience
        self.content_type, self.length, self.trace_id, self.id = b"", 0, "", b""
        self.status = self.sent = 0
        self.refused = False  # whatever the application says to that is not sent
        self.whole = False  # the answer has been sent to its end
        traceparent = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                self.content_type = self.content_type or value  # of several, the first: as Starlette reads them
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else 0
            elif name == b"x-request-id":
                self.id = value
            elif name == b"traceparent":
                traceparent = value
        self.content_type = self.content_type or b"application/json"
        number = (traced and trace_context.request_id) or getrandbits(64)
        self.span_id = b"%016x" % number
        self.id = self.id or self.span_id
        trace_context.request_id = number
        if traceparent or traced:
            self.trace_id = _join_trace(scope)

    async def answer(self, status: int, content: Any, headers: answers.Headers | None = None) -> None:
        """Answer with JSON, unless an answer has begun."""
        if not self.status:
            extra = [answers.JSON, (b"x-bentoml-request-id", self.span_id), *(headers or [])]
            await self.whole_answer(status, answers.encode(content), extra)

    async def whole_answer(self, status: int, content: bytes, headers: answers.Headers) -> None:
        """Send one whole answer, when none has begun. The headers are ours: well-formed, and without a length."""
        self.status, self.sent = status, len(content)
        if self._patience:
            self._patience.end(self)  # what the endpoint left for later may take as long as it likes
        if not reply.write(self.send, status, content, headers):
            await answers.send_body(self.send, status, content, headers)
        self.whole = True

    async def too_large(self, limit: int) -> None:
        """Refuse the body."""
        self.refused = True
        text = f"the body is larger than {limit} bytes"
        await self.answer(413, {"error": text}, [reply.CLOSE])

    async def noting(self, message: Any) -> None:
        """Send, and take down what is sent."""
        if self.refused:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._patience:
                self._patience.end(self)  # a stream may take as long as it likes
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        await self.send(message)

    def counted(self, limit: int) -> Any:
        """`receive` that ends when the body grows too large."""
        if not limit or self.length:
            return self.receive  # of a known length, which has been checked
        size = 0

        async def receive() -> Any:
            nonlocal size
            message = await self.receive()
            size += len(message.get("body", b""))
            if size > limit:
                await self.too_large(limit)  # now: the application would turn the exception into a 500
                raise TooLarge
            return message

        return receive


def _join_trace(scope: Any) -> str:
    """Continue the caller's W3C trace, so that what the service calls next belongs to it; returns its id.

    Without an exporter nothing is recorded. With one, OpenTelemetry's own middleware has been here first.
    """
    from opentelemetry import context, propagate, trace

    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if not trace.get_current_span().get_span_context().is_valid:
        context.attach(propagate.extract(headers))
    span = trace.get_current_span().get_span_context()
    return format(span.trace_id, "032x") if span.is_valid else ""
