"""The cache gives each request its own answer: from memory, from Redis, or computed, whatever happens to Redis."""

import hashlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bentos import cache
from bentos.cache import REDIS_PATIENCE_S, Cache, digest


class Price(BaseModel):
    value: float
    model_version: str = "v1"


@dataclass
class Counted:
    outcomes: list[str] = field(default_factory=list)

    def cache(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@dataclass
class MemoryRedis:
    """A Redis in memory, which can be broken."""

    kept: dict[str, bytes] = field(default_factory=dict)
    seconds: list[int] = field(default_factory=list)
    asked: int = 0
    broken: bool = False

    def get(self, key: str) -> bytes | None:
        self._ask()
        return self.kept.get(key)

    def set(self, key: str, content: bytes, *, ex: int) -> None:
        self._ask()
        self.kept[key] = content
        self.seconds.append(ex)

    def _ask(self) -> None:
        self.asked += 1
        if self.broken:
            raise ConnectionError("gone")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_ENTRIES", "CACHE_REDIS_URL", "CACHE_TTL_S"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> MemoryRedis:
    made = MemoryRedis()
    monkeypatch.setenv("CACHE_REDIS_URL", "redis://localhost")
    monkeypatch.setattr(cache, "_client", lambda url: made)
    return made


def new(counts: Counted | None = None, *, version: str = "v1") -> Cache[Price]:
    return Cache(Price, service="prices", version=version, counts=counts or Counted())


def never() -> Price:
    raise AssertionError("computed again")


# What identifies a request


def test_a_digest_does_not_depend_on_the_order_of_fields() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest(Price(value=1, model_version="v2")) == digest({"model_version": "v2", "value": 1.0})


def test_a_digest_is_the_same_in_all_processes() -> None:
    assert digest({"b": 1, "a": "é"}) == hashlib.sha256(b'{"a":"\\u00e9","b":1}').hexdigest()


def test_different_requests_have_different_digests() -> None:
    requests: list[dict[str, Any]] = [
        {"a": 1}, {"a": "1"}, {"a": None}, {}, {"a": [1]}, {"a": [1, 1]}, {"a": {"b": 1}}, {"b": 1}, {"a": -1},
        {"a": b"\xff\x00"}, {"a": b"\xff\x01"}, {"a": date(2026, 1, 1)}, {"a": date(2026, 1, 2)}, {"a": Price(value=1)},
    ]  # fmt: skip

    assert len({digest(request) for request in requests}) == len(requests)


# In memory


def test_a_repeated_request_is_computed_once() -> None:
    counts = Counted()
    prices = new(counts)

    assert prices.answer("k", lambda: Price(value=1)) == Price(value=1)
    assert prices.answer("k", never) == Price(value=1)
    assert counts.outcomes == ["miss", "hit"]


def test_what_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_ENTRIES", "2")
    prices = new()
    for key in ("a", "b"):
        prices.put(key, Price(value=1))
    prices.get("a")
    prices.put("c", Price(value=1))

    assert [prices.get(key) is not None for key in ("a", "b", "c")] == [True, False, True]


def test_no_entries_switch_it_off_altogether(monkeypatch: pytest.MonkeyPatch, redis: MemoryRedis) -> None:
    monkeypatch.setenv("CACHE_ENTRIES", "0")
    counts = Counted()
    prices = new(counts)

    assert [prices.answer("k", partial(Price, value=value)).value for value in (1.0, 2.0)] == [1, 2]
    assert prices.get("k") is None
    assert (counts.outcomes, redis.asked) == ([], 0)


def test_an_answer_that_cannot_be_computed_is_not_kept() -> None:
    prices = new()

    with pytest.raises(AssertionError, match="computed again"):
        prices.answer("k", never)
    assert prices.answer("k", lambda: Price(value=1)) == Price(value=1)


def test_many_threads_get_their_own_answers_and_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_ENTRIES", "20")
    counts = Counted()
    prices = new(counts)

    def ask(seed: int) -> bool:
        keys = random.Random(seed).choices(range(60), k=1000)
        return all(prices.answer(str(key), partial(Price, value=key)).value == key for key in keys)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert len(prices._kept) == 20
    assert len(counts.outcomes) == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [("CACHE_ENTRIES", "many"), ("CACHE_ENTRIES", "-1"), ("CACHE_ENTRIES", "²"), ("CACHE_TTL_S", "0"),
     ("CACHE_TTL_S", "1.5")],
)  # fmt: skip
def test_a_setting_that_is_no_number_is_named(
    monkeypatch: pytest.MonkeyPatch, redis: MemoryRedis, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=name):
        new()


# With Redis


def test_workers_share_answers_through_redis(redis: MemoryRedis) -> None:
    counts = Counted()
    new().put("k", Price(value=0.1))
    other = new(counts)

    assert other.answer("k", never) == Price(value=0.1)
    assert other.answer("k", never) == Price(value=0.1)
    assert counts.outcomes == ["shared", "hit"]
    assert (list(redis.kept), redis.seconds) == (["prices:v1:k"], [3600])


def test_a_new_version_never_gives_an_old_versions_answers(redis: MemoryRedis) -> None:
    new(version="v1").put("k", Price(value=1))

    assert new(version="v2").get("k") is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"value": "dear"}', b'{"value": null}'])
def test_what_something_else_wrote_is_as_good_as_absent(redis: MemoryRedis, content: bytes) -> None:
    redis.kept["prices:v1:k"] = content

    assert new().answer("k", lambda: Price(value=2)) == Price(value=2)


def test_a_broken_redis_fails_no_request_and_is_left_alone_for_a_while(
    redis: MemoryRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.broken = True
    prices = new()

    assert [prices.answer(str(key), partial(Price, value=key)).value for key in range(5)] == [0, 1, 2, 3, 4]
    assert redis.asked == 1
    assert caplog.messages == ["the cache does without Redis for 30 s: gone"]

    redis.broken = False
    assert prices._redis
    prices._redis._rests_until = 0.0  # as if the while were over
    prices.put("new", Price(value=1))
    assert list(redis.kept) == ["prices:v1:new"]


def test_a_name_that_cannot_be_looked_up_costs_a_moment_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis", reason="the package redis is not installed")
    resolved = threading.Event()

    def slow(*_: object) -> Any:
        resolved.wait(10)
        raise socket.gaierror("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setenv("CACHE_REDIS_URL", "redis://redis.internal")
    prices = new()

    began = time.monotonic()
    for key in range(100):
        assert prices.answer(str(key), partial(Price, value=key)).value == key
    took = time.monotonic() - began
    assert prices._redis
    prices._redis._rests_until = 0.0  # as if the while were over, and the name were still being looked up
    prices.put("new", Price(value=1))
    resolved.set()

    assert REDIS_PATIENCE_S <= took < 2
    assert caplog.messages == ["the cache does without Redis for 30 s: it does not answer in time"] * 2


def test_redis_that_is_not_installed_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_REDIS_URL", "redis://localhost")
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(SystemExit, match="add redis to bentofile"):
        new()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://localhost:port"])
def test_a_url_that_is_none_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    pytest.importorskip("redis", reason="the package redis is not installed")
    monkeypatch.setenv("CACHE_REDIS_URL", url)

    with pytest.raises(SystemExit, match="CACHE_REDIS_URL"):
        new()


# With a real one


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    pytest.importorskip("redis", reason="the package redis is not installed")
    program = shutil.which("redis-server") or pytest.skip("there is no redis-server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    running = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert time.monotonic() < deadline, "redis-server does not start"
            time.sleep(0.02)
        monkeypatch.setenv("CACHE_REDIS_URL", f"redis://127.0.0.1:{port}/0")
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.mark.e2e
def test_answers_survive_a_real_redis(server: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_TTL_S", "100")
    counts = Counted()
    new().put("k", Price(value=0.1))
    other = new(counts)

    assert other.answer("k", never) == Price(value=0.1)
    assert counts.outcomes == ["shared"]
    assert other._redis
    assert 0 < other._redis._client.ttl("prices:v1:k") <= 100
    assert new(version="v2").get("k") is None


@pytest.mark.e2e
def test_many_threads_share_a_real_redis(server: "subprocess.Popen[bytes]") -> None:
    workers = [new(), new()]

    def ask(number: int) -> bool:
        found = workers[number % 2].answer(str(number % 30), lambda: Price(value=number % 30))
        return found.value == number % 30

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(600)))


@pytest.mark.e2e
@pytest.mark.parametrize("ailment", [signal.SIGKILL, signal.SIGSTOP])
def test_a_redis_that_dies_or_hangs_costs_a_moment_once(
    server: "subprocess.Popen[bytes]", ailment: signal.Signals
) -> None:
    prices = new()
    prices.put("before", Price(value=1))
    server.send_signal(ailment)

    began = time.monotonic()
    for key in range(100):
        assert prices.answer(str(key), partial(Price, value=key)).value == key

    assert time.monotonic() - began < 2  # 100 times REDIS_PATIENCE_S would be 5
    assert prices.answer("before", never) == Price(value=1)
