"""noren-serve answers every request as `bentoml serve` does; differences.py lists where it does not, and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.serve import wire
    from tests.serve.differences import Side
    from tests.serve.servers import Pair

pytestmark = pytest.mark.e2e
both = ThreadPoolExecutor(2)


def test_an_answer_is_that_of_bentoml(
    pair: Pair, service: str, case: str, table: dict[str, Any], record_property: Callable[[str, str], None]
) -> None:
    record_property("conformance", service)
    requests = table["cases"][service][case]
    expected, given = both.map(lambda server: table["ask"](server.port, requests), pair.both)

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


def test_an_extra_header_is_extra(pairs: Callable[[str], Pair], table: dict[str, Any]) -> None:
    for name, extra in table["extra_headers"].items():
        service, _, case = extra["shown_by"].partition("-")
        theirs, ours = both.map(
            lambda s, case=table["cases"][service][case]: table["ask"](s.port, case)[-1], pairs(service).both
        )
        assert name not in dict(theirs.headers)
        assert name in dict(ours.headers)
