"""BentoML's own Python clients cannot tell noren-serve from `bentoml serve`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
import numpy as np
import pandas as pd
import pytest
from bentoml.exceptions import BentoMLException
from PIL import Image

if TYPE_CHECKING:
    from tests.serve.servers import Pair

pytestmark = pytest.mark.e2e
Pairs = Callable[[str], "Pair"]


@pytest.fixture
def both(pairs: Pairs) -> Callable[[str, Callable[[Any], Any]], Any]:
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
def test_json(both: Both, service: str) -> None:
    assert both(service, lambda client: client.add(a=1, b=5)) == 6
    assert both(service, lambda client: client.shout("hello")) == "HELLO"
    assert both(service, lambda client: client.greet(person={"name": "Ada"}))["tags"] == ["quiet"]
    assert both(service, lambda client: client.list_root([1, 2])) == [2, 1]
    assert both(service, lambda client: client.is_ready()) is True


@pytest.mark.parametrize("service", ["json_zoo"])
def test_errors(both: Both, service: str) -> None:
    def refused(client: Any) -> str:
        with pytest.raises(BentoMLException) as error:
            client.blank(text=" ")
        return f"{error.value.error_code} {error.value}"

    assert both(service, refused).startswith("400 ")


@pytest.mark.parametrize("service", ["json_zoo"])
def test_the_async_client(pairs: Pairs, service: str) -> None:
    async def many(url: str) -> list[int]:
        async with bentoml.AsyncHTTPClient(url, timeout=60) as client:
            return list(await asyncio.gather(*(client.add(a=n) for n in range(20))))

    assert asyncio.run(many(pairs(service).noren.url)) == list(range(2, 22))


@pytest.mark.parametrize("service", ["file_zoo"])
def test_files_and_images(both: Both, service: str, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("hello")
    drawn = tmp_path / "picture.png"
    Image.new("RGB", (3, 2)).save(drawn)

    assert both(service, lambda client: client.facts(file=file))["bytes"] == 5
    assert both(service, lambda client: client.several(files=[file, file])) == [5, 5]
    assert both(service, lambda client: client.give(name="a.txt", text="hi").read_text()) == "hi"
    assert both(service, lambda client: client.turn(image=Image.open(drawn)).size) == (2, 3)
    assert both(service, lambda client: client.file_root(file))["bytes"] == 5


@pytest.mark.parametrize("service", ["tensor_zoo"])
def test_arrays_and_frames(both: Both, service: str) -> None:
    assert both(service, lambda client: client.double(x=np.array([[1, 2]]))).tolist() == [[2, 4]]
    assert both(service, lambda client: client.array_root(np.array([1, 2]))).tolist() == [2, 1]
    assert both(service, lambda client: client.frame(df=pd.DataFrame({"a": [1]})))["extra"].tolist() == [1]


@pytest.mark.parametrize("service", ["stream_zoo"])
def test_streams(both: Both, service: str) -> None:
    assert "".join(both(service, lambda client: list(client.words(text="a b")))) == "a\nb\n"


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
