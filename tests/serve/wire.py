"""Requests as bytes on a socket, and what came back: no client library smooths anything over."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Required, TypedDict
from urllib.parse import urlencode

PATIENCE_S = 60.0
HOST = "zoo.test"  # the same for both servers, whatever their ports
BOUNDARY = "zoo-boundary"

Part = tuple[str, str | None, bytes, str | None]  # field, file name, content, content type


class Request(TypedDict, total=False):
    """One request of a case. Without a method it is a POST; `{name}` in the path is what an earlier one kept."""

    path: Required[str]
    method: str
    headers: dict[str, str]
    json: Any
    body: bytes
    form: dict[str, str]
    parts: list[Part]  # multipart/form-data
    chunks: list[bytes]  # a chunked body, with a pause before each chunk
    raw: list[bytes]  # instead of all that: exactly these bytes, with a pause before each but the first
    hang_up: bool  # after `raw`, do not wait for an answer
    say: list[str | bytes]  # instead of all that: a websocket, and what to send on it
    beside: list[Request]  # what is under way when this one is sent
    keep: str  # a field of the JSON answer, for the paths of later requests
    until: str  # ask again until the answer contains this
    vary: str  # a regular expression of what differs from run to run in the body


Case = Request | list[Request]
Cases = dict[str, Case]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back. `fault` says how it ended when not properly; then there may be no status."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    fault: str = ""
    took_s: float = 0.0


def ask(port: int, case: Case) -> list[Answer]:
    """The answers to the requests of a case, one after the other."""
    kept: dict[str, str] = {}
    answers = []
    for request in case if isinstance(case, list) else [case]:
        answer = _until(port, {**request, "path": request["path"].format_map(kept) if kept else request["path"]})
        if "keep" in request:
            kept[request["keep"]] = str(json.loads(answer.body)[request["keep"]])
        answers.append(answer)
    return answers


def _until(port: int, request: Request) -> Answer:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = _with_company(port, request)
        if request.get("until", "").encode() in answer.body or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def _with_company(port: int, request: Request) -> Answer:
    with ExitStack() as stack:
        if company := request.get("beside", []):
            pool = stack.enter_context(ThreadPoolExecutor(len(company)))
            for other in company:
                pool.submit(send, port, other)
            time.sleep(1)  # a busy machine needs a while until all of them are under way
        return send(port, request)


def send(port: int, request: Request) -> Answer:
    """Send one request on a connection of its own."""
    began = time.monotonic()
    try:
        if "say" in request:
            answer = asyncio.run(asyncio.wait_for(_talk(port, request), PATIENCE_S))
        else:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                answer = _send_raw(connection, request) if "raw" in request else _send(connection, request)
    except TimeoutError:
        answer = Answer(fault="timeout")
    return Answer(**{**vars(answer), "took_s": time.monotonic() - began})


def _send(connection: socket.socket, request: Request) -> Answer:
    method = request.get("method", "POST")
    body, headers = encode(request)
    lines = [f"{method} {request['path']} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        for chunk in request.get("chunks", []):
            time.sleep(0.05)
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        connection.sendall(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # answered before it was read to the end
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        answered, fault = response.read(), ""
    except http.client.IncompleteRead as cut:
        answered, fault = cut.partial, "cut short"
    except (http.client.HTTPException, ConnectionResetError) as error:
        return Answer(fault=type(error).__name__)
    return Answer(status=response.status, headers=tuple(response.getheaders()), body=answered, fault=fault)


def encode(request: Request) -> tuple[bytes, dict[str, str]]:
    """The body, or what ends a chunked one, and the headers."""
    headers = {"host": HOST, "accept": "*/*"}
    body = request.get("body", b"")
    if "json" in request:
        body, headers["content-type"] = json.dumps(request["json"]).encode(), "application/json"
    elif "form" in request:
        body, headers["content-type"] = urlencode(request["form"]).encode(), "application/x-www-form-urlencoded"
    elif "parts" in request:
        body = b"".join(map(_part, request["parts"])) + f"--{BOUNDARY}--\r\n".encode()
        headers["content-type"] = f"multipart/form-data; boundary={BOUNDARY}"
    if "chunks" in request:
        body, headers["transfer-encoding"] = b"0\r\n\r\n", "chunked"
    elif body or request.get("method", "POST") in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(body))
    return body, headers | request.get("headers", {})


def _part(part: Part) -> bytes:
    name, filename, content, kind = part
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    head += "" if kind is None else f"\r\nContent-Type: {kind}"
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def _send_raw(connection: socket.socket, request: Request) -> Answer:
    """Everything the server says until it hangs up or falls silent."""
    for number, piece in enumerate(request["raw"]):
        time.sleep(0.05 if number else 0)
        connection.sendall(piece)
    if request.get("hang_up"):
        return Answer()
    said = bytearray()
    try:
        while piece := connection.recv(65536):
            said += piece
            connection.settimeout(PATIENCE_S / 2)
    except TimeoutError:
        return Answer(body=bytes(said), fault="kept open")
    except ConnectionResetError:
        return Answer(body=bytes(said), fault="reset")
    return Answer(body=bytes(said), fault="closed")


async def _talk(port: int, request: Request) -> Answer:
    """A conversation over a websocket: what was said, one message a line, and the code at its end."""
    import aiohttp

    heard: list[str] = []
    try:
        async with aiohttp.ClientSession() as session:
            socket_ = session.ws_connect(
                f"http://127.0.0.1:{port}{request['path']}", headers=request.get("headers"), protocols=["zoo"]
            )
            async with socket_ as talk:
                for word in request["say"]:
                    await (talk.send_str(word) if isinstance(word, str) else talk.send_bytes(word))
                async for message in talk:
                    heard.append(f"{message.type.name} {message.data!r}")
                return Answer(status=101, body="\n".join(heard).encode(), fault=f"closed {talk.close_code}")
    except aiohttp.WSServerHandshakeError as refused:
        return Answer(status=refused.status, fault="refused")


VARYING_HEADERS = {
    "date": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
    "last-modified": r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT",
    "etag": r'"[0-9a-f]{32}"',
    "x-bentoml-request-id": r"[0-9a-f]{16}",
    "x-bentoml-trace-id": r"[0-9a-f]{32}",
}


def contrast(theirs: Answer, ours: Answer, request: Request) -> dict[str, tuple[Any, Any]]:
    """What differs between two answers. Of times and random names only the shape counts."""
    first, second = _essence(theirs, request), _essence(ours, request)
    return {
        part: (first.get(part), second.get(part)) for part in {**first, **second} if first.get(part) != second.get(part)
    }


def _essence(answer: Answer, request: Request) -> dict[str, Any]:
    vary = request.get("vary", r"(?!)")
    body = answer.body if "raw" not in request else _unordered(answer.body, vary)
    found: dict[str, Any] = {"status": answer.status, "fault": answer.fault, "body": re.sub(vary.encode(), b"~", body)}
    # The order of headers of different names means nothing (RFC 9110, 5.3), that of the same name does.
    trace = request.get("headers", {}).get("traceparent", "")
    for name, value in answer.headers:
        given = len(value) == 32 and value in trace  # the id that was sent is to come back
        found.setdefault(name.lower(), []).append(value if given else _shape(name.lower(), value, vary))
    return found


def _shape(name: str, value: str, vary: str) -> str:
    if name in VARYING_HEADERS and re.fullmatch(VARYING_HEADERS[name], value):
        return f"<{name}>"
    if name == "allow":  # made from a set: another order in every process
        return ", ".join(sorted(value.split(", ")))
    return re.sub(vary, "~", value)


def _unordered(said: bytes, vary: str) -> bytes:
    """A raw conversation with the headers of each answer in alphabetical order."""

    def ordered(head: re.Match[bytes]) -> bytes:
        pairs = [line.partition(": ")[::2] for line in head[2].decode("latin-1").split("\r\n")]
        lines = sorted(f"{name}: {_shape(name, value, vary)}" for name, value in pairs)
        return head[1] + "\r\n".join(lines).encode() + b"\r\n\r\n"

    return re.sub(rb"(HTTP/1\.1 [^\r]*\r\n)(.*?)\r\n\r\n", ordered, said, flags=re.DOTALL)
