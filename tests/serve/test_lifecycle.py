"""Hooks, drains and crashes: what happens to a service around its requests."""

from __future__ import annotations

import os
import re
import signal
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.conftest import Tiny
    from tests.serve.servers import Server

pytestmark = pytest.mark.e2e
KINDS = ("bentoml", "noren")
# Of a client: no proxy, and no certificates of authorities, which each new one would read for 20 ms.
PLAIN: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}


class Hooks:
    """Both servers with hooks_zoo and a diary each, some workers each."""

    def __init__(self, start: Callable[..., Server], folder: Path, workers: int) -> None:
        self.workers = workers
        self.diaries = {kind: folder / f"{kind}.diary" for kind in KINDS}
        self.servers = {
            kind: start(kind, folder / kind, {"ZOO_DIARY": str(self.diaries[kind]), "ZOO_WORKERS": str(workers)})
            for kind in KINDS
        }
        for kind, server in self.servers.items():
            server.await_ready()
            self.await_lines(kind, "also started", workers)

    def lines(self, kind: str) -> list[str]:
        return self.diaries[kind].read_text().splitlines() if self.diaries[kind].exists() else []

    def await_lines(self, kind: str, line: str, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.lines(kind).count(line) < count:
            assert time.monotonic() < deadline, f"{kind}: {self.lines(kind)}"
            time.sleep(0.02)

    def workers_of(self, kind: str, enough: Callable[[set[int]], bool]) -> set[int]:
        """The processes that answer. With few connections one may get all the work, so ask on many."""

        def ask(_: int) -> int:
            return int(httpx.post(f"{self.servers[kind].url}/pid", timeout=60, **PLAIN).text)

        found: set[int] = set()
        deadline = time.monotonic() + 60
        with ThreadPoolExecutor(8) as guests:
            while not enough(found):
                assert time.monotonic() < deadline, f"{kind}: {found}"
                found |= set(guests.map(ask, range(40)))
        return found


@pytest.fixture(params=[1, 2])
def hooks(request: pytest.FixtureRequest, start: Callable[..., Server], tmp_path: Path) -> Iterator[Hooks]:
    made = Hooks(start, tmp_path, request.param)
    yield made
    for server in made.servers.values():
        server.stop()
        server.gone()


def test_from_start_to_stop(hooks: Hooks) -> None:
    """The hooks are called as often and in the same order, and an open request is answered before the end."""
    started = {kind: hooks.lines(kind) for kind in KINDS}
    with ThreadPoolExecutor(2) as guests:
        answers = {
            kind: guests.submit(httpx.post, f"{server.url}/nap", json={"seconds": 1.2}, timeout=60, **PLAIN)
            for kind, server in hooks.servers.items()
        }
        for kind, server in hooks.servers.items():
            hooks.await_lines(kind, "nap", 1)
            server.stop()
    codes = {kind: server.gone() for kind, server in hooks.servers.items()}

    for kind in KINDS:
        assert (answers[kind].result().status_code, answers[kind].result().text) == (200, "rested"), kind
    # Workers start and stop side by side, so only each one's own order is certain: compare how often.
    assert Counter(started["noren"]) == Counter(started["bentoml"])
    assert started["noren"][:2] == started["bentoml"][:2] == ["also deployed", "deployed"]
    assert Counter(hooks.lines("noren")) == Counter(hooks.lines("bentoml"))
    if hooks.workers == 1:
        assert hooks.lines("noren") == hooks.lines("bentoml")
    assert codes["noren"] == codes["bentoml"] == 0


def test_the_death_of_a_worker_is_noticed_by_its_guests_only(start: Callable[..., Server], tmp_path: Path) -> None:
    """`kill -9` under load: the other worker answers on, and a new one comes."""
    hooks = Hooks(start, tmp_path, 2)
    try:
        for kind, server in hooks.servers.items():
            before = hooks.workers_of(kind, lambda found: len(found) >= 2)
            assert len(before) == 2, kind
            with ThreadPoolExecutor(8) as guests:
                asked = [guests.submit(_answered, server.url) for _ in range(200)]
                time.sleep(0.05)
                os.kill(min(before), signal.SIGKILL)
            lost = sum(not answer.result() for answer in asked)
            assert lost <= 8, f"{kind} lost {lost} of 200"
            hooks.await_lines(kind, "also started", 3)
            new = hooks.workers_of(kind, lambda found, before=before: bool(found - before)) - before  # type: ignore[misc]
            assert len(new) == 1, kind
    finally:
        for server in hooks.servers.values():
            server.stop()
            server.gone()


def _answered(url: str) -> bool:
    try:
        return httpx.post(f"{url}/nap", json={"seconds": 0.01}, timeout=60, **PLAIN).status_code == 200
    except httpx.TransportError:
        return False


def test_a_built_bento_is_served_by_its_tag_and_from_its_folder(
    start: Callable[..., Server], tiny: Tiny, tmp_path: Path
) -> None:
    folder = str(tiny.bentoml_home / "bentos/tiny/v1")
    env = {"BENTOML_HOME": str(tiny.bentoml_home)}
    started = [start(kind, tmp_path / kind, env, "tiny:v1") for kind in KINDS]
    started.append(start("noren", tmp_path / "folder", env, folder))
    try:
        for server in started:
            server.await_ready()
            assert httpx.post(f"{server.url}/say", json={}, timeout=60, **PLAIN).text == "hello"
            metrics = httpx.get(f"{server.url}/metrics", **PLAIN).text
            assert 'endpoint="/say",http_response_code="200",runner_name="tiny",service_name="tiny"' in metrics
            assert 'service_version="v1"' in metrics
    finally:
        for server in started:
            server.stop()
            server.gone()


# Metrics

FAMILY = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
SAMPLE = re.compile(r"^(\w+)\{(.*?)\} (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def measured(pairs: Callable[[str], Any]) -> dict[str, str]:
    """/metrics of both after the same requests."""
    found = {}
    for server in pairs("hooks_zoo").both:
        with httpx.Client(base_url=server.url, timeout=60, **PLAIN) as client:
            for path, body in [("/pid", {}), ("/nap", {"seconds": "x"}), ("/nap", {"seconds": 0}), ("/nope", {})] * 2:
                client.post(path, json=body)
            found[server.kind] = client.get("/metrics").text
    return found


def test_metrics_have_the_same_families(measured: dict[str, str]) -> None:
    theirs, ours = (dict(FAMILY.findall(measured[kind])) for kind in KINDS)
    assert {name: ours.get(name) for name in theirs} == theirs


def test_metrics_have_the_same_labels(measured: dict[str, str]) -> None:
    theirs, ours = (_labels(measured[kind]) for kind in KINDS)
    assert {name: ours.get(name) for name in theirs} == theirs


def test_metrics_count_the_same_requests(measured: dict[str, str]) -> None:
    theirs, ours = (_requests(measured[kind]) for kind in KINDS)
    assert ours == theirs


def test_metrics_pass_through_the_service(measured: dict[str, str]) -> None:
    assert all("\nzoo_visitors 7.0\n" in text for text in measured.values())


def _labels(text: str) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for name, labels, _ in SAMPLE.findall(text):
        names.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return names


def _requests(text: str) -> dict[tuple[str, str], float]:
    """How often each endpoint was answered with each code; not the waiting for the start."""
    counts = {}
    for name, labels, value in SAMPLE.findall(text):
        pairs = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if name == "bentoml_service_request_total" and pairs["endpoint"] in ("/pid", "/nap", "/nope") and float(value):
            counts[pairs["endpoint"], pairs["http_response_code"]] = float(value)
    return counts
