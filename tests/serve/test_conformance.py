"""noren-serve answers every request as `bentoml serve` does; differences.py lists where it does not, and why.

BentoML's own Python clients cannot tell them apart.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BentoMLException
from PIL import Image

if TYPE_CHECKING:
    from tests.serve import wire
    from tests.serve.differences import Side
    from tests.serve.servers import Pair

pytestmark = pytest.mark.e2e
together = ThreadPoolExecutor(2)
Pairs = Callable[[str], "Pair"]


def test_an_answer_is_that_of_bentoml(
    pair: Pair, service: str, case: str, table: dict[str, Any], record_property: Callable[[str, str], None]
) -> None:
    record_property("conformance", service)
    requests = table["cases"][service][case]
    expected, given = together.map(lambda server: table["ask"](server.port, requests), pair.both)

    if difference := table["differences"].get(f"{service}-{case}"):
        record_property("compared", "deliberate")
        assert told(expected[-1], difference["bentoml"]) == difference["bentoml"]
        assert told(given[-1], difference["noren"]) == difference["noren"]
        return
    steps = requests if isinstance(requests, list) else [requests]
    for request, theirs, ours in zip(steps, expected, given, strict=True):
        differs = table["contrast"](theirs, ours, request)
        extra = {name for name in differs if name in table["extra_headers"] and differs[name][0] is None}
        assert {part: differs[part] for part in differs if part not in extra} == {}
        if extra:
            record_property("compared", "extra")


def told(answer: wire.Answer, side: Side) -> Side:
    """The side as it should be written to fit this answer."""
    headers = {name.lower(): value for name, value in answer.headers}
    body, expected = answer.body.decode("utf-8", "replace"), side.get("body", "")
    seen: Side = {
        "status": answer.status,
        "body": expected if re.fullmatch(expected, body, re.DOTALL) else body,
        "fault": answer.fault,
        "headers": {name: headers.get(name) for name in side.get("headers", {})},
        "within_s": max(side.get("within_s", 0), answer.took_s),
        "not_before_s": min(side.get("not_before_s", 0), answer.took_s),
    }
    return {key: value for key, value in seen.items() if key in side}  # type: ignore[return-value]


def test_the_tables_name_cases_that_exist(table: dict[str, Any]) -> None:
    cases = {f"{service}-{case}" for service, known in table["cases"].items() for case in known}
    assert set(table["differences"]) <= cases
    assert {extra["shown_by"] for extra in table["extra_headers"].values()} <= cases


def test_an_extra_header_is_extra(pairs: Pairs, service: str, header: str, table: dict[str, Any]) -> None:
    case = table["extra_headers"][header]["shown_by"].removeprefix(f"{service}-")
    requests = table["cases"][service][case]
    theirs, ours = together.map(lambda server: table["ask"](server.port, requests)[-1], pairs(service).both)
    assert header not in dict(theirs.headers)
    assert header in dict(ours.headers)


# BentoML's own Python clients


@pytest.fixture
def use_both(pairs: Pairs) -> Callable[[str, Callable[[Any], Any]], Any]:
    """What a use of the client gives with noren-serve, after a look that it gives the same with BentoML."""

    def use(service: str, call: Callable[[Any], Any]) -> Any:
        found = []
        for server in pairs(service).both:
            with bentoml.SyncHTTPClient(server.url, timeout=60) as client:
                found.append(call(client))
        assert str(found[0]) == str(found[1])
        return found[1]

    return use


Both = Callable[[str, Callable[[Any], Any]], Any]


@pytest.mark.parametrize("service", ["json_zoo"])
def test_json(use_both: Both, service: str) -> None:
    assert use_both(service, lambda client: client.add(a=1, b=5)) == 6
    assert use_both(service, lambda client: client.shout("hello")) == "HELLO"
    assert use_both(service, lambda client: client.greet(person={"name": "Ada"}))["tags"] == ["quiet"]
    assert use_both(service, lambda client: client.list_root([1, 2])) == [2, 1]
    assert use_both(service, lambda client: client.is_ready()) is True


@pytest.mark.parametrize("service", ["json_zoo"])
def test_errors(use_both: Both, service: str) -> None:
    def refused(client: Any) -> str:
        with pytest.raises(BentoMLException) as error:
            client.blank(text=" ")
        return f"{error.value.error_code} {error.value}"

    assert use_both(service, refused).startswith("400 ")


@pytest.mark.parametrize("service", ["json_zoo"])
def test_the_async_client(pairs: Pairs, service: str) -> None:
    async def many(url: str) -> list[int]:
        async with bentoml.AsyncHTTPClient(url, timeout=60) as client:
            return list(await asyncio.gather(*(client.add(a=n) for n in range(20))))

    assert asyncio.run(many(pairs(service).noren.url)) == list(range(2, 22))


@pytest.mark.parametrize("service", ["file_zoo"])
def test_files_and_images(use_both: Both, service: str, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("hello")
    drawn = tmp_path / "picture.png"
    Image.new("RGB", (3, 2)).save(drawn)

    assert use_both(service, lambda client: client.facts(file=file))["bytes"] == 5
    assert use_both(service, lambda client: client.several(files=[file, file])) == [5, 5]
    assert use_both(service, lambda client: client.give(name="a.txt", text="hi").read_text()) == "hi"
    assert use_both(service, lambda client: client.turn(image=Image.open(drawn)).size) == (2, 3)
    assert use_both(service, lambda client: client.file_root(file))["bytes"] == 5


@pytest.mark.parametrize("service", ["tensor_zoo"])
def test_arrays_and_frames(use_both: Both, service: str) -> None:
    assert use_both(service, lambda client: client.double(x=np.array([[1, 2]]))).tolist() == [[2, 4]]
    assert use_both(service, lambda client: client.array_root(np.array([1, 2]))).tolist() == [2, 1]
    assert use_both(service, lambda client: client.frame(df=pd.DataFrame({"a": [1]})))["extra"].tolist() == [1]


@pytest.mark.parametrize("service", ["stream_zoo"])
def test_streams(use_both: Both, service: str) -> None:
    assert "".join(use_both(service, lambda client: list(client.words(text="a b")))) == "a\nb\n"


@pytest.mark.parametrize("service", ["stream_zoo"])
@pytest.mark.parametrize("method", ["when_told", "when_told_sync"])
def test_a_stream_comes_as_it_is_made(pairs: Pairs, service: str, method: str) -> None:
    async def heard(url: str) -> list[str]:
        async with bentoml.AsyncHTTPClient(url, timeout=60) as client:
            words: AsyncIterator[str] = getattr(client, method)(name=method)
            first = await anext(words)
            await client.tell(name=method)  # only now is the rest made
            return [first, *[word async for word in words]]

    for server in pairs(service).both:
        assert asyncio.run(heard(server.url)) == ["one;", "two;"]


@pytest.mark.parametrize("service", ["task_zoo"])
def test_tasks(pairs: Pairs, service: str) -> None:
    """With the asynchronous client: `submit` of the other one is broken in BentoML 1.4.39."""

    async def work(url: str) -> tuple[Any, str, bool]:
        async with bentoml.AsyncHTTPClient(url, timeout=60) as client:
            task = await client.double.submit(n=21)
            await _end(task)
            again = await task.retry()
            return await task.get(), await _end(again), again.id != task.id

    for server in pairs(service).both:
        assert asyncio.run(work(server.url)) == (42, "completed", True)


async def _end(task: Any) -> str:
    async with asyncio.timeout(60):
        while (status := (await task.get_status()).value) == "in_progress":
            await asyncio.sleep(0.02)
    return str(status)
