"""Answers to repeated requests: in the memory of this worker, and in Redis behind it where one is named.

CACHE_ENTRIES     how many answers a worker keeps (default 1024; 0 switches the cache off, and Redis with it)
CACHE_REDIS_URL   a Redis that all workers and replicas share; off by default; needs redis among the Bento's packages
CACHE_TTL_S       how long Redis keeps an answer (default 3600)

Keys hold the version of the model, so that a new version never gives an old version's answers; code that answers
otherwise with the same model needs an empty Redis. A Redis that is slow or gone costs a request REDIS_PATIENCE_S once,
and is then left alone for a while; it never fails a request.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

REDIS_PATIENCE_S = 0.05
REDIS_REST_S = 30.0

Answer = TypeVar("Answer", bound=BaseModel)

_LOG = logging.getLogger(__name__)


class Counts(Protocol):
    """Where hits and misses are counted."""

    def cache(self, outcome: str) -> None:
        """Count a "hit" (memory), "shared" (Redis) or "miss"."""


def digest(request: BaseModel | Mapping[str, Any]) -> str:
    """What identifies a request, whatever the order of its fields: 64 hexadecimal digits.

    Values are what JSON knows, models, dates or bytes.
    """
    fields = to_jsonable_python(request if isinstance(request, BaseModel) else dict(request), bytes_mode="base64")
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Cache(Generic[Answer]):
    """The most recently used answers of one model version. Safe between threads, and to fork before the first use.

    Whoever asks gets the very answer that is kept: nobody may change it.
    """

    def __init__(self, answer: type[Answer], *, service: str, version: str, counts: Counts) -> None:
        self._type, self._counts = answer, counts
        self._prefix = f"{service}:{version}:"
        self._entries = _number("CACHE_ENTRIES", default=1024, least=0)
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._redis = _Redis.from_environment()

    def answer(self, key: str, compute: Callable[[], Answer]) -> Answer:
        """What is kept for the key (a `digest`), or what `compute` gives. Two that ask at once may both compute."""
        if (known := self.get(key)) is not None:
            return known
        found = compute()
        self.put(key, found)
        return found

    def get(self, key: str) -> Answer | None:
        """What is kept for the key."""
        if not self._entries:
            return None
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        if known is not None:
            self._counts.cache("hit")
            return known
        found = self._shared(key)
        self._counts.cache("miss" if found is None else "shared")
        return found

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; the least recently used one makes room."""
        if not self._entries:
            return
        self._keep(key, answer)
        if self._redis:
            self._redis.put(self._prefix + key, answer.model_dump_json().encode())

    def _keep(self, key: str, answer: Answer) -> None:
        with self._lock:
            self._kept[key] = answer
            self._kept.move_to_end(key)
            while len(self._kept) > self._entries:
                self._kept.popitem(last=False)

    def _shared(self, key: str) -> Answer | None:
        content = self._redis.get(self._prefix + key) if self._redis else None
        if content is None:
            return None
        try:
            found = self._type.model_validate_json(content)
        except ValidationError:  # written by something else: as good as absent
            return None
        self._keep(key, found)
        return found


class _Redis:
    """A Redis that may be absent at any time."""

    def __init__(self, client: Any, *, ttl_s: int) -> None:
        self._client, self._ttl_s = client, ttl_s
        self._rests_until = 0.0  # of time.monotonic()
        # Looking up the name of a host knows no timeout, so it is not the request that waits for it. The thread begins
        # with the first question; one is enough, since whoever asks waits for the answer.
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="redis")

    @classmethod
    def from_environment(cls) -> "_Redis | None":
        url = os.environ.get("CACHE_REDIS_URL")
        if not url:
            return None
        return cls(_client(url), ttl_s=_number("CACHE_TTL_S", default=3600, least=1))

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self._ask(lambda: self._client.get(key))
        return found

    def put(self, key: str, content: bytes) -> None:
        self._ask(lambda: self._client.set(key, content, ex=self._ttl_s))

    def _ask(self, question: Callable[[], Any]) -> Any:
        if time.monotonic() < self._rests_until:
            return None
        try:
            return self._in_time(question)
        except Exception as error:  # noqa: BLE001 - whatever ails it, the request goes on
            self._rests_until = time.monotonic() + REDIS_REST_S
            reason = str(error) or "it does not answer in time"
            _LOG.warning("the cache does without Redis for %.0f s: %s", REDIS_REST_S, reason)
            return None

    def _in_time(self, question: Callable[[], Any]) -> Any:
        asked = self._asking.submit(question)
        try:
            return asked.result(REDIS_PATIENCE_S)
        finally:
            asked.cancel()  # what has not begun by now interests nobody


def _client(url: str) -> Any:
    """A Redis client that asks once and waits for no more than REDIS_PATIENCE_S. It connects when it is used."""
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise SystemExit("CACHE_REDIS_URL is set, but redis is not installed: add redis to bentofile.yaml") from None
    patience = {"socket_timeout": REDIS_PATIENCE_S, "socket_connect_timeout": REDIS_PATIENCE_S}
    try:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **patience)
    except ValueError as error:
        raise SystemExit(f"CACHE_REDIS_URL: {error}") from None


def _number(name: str, *, default: int, least: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise SystemExit(f"{name} must be a whole number from {least} on, not {text!r}")
    return int(text)
