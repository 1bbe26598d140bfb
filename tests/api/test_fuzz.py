"""Requests that are made of the API's own description: none of them is a fault, and every refusal helps.

Of schemathesis (4.x) only the strategies are used: the calls, and what is asked of answers, are ours.
FUZZ_EXAMPLES=500 looks longer.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from structlog.testing import capture_logs

from noren.api import PREFIX
from noren.api.app import Parts, make
from noren.api.problems import MEDIA_TYPE
from noren.domain.deployment import Revision

if TYPE_CHECKING:
    from tests.api.conftest import Plane

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))  # of each address, right ones and wrong ones each
# Nothing of its parts is asked for before a request comes.
DOCUMENT = make(cast(Parts, SimpleNamespace(allowed_hosts=[]))).openapi()
ADDRESSES = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
SCHEMA: Any = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig())
FUZZED = settings(deadline=None, suppress_health_check=list(HealthCheck))


class HangsError(BaseException):
    """Of no kind that anything here may catch."""


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """A hang is an error, and not an endless test."""

    def end(*_: object) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60 + 10 * EXAMPLES)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def see_that_it_helps(answer: Any) -> None:
    """It is no fault, and what is refused is refused with the step that mends it."""
    asked = f"{answer.request.method} {answer.request.url}"
    assert answer.status_code < 500, f"{asked}: {answer.text}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == MEDIA_TYPE, asked
        problem = answer.json()
        assert set(problem) == {"type", "title", "status", "detail", "fix"}
        assert problem["status"] == answer.status_code
        assert problem["fix"]
        assert len(answer.content) < 20_000


def see_that_it_goes_on(plane: Plane, said: list[Any]) -> None:
    """What was accepted can be stored, and the loop lives with it."""
    plane.tick(3)
    assert [entry for entry in said if entry["log_level"] == "error"] == []
    stored = TypeAdapter(Revision)
    for deployment in plane.store.deployments():
        for revision in plane.store.revisions(deployment.name)[-1:]:
            assert stored.validate_json(stored.dump_json(revision)) == revision


def test_every_address_tells_what_its_refusals_look_like() -> None:
    for method, path in ADDRESSES:
        answers = DOCUMENT["paths"][path][method.lower()]["responses"]
        assert MEDIA_TYPE in answers["default"]["content"], (method, path)
        assert "422" not in answers, (method, path)  # FastAPI would describe an error that we never send


@pytest.mark.parametrize(("method", "path"), ADDRESSES, ids=lambda part: part.removeprefix(PREFIX))
def test_no_request_is_a_fault_and_every_refusal_helps(plane: Plane, method: str, path: str) -> None:
    operation = SCHEMA[path][method]
    described = DOCUMENT["paths"][path][method.lower()]
    # What takes nothing can be sent nothing wrong.
    modes = list(GenerationMode) if {"parameters", "requestBody"} & set(described) else [GenerationMode.POSITIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @given(case=cases, known=st.booleans())
    @settings(FUZZED, max_examples=EXAMPLES * len(modes))
    def ask(case: Any, known: bool) -> None:
        if not plane.store.deployments():
            plane.apply()
            plane.tick()
        see_that_it_helps(_send(plane, of_the_shop(case) if known else case))
        see_that_it_goes_on(plane, said)

    with capture_logs() as said:
        ask()


def of_the_shop(case: Any) -> Any:
    """The same of a deployment, a revision and a Bento that are there: else most of it would be 404."""
    known = {"name": "shop", "number": 1}
    case.path_parameters = {key: known.get(key, value) for key, value in (case.path_parameters or {}).items()}
    if isinstance(case.body, dict) and isinstance(case.body.get("spec"), dict):
        case.body = {**case.body, "spec": {**case.body["spec"], "name": "shop", "bento": "shop:v2"}}
    return case


def _send(plane: Plane, case: Any) -> Any:
    try:
        prepared = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1:7410")).prepare()
    except (requests.RequestException, ValueError):
        reject()  # what no client can send
    headers: Any = {
        name: value.encode("latin-1", "replace") if isinstance(value, str) else value
        for name, value in prepared.headers.items()
    }
    body: Any = prepared.body
    return plane.http.request(str(prepared.method), str(prepared.url), content=body, headers=headers)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_fields = st.sampled_from(
    ["replicas", "workers", "server", "resources", "env", "route", "slo", "gates", "strategy", "locustfile", "x"]
)


def test_any_field_with_any_value_is_taken_or_refused(plane: Plane) -> None:
    @given(fields=st.dictionaries(_fields, _json, max_size=3))
    @settings(FUZZED, max_examples=EXAMPLES * 10)
    def ask(fields: dict[str, Any]) -> None:
        see_that_it_helps(plane.apply("shop:v1", **fields))
        see_that_it_goes_on(plane, said)

    with capture_logs() as said:
        ask()


def test_any_bytes_are_taken_or_refused(plane: Plane) -> None:
    start = b'{"spec": {"name": "shop", "bento": "shop:v1", "env": {"A": "'

    @given(body=st.binary(max_size=200) | st.binary(max_size=20).map(lambda end: start + end + b'"}}}'))
    @settings(FUZZED, max_examples=EXAMPLES * 10)
    def ask(body: bytes) -> None:
        for address, method in (("/deployments/shop", "PUT"), ("/deployments/shop/rollback", "POST")):
            headers = {"content-type": "application/json"}
            see_that_it_helps(plane.http.request(method, PREFIX + address, content=body, headers=headers))
        see_that_it_goes_on(plane, said)

    with capture_logs() as said:
        ask()


def test_any_address_is_known_or_refused(plane: Plane) -> None:
    @given(
        parts=st.lists(st.text(max_size=12) | st.sampled_from(["deployments", "shop", "..", "revisions"]), max_size=5),
        asked=st.text(max_size=20),
        method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]),
    )
    @settings(FUZZED, max_examples=EXAMPLES * 10)
    def ask(parts: list[str], asked: str, method: str) -> None:
        address = "/".join(quote(part, safe="") for part in parts)
        see_that_it_helps(plane.http.request(method, f"{PREFIX}/{address}?after={quote(asked)}"))

    ask()
