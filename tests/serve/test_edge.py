"""What every request passes, asked through the ASGI interface: limits, ids, traces, and who is answered what."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import bentoml
import noren_serve.patience
import pytest
from bentoml._internal.context import _response_var
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noren_serve import reply
from noren_serve.access_log import AccessLog
from noren_serve.batching import Batcher, Gone, Overloaded
from noren_serve.edge import Edge, Limits
from noren_serve.endpoint import Json
from noren_serve.form import Form
from noren_serve.rows import PayloadRows
from noren_serve.threads import Threads
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
NO_LIMITS = Limits(timeout_s=None, max_body=0, max_concurrency=0, traffic_concurrency=None, free_paths=frozenset())


def limits(**given: Any) -> Limits:
    return Limits(**{**{name: getattr(NO_LIMITS, name) for name in Limits.__slots__}, **given})


class Shop:
    """Only its declaration counts here: what is called is given to `world`."""

    @bentoml.api  # type: ignore[untyped-decorator]
    def say(self, text: str = "hello") -> str:
        return text

    @bentoml.api  # type: ignore[untyped-decorator]
    def weigh(self, file: Path) -> int:
        return file.stat().st_size


SERVICE: Any = bentoml.service(Shop)


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


async def failing(request: Request) -> PlainTextResponse:
    raise LookupError("of the service")


async def exiting(request: Request) -> PlainTextResponse:
    raise SystemExit(3)


async def cancelled_inside(request: Request) -> PlainTextResponse:
    raise asyncio.CancelledError


async def stalled(request: Request) -> PlainTextResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def half(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"half"
        raise LookupError("in the middle")

    return StreamingResponse(parts())


APP = Starlette(
    routes=[
        Route(f"/{function.__name__}", function, methods=["GET", "POST"])
        for function in (echo, failing, exiting, cancelled_inside, stalled, half)
    ]
)

Call = Callable[[tuple[Any, ...], dict[str, Any], Any], Awaitable[Any]]


async def same(args: tuple[Any, ...], kwargs: dict[str, Any], gone: Any) -> str:
    return str(kwargs["text"])


@dataclass
class Answer:
    """What came back."""

    messages: list[dict[str, Any]]
    raised: BaseException | None = None

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def whole(self) -> bool:
        """One head, then a body that ends, and nothing else."""
        kinds = [message["type"] for message in self.messages]
        heads = kinds.count("http.response.start")
        more = [message.get("more_body", False) for message in self.messages[1:]]
        return kinds[:1] == ["http.response.start"] and heads == 1 and more[-1:] == [False] and all(more[:-1])


@dataclass
class World:
    """An edge, and what it logged and counted."""

    edge: Edge
    out: StringIO
    finished: list[int] = field(default_factory=list)

    async def ask(
        self,
        path: str,
        body: bytes | list[bytes] = b"",
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
        method: str = "POST",
        sized: bool = True,
        send: Callable[[Any], Awaitable[None]] | None = None,
    ) -> Answer:
        """As uvicorn would: a task of its own, the body in chunks."""
        chunks = body if isinstance(body, list) else [body]
        names = [(b"content-length", b"%d" % sum(map(len, chunks)))] if sized else []
        scope = {
            "type": "http", "method": method, "path": path, "client": ("10.0.0.1", 1), "query_string": b"",
            "headers": [*names, *(headers or [])], "state": {}, "http_version": "1.1", "scheme": "http",
            "root_path": "",
        }  # fmt: skip
        waiting = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, 1)
        ]
        messages: list[dict[str, Any]] = []

        async def receive() -> Any:
            if waiting:
                return waiting.pop(0)
            return await asyncio.Event().wait()  # the client stays

        async def collect(message: Any) -> None:
            messages.append(message)
            if send:
                await send(message)

        try:
            await asyncio.create_task(self.edge(scope, receive, collect))
        except BaseException as error:  # noqa: BLE001
            return Answer(messages, error)
        return Answer(messages)

    @property
    def log(self) -> list[dict[str, Any]]:
        assert self.edge._log is not None
        self.edge._log.flush()  # rather than wait for its timer
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


def world(
    limits: Limits = NO_LIMITS,
    *,
    call: Call = same,
    admit: Mapping[str, Callable[[], None]] | None = None,
    app: Any = APP,
) -> World:
    out, finished = StringIO(), list[int]()
    edge = Edge(
        app,
        endpoints={
            f"/{name}": [kind(method, call, None, b"BentoML Service/shop") for kind in (Json, Form)]
            for name, method in SERVICE.apis.items()
        },
        admit=admit or {},
        limits=limits,
        traffic=None,
        log=AccessLog((), out),
        finished=lambda: finished.append(1),
    )
    return World(edge, out, finished)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def within(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "bentoml.serve")


# Answers


def test_an_endpoint_is_answered_with_the_ids_of_bentoml_and_logged() -> None:
    async def test() -> None:
        shop = world()
        answer = await shop.ask("/say", b'{"text": "moin"}')
        await turns()

        assert (answer.status, answer.body, answer.whole) == (200, b"moin", True)
        assert answer.headers["server"] == "BentoML Service/shop"
        assert len(answer.headers["x-bentoml-request-id"]) == 16
        (line,) = shop.log
        assert (line["path"], line["status"], line["request_bytes"], line["response_bytes"]) == ("/say", 200, 16, 4)
        assert line["request_id"] == answer.headers["x-bentoml-request-id"]
        assert shop.finished == [1]

    within(test())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"application/x-www-form-urlencoded", b"text=moin"),
        (
            b"multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nmoin\r\n--b--\r\n',
        ),
    ],
)
def test_a_small_form_is_answered_here_and_any_other_by_bentoml(kind: bytes, body: bytes) -> None:
    async def test() -> None:
        headers, left_to_bentoml = [(b"content-type", kind)], 404  # whose application has no such path here
        small = await world().ask("/say", body, headers=headers)
        assert (small.status, small.body, small.whole) == (200, b"moin", True)

        large = body.replace(b"moin", b"moin" * (1 << 18))
        assert (await world().ask("/say", large, headers=headers)).status == left_to_bentoml
        assert (await world().ask("/say", [body, b""], headers=headers, sized=False)).status == left_to_bentoml

    within(test())


UPLOAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n'
BY_FORM = [(b"content-type", b"multipart/form-data; boundary=b")]


@pytest.mark.parametrize("ending", ["well", "badly", "late", "left"])
def test_an_uploaded_file_goes_with_its_request_however_that_ends(ending: str) -> None:
    files: list[Path] = []

    async def call(_: tuple[Any, ...], kwargs: dict[str, Any], gone: Any) -> int:
        files.append(kwargs["file"])
        assert files[0].read_bytes() == b"hello"
        if ending == "badly":
            raise LookupError("of the service")
        if ending == "left":
            raise Gone
        if ending == "late":
            await asyncio.Event().wait()
        return 5

    async def test() -> None:
        answer = await world(limits(timeout_s=0.05), call=call).ask("/weigh", UPLOAD, headers=BY_FORM)
        if ending != "left":
            assert answer.status == {"well": 200, "badly": 500, "late": 504}[ending]
        (file,) = files
        assert not file.exists()
        # A folder in which a thread may still be at work is not handed on to another request.
        assert file.parent.exists() == (ending in ("well", "badly"))

    within(test())


def test_what_is_left_for_after_the_answer_may_take_longer_than_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "write", lambda *_: True)  # as if uvicorn had written it
    done: list[bool] = []

    async def later() -> None:
        await asyncio.sleep(0.3)
        done.append(True)

    async def call(args: tuple[Any, ...], kwargs: dict[str, Any], gone: Any) -> str:
        _response_var.get().background.add_task(later)
        return "soon"

    async def test() -> None:
        assert (await world(limits(timeout_s=0.05), call=call).ask("/say", b"{}")).raised is None
        assert done == [True]

    within(test())


def test_a_body_in_chunks_is_put_together() -> None:
    async def test() -> None:
        answer = await world().ask("/say", [b'{"te', b"", b'xt": "mo', b'in"}'], sized=False)
        assert answer.body == b"moin"

    within(test())


@pytest.mark.parametrize("path", ["/failing", "/exiting", "/cancelled_inside"])
def test_whatever_a_service_raises_is_one_whole_500_and_logged_as_such(path: str) -> None:
    async def test() -> None:
        shop = world()
        answer = await shop.ask(path)
        await turns()

        assert (answer.status, answer.whole) == (500, True)
        assert shop.log[0]["status"] == 500
        assert (await shop.ask("/say")).status == 200

    within(test())


@pytest.mark.parametrize("error", [LookupError("no"), SystemExit(3), asyncio.CancelledError()])
def test_whatever_an_endpoint_raises_is_one_whole_500(error: BaseException) -> None:
    async def bad(args: Any, kwargs: Any, gone: Any) -> None:
        raise error

    async def test() -> None:
        shop = world(call=bad)
        answer = await shop.ask("/say")
        assert (answer.status, answer.whole, answer.raised) == (500, True, None)

    within(test())


def test_an_answer_that_fails_in_the_middle_is_cut_not_ended_as_if_it_were_whole() -> None:
    async def test() -> None:
        answer = await world().ask("/half")
        assert answer.messages[1]["body"] == b"half"
        assert not answer.whole
        assert answer.raised is not None  # upon which uvicorn closes the connection

    within(test())


def test_a_client_that_left_before_its_body_was_whole_is_logged_as_499() -> None:
    async def test() -> None:
        shop = world()

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        sent: list[Any] = []
        scope = {"type": "http", "method": "POST", "path": "/say", "headers": [], "state": {}}
        await shop.edge(scope, receive, sent.append)
        await turns()
        assert sent == []
        assert shop.log[0]["status"] == 499

    within(test())


# Size of the body


@pytest.mark.parametrize("path", ["/say", "/echo"])
@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_body_larger_than_allowed_gets_413_however_it_is_sent_and_read(path: str, sized: bool, chunks: int) -> None:
    async def test() -> None:
        shop = world(limits(max_body=30))
        small, large = [b'{"text": ', b'"moin"', b"}"], [b'{"text": "', b"x" * 40, b'"}']
        if chunks == 1:
            small, large = [b"".join(small)], [b"".join(large)]

        assert (await shop.ask(path, small, sized=sized)).status == 200
        answer = await shop.ask(path, large, sized=sized)
        await turns()

        assert (answer.status, answer.whole) == (413, True)
        assert json.loads(answer.body) == {"error": "the body is larger than 30 bytes"}
        assert answer.headers["connection"] == "close"
        assert [line["status"] for line in shop.log] == [200, 413]

    within(test())


def test_a_body_of_just_the_allowed_size_is_taken() -> None:
    async def test() -> None:
        shop = world(limits(max_body=16))
        for sized in (True, False):
            assert (await shop.ask("/say", b'{"text": "moin"}', sized=sized)).status == 200
            assert (await shop.ask("/say", b'{"text": "moin"} ', sized=sized)).status == 413

    within(test())


# Concurrency


@pytest.mark.parametrize(
    ("limit", "status", "retry"), [({"max_concurrency": 2}, 503, "1"), ({"traffic_concurrency": 2}, 429, None)]
)
def test_one_request_too_many_is_refused_at_once_and_the_next_one_after_an_end_is_not(
    limit: dict[str, int], status: int, retry: str | None
) -> None:
    gate = asyncio.Event()

    async def slow(args: Any, kwargs: Any, gone: Any) -> str:
        await gate.wait()
        return "done"

    async def test() -> None:
        shop = world(limits(**limit, free_paths=frozenset(["/echo"])), call=slow)
        running = [asyncio.create_task(shop.ask("/say")) for _ in range(2)]
        await turns()

        refused = await shop.ask("/say")
        assert (refused.status, refused.whole) == (status, True)
        assert refused.headers.get("retry-after") == retry
        assert (await shop.ask("/failing")).status == status
        assert (await shop.ask("/echo")).status == 200  # health checks and metrics pass

        gate.set()
        assert [answer.status for answer in await asyncio.gather(*running)] == [200, 200]
        assert (await shop.ask("/say")).status == 200

    within(test())


@given(st.lists(st.sampled_from(["/say", "/failing", "/exiting", "/cancelled_inside", "/half", "/none"]), max_size=20))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_however_requests_end_none_is_counted_as_in_flight_afterwards(paths: list[str]) -> None:
    async def test() -> None:
        shop = world(limits(max_concurrency=1, timeout_s=60))
        for path in paths:
            await shop.ask(path)
        assert (await shop.ask("/say")).status == 200
        assert len(shop.finished) == len(paths) + 1

    within(test())


# Overload


def test_a_request_that_would_be_late_is_refused_before_its_body_is_read() -> None:
    def full() -> None:
        raise Overloaded(2.3)

    async def test() -> None:
        answer = await world(admit={"/say": full}).ask("/say", [b"never", b"read"])
        assert (answer.status, answer.whole) == (503, True)
        assert answer.headers["retry-after"] == "3"
        assert json.loads(answer.body) == {"error": "overloaded; try again in 3 s"}

    within(test())


def test_overload_noticed_only_in_the_queue_is_the_same_503() -> None:
    async def late(args: Any, kwargs: Any, gone: Any) -> None:
        raise Overloaded(0.1)

    async def test() -> None:
        answer = await world(call=late).ask("/say")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")

    within(test())


# Time


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """Has ten minutes pass."""
    passed = [0.0]
    monkeypatch.setattr(noren_serve.patience, "perf_counter", lambda: perf_counter() + passed[0])

    async def forward() -> None:
        await turns()
        passed[0] += 600
        await asyncio.sleep(0.25)  # two ticks of patience
        await turns()

    return forward


SOON = limits(timeout_s=60)


async def never(args: Any, kwargs: Any, gone: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/say", "/stalled"])
def test_a_request_that_takes_too_long_gets_504(path: str, hurry: Callable[[], Awaitable[None]]) -> None:
    async def test() -> None:
        shop = world(SOON, call=never)
        asking = asyncio.create_task(shop.ask(path))
        await hurry()
        answer = await asking
        await turns()

        assert (answer.status, answer.whole, answer.raised) == (504, True, None)
        assert json.loads(answer.body) == {"error": "Not able to process the request in 60 seconds"}
        assert shop.log[0]["status"] == 504

    within(test())


@pytest.mark.parametrize("path", ["/say", "/echo"])
def test_a_client_that_reads_slowly_gets_its_whole_answer(path: str, hurry: Callable[[], Awaitable[None]]) -> None:
    async def test() -> None:
        read = asyncio.Event()

        async def slowly(message: Any) -> None:
            await read.wait()

        asking = asyncio.create_task(world(SOON).ask(path, b'{"text": "moin"}', send=slowly))
        await hurry()
        assert not asking.done()
        read.set()
        answer = await asking

        assert (answer.status, answer.whole, answer.raised) == (200, True, None)

    within(test())


def test_a_deadline_frees_the_place_of_a_request_in_the_queue(hurry: Callable[[], Awaitable[None]]) -> None:
    """What timed out while it waited for a batch is not computed."""
    gate, computed = asyncio.Event(), list[Any]()

    async def model(batch: list[str]) -> list[str]:
        computed.append(batch)
        await gate.wait()
        return batch

    async def test() -> None:
        rows = PayloadRows(0)
        batcher = Batcher(model, inputs=rows, outputs=rows, max_rows=1, max_latency=60)

        async def batched(args: Any, kwargs: Any, gone: Any) -> str:
            return str((await batcher.submit([kwargs["text"]], gone))[0])

        shop = world(SOON, call=batched)
        asking = [asyncio.create_task(shop.ask("/say", b'{"text": "%d"}' % n)) for n in range(3)]
        await hurry()
        assert [(await one).status for one in asking] == [504] * 3
        gate.set()
        await turns()
        assert computed == [["0"]]
        assert (await shop.ask("/say", b'{"text": "9"}')).body == b"9"

    within(test())


# Ids and traces


@pytest.mark.parametrize("threaded", [False, True])
def test_an_incoming_trace_is_the_current_one_in_the_service_and_in_the_log(threaded: bool) -> None:
    seen: list[str] = []
    threads = Threads(1)

    def look() -> str:
        span = trace.get_current_span().get_span_context()
        seen.append(format(span.trace_id, "032x") if span.is_valid else "")
        seen.append(threading.current_thread().name.partition("-")[0])
        return "seen"

    async def call(args: Any, kwargs: Any, gone: Any) -> str:
        return str(await threads.run(look)) if threaded else look()

    async def test() -> None:
        shop = world(call=call)
        await shop.ask("/say", headers=[TRACEPARENT, (b"x-request-id", b"abc-1")])
        await shop.ask("/say")
        await turns()

        assert seen[::2] == [TRACE, ""]  # and not in the next request
        assert seen[1] == ("endpoint" if threaded else "MainThread")
        assert (shop.log[0]["trace_id"], shop.log[0]["request_id"]) == (TRACE, "abc-1")
        assert "trace_id" not in shop.log[1]

    within(test())


@pytest.mark.parametrize(
    "value",
    [
        b"", b"00", b"00-0-0-0", b"\xff\x00\n", b"x" * 100_000, b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"ff-" + TRACE.encode() + b"-00f067aa0ba902b7-01", b'00-"-"-"',
    ],
)  # fmt: skip
def test_a_trace_that_is_none_is_left_alone(value: bytes) -> None:
    async def test() -> None:
        shop = world()
        assert (await shop.ask("/say", headers=[(b"traceparent", value)])).status == 200
        await turns()
        assert "trace_id" not in shop.log[0]

    within(test())


names = st.sampled_from(
    [
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"x-request-id",
        b"content-type",
        b"content-length",
        b"cookie",
        b"x-other",
    ]
)
values = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [TRACEPARENT[1], b"a=1,b=2;c", b"%ff=%00,=,==", b"-5", b"9" * 30, "²".encode(), b"application/json"]
    ),
)


@given(st.lists(st.tuples(names, values), max_size=8))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_header_whatever_it_says_leaves_a_request_without_one_answer_and_one_line(
    headers: list[tuple[bytes, bytes]],
) -> None:
    async def test() -> None:
        shop = world(limits(max_body=10_000, timeout_s=60))
        answer = await shop.ask("/say", b'{"text": "moin"}', headers=headers, sized=False)
        await turns()
        assert answer.raised is None
        assert answer.whole
        assert answer.status in (200, 413, 500, 404, 405)
        assert len(shop.log) == 1
        assert (await shop.ask("/say")).status == 200

    within(test())
