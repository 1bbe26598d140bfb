"""What the smoke check asks of green."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from noren.control.ports import GateRun
from noren.domain.deployment import Gates, LoadGate, Revision, Route
from noren.domain.verdict import Outcome, overall
from noren.gates import smoke
from noren.gates.smoke import Answer, judge_bad_input, judge_example, judge_ready

GREEN = "tea-2"
CUP = {"type": "object", "properties": {"cup": {"type": "integer"}}, "required": ["cup"]}
DECLARED = {"path": "/brew", "body": {"leaves": 3}, "output": CUP}
MADE_UP = {**DECLARED, "synthetic": True}
FINE = b'{"cup": 1}'


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        (Answer(status=200, body=FINE, latency_ms=12.3), Outcome.PASS, "POST /brew: 200 in 12 ms"),
        (Answer(status=200, body=FINE, revision=GREEN), Outcome.PASS, "200"),
        (Answer(status=200, body=b"hello"), Outcome.FAIL, "but not JSON: hello"),
        (Answer(status=200, body=b"{}"), Outcome.FAIL, "not as declared: $: 'cup' is a required property"),
        (Answer(status=200, body=b'{"cup": "x"}'), Outcome.FAIL, "not as declared: $.cup: 'x' is not of type"),
        (Answer(status=302, body=b""), Outcome.FAIL, "302"),
        (Answer(status=400, body=b"no leaves"), Outcome.FAIL, "POST /brew: 400: no leaves"),
        (Answer(status=500, body=b"boom " * 100), Outcome.FAIL, "POST /brew: 500: boom boom"),
        (Answer(dropped="the connection was dropped"), Outcome.FAIL, "POST /brew: the connection was dropped"),
        (Answer(status=200, body=FINE, revision="tea-1"), Outcome.INVALID, "tea-1 answered a request for tea-2"),
        (Answer(status=503, revision="tea-1"), Outcome.INVALID, "tea-1 answered"),
        (Answer(dropped="cannot connect", unreachable=True), Outcome.INVALID, "cannot connect"),
    ],
)
def test_a_declared_example_must_be_answered_by_green(answer: Answer, outcome: Outcome, said: str) -> None:
    found = judge_example(DECLARED, answer, GREEN, has_locustfile=False)

    assert (found.outcome, found.name) == (outcome, "smoke POST /brew")
    assert said in found.detail
    assert len(found.detail) < 300


@pytest.mark.parametrize(
    ("output", "content_type", "body", "outcome"),
    [
        ({"type": "string"}, "text/plain", b"hello", Outcome.PASS),
        ({"type": "string"}, "application/json", b'"hello"', Outcome.PASS),
        ({"type": "integer"}, "application/json", b'"hello"', Outcome.FAIL),
        ({"type": "string", "format": "binary"}, "image/png", b"\x89PNG", Outcome.PASS),
        ({"type": "tensor"}, "application/json", b"[1.0]", Outcome.PASS),
        ({}, "application/json", b"[1]", Outcome.PASS),
        ({}, "application/json", b"[1", Outcome.FAIL),
    ],
)
def test_what_is_not_declared_as_json_may_be_anything(
    output: dict[str, str], content_type: str, body: bytes, outcome: Outcome
) -> None:
    answer = Answer(status=200, body=body, content_type=content_type)
    assert judge_example({**DECLARED, "output": output}, answer, GREEN, has_locustfile=False).outcome is outcome


@pytest.mark.parametrize(
    ("status", "has_locustfile", "outcome"),
    [
        (200, False, Outcome.PASS),
        (422, False, Outcome.HOLD),
        (422, True, Outcome.PASS),
        (500, True, Outcome.FAIL),
    ],
)
def test_an_example_that_we_made_up_may_be_refused(status: int, has_locustfile: bool, outcome: Outcome) -> None:
    found = judge_example(MADE_UP, Answer(status=status, body=FINE), GREEN, has_locustfile=has_locustfile)

    assert found.outcome is outcome
    if outcome is Outcome.HOLD:
        assert "give the schema an example, or a locustfile" in found.detail


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(status=400), Outcome.PASS),
        (Answer(status=200), Outcome.PASS),  # every field has a default
        (Answer(status=500, body=b"Traceback"), Outcome.FAIL),
        (Answer(dropped="the connection was dropped"), Outcome.FAIL),
        (Answer(status=400, revision="tea-1"), Outcome.INVALID),
    ],
)
def test_bad_input_must_not_break_green(answer: Answer, outcome: Outcome) -> None:
    found = judge_bad_input("/brew", {"not JSON": Answer(status=400), "an empty object": answer}, GREEN)

    assert found.outcome is outcome
    if outcome is Outcome.FAIL:
        assert "POST /brew with an empty object" in found.detail


@pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.PASS), (404, Outcome.FAIL), (503, Outcome.FAIL)])
def test_without_examples_green_must_say_that_it_is_ready(status: int, outcome: Outcome) -> None:
    assert judge_ready(Answer(status=status), GREEN).outcome is outcome


def run_of(url: str, *examples: Mapping[str, object], locustfile: str | None = None) -> GateRun:
    gates = Gates(load=LoadGate(locustfile=locustfile))
    green = Revision(deployment="tea", number=2, bento="tea:b", route=Route(prefix="/tea", host="tea"), gates=gates)
    return GateRun(
        name="tea-2-1",
        green=green,
        blue=None,
        attempt=1,
        green_url=f"{url}/tea",
        blue_url=None,
        headers={"green": {"x-noren-revision": GREEN}},
        examples=examples,
    )


def test_it_sends_each_example_and_then_bad_bodies_to_green(service: Any) -> None:
    declared = {**DECLARED, "output": {"type": "object"}}
    checks = smoke.check(run_of(service.url, declared, {"path": "/pour", "body": {"cups": 2}}))

    assert overall(checks) is Outcome.PASS
    assert [c.name for c in checks] == [
        "smoke POST /brew",
        "smoke POST /pour",
        "smoke bad input /brew",
        "smoke bad input /pour",
    ]
    assert [(r.path, r.body) for r in service.requests[:3]] == [
        ("/tea/brew", json.dumps({"leaves": 3}).encode()),
        ("/tea/pour", json.dumps({"cups": 2}).encode()),
        ("/tea/brew", b'{"broken'),
    ]
    assert {r.headers["x-noren-revision"] for r in service.requests} == {GREEN}
    assert {r.headers["content-type"] for r in service.requests} == {"application/json"}


def test_a_broken_green_is_asked_no_further(service: Any) -> None:
    service.answer = lambda _: (500, b"boom")

    checks = smoke.check(run_of(service.url, DECLARED, DECLARED))

    assert [c.outcome for c in checks] == [Outcome.FAIL]
    assert len(service.requests) == 1


def test_a_dropped_connection_is_greens_fault(service: Any) -> None:
    service.answer = lambda _: (0, b"")

    (found,) = smoke.check(run_of(service.url, DECLARED))

    assert found.outcome is Outcome.FAIL
    assert "/brew: the connection was dropped" in found.detail


def test_a_front_door_that_is_not_there_judges_nobody() -> None:
    (found,) = smoke.check(run_of("http://127.0.0.1:1", DECLARED))

    assert found.outcome is Outcome.INVALID
    assert "cannot connect to http://127.0.0.1:1/tea/brew" in found.detail


def test_an_answer_of_blue_judges_nobody(service: Any) -> None:
    service.signed = "tea-1"

    (found,) = smoke.check(run_of(service.url, DECLARED))

    assert found.outcome is Outcome.INVALID


def test_without_examples_it_asks_readyz(service: Any) -> None:
    (found,) = smoke.check(run_of(service.url))

    assert found.outcome is Outcome.PASS
    assert [(r.method, r.path) for r in service.requests] == [("GET", "/tea/readyz")]
