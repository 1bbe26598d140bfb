"""The smoke check: do the service's own examples answer, and does bad input come back as the caller's fault?"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
import jsonschema

from noren.control.ports import GateRun
from noren.domain.verdict import Check, Outcome

REVISION_HEADER = "x-noren-revision"
TIMEOUT_S = 10.0
_JSON = {"content-type": "application/json"}
_EXCERPT = 200
_MADE_UP = "a request made up from the schema"
# `{}` may be a good request where every field has a default; so only what breaks the service counts.
BAD_BODIES = {"not JSON": b'{"broken', "an empty object": b"{}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from one request."""

    status: int = 0  # 0: nothing
    body: bytes = b""
    content_type: str = ""
    revision: str | None = None  # who signed it, if anyone did
    latency_ms: float = 0.0
    dropped: str | None = None  # why nothing came back
    unreachable: bool = False  # nobody listens there at all


def check(run: GateRun) -> tuple[Check, ...]:
    """Send green each example and the bad bodies, until one shows that it is not fit."""
    checks: list[Check] = []
    with httpx.Client(headers=run.headers.get("green", {}), timeout=TIMEOUT_S, trust_env=False) as client:
        for found in _checks(run, client):
            checks.append(found)
            if found.outcome in (Outcome.FAIL, Outcome.INVALID):
                break
    return tuple(checks)


def _checks(run: GateRun, client: httpx.Client) -> Iterator[Check]:
    green, load = run.green.name, run.green.gates.load
    if not run.examples:
        yield judge_ready(_ask(client, "GET", f"{run.green_url}/readyz"), green)
    for example in run.examples:
        answer = _ask(client, "POST", f"{run.green_url}{example['path']}", json.dumps(example["body"]).encode())
        has_locustfile = load.enabled and load.locustfile is not None
        yield judge_example(example, answer, green, has_locustfile=has_locustfile)
    for path in dict.fromkeys(str(example["path"]) for example in run.examples):
        answers = {what: _ask(client, "POST", f"{run.green_url}{path}", body) for what, body in BAD_BODIES.items()}
        yield judge_bad_input(path, answers, green)


def _ask(client: httpx.Client, method: str, url: str, body: bytes | None = None) -> Answer:
    began = time.perf_counter()
    try:
        response = client.request(method, url, content=body, headers=_JSON if body is not None else None)
    except httpx.ConnectError as error:
        return Answer(dropped=f"cannot connect to {url}: {error}", unreachable=True)
    except httpx.TimeoutException:
        return Answer(dropped=f"no answer within {TIMEOUT_S:.0f} s")
    except httpx.HTTPError as error:
        return Answer(dropped=f"the connection was dropped ({error})")
    return Answer(
        status=response.status_code,
        body=response.content,
        content_type=response.headers.get("content-type", ""),
        revision=response.headers.get(REVISION_HEADER),
        latency_ms=(time.perf_counter() - began) * 1000,
    )


def judge_ready(answer: Answer, green: str) -> Check:
    """All that can be asked of a service without examples."""
    name = "smoke GET /readyz"
    if misled := _misled(name, answer, green):
        return misled
    if answer.status != 200:
        return Check(name=name, outcome=Outcome.FAIL, detail=f"GET /readyz: {_words(answer)}")
    return Check(name=name, outcome=Outcome.PASS, detail="ready; it has no example requests", figures=_figures(answer))


def judge_example(example: Mapping[str, object], answer: Answer, green: str, *, has_locustfile: bool) -> Check:
    """An example must be answered as the service declares. One that we made up may be refused: it is not its word."""
    path = str(example["path"])
    name = f"smoke POST {path}"
    if misled := _misled(name, answer, green):
        return misled
    if example.get("synthetic") and 400 <= answer.status < 500:
        outcome = Outcome.PASS if has_locustfile else Outcome.HOLD
        advice = "the locustfile decides" if has_locustfile else "give the schema an example, or a locustfile"
        detail = f"POST {path}: no example request ({answer.status} for {_MADE_UP}): {advice}"
        return Check(name=name, outcome=outcome, detail=detail, figures=_figures(answer))
    if not 200 <= answer.status < 300:
        origin = f" (for {_MADE_UP})" if example.get("synthetic") else ""
        detail = f"POST {path}{origin}: {_words(answer)}"
    elif wrong := _undeclared(example.get("output"), answer):
        detail = f"POST {path}: {answer.status}, but {wrong}: {_excerpt(answer)}"
    else:
        detail = f"POST {path}: {answer.status} in {answer.latency_ms:.0f} ms"
        return Check(name=name, outcome=Outcome.PASS, detail=detail, figures=_figures(answer))
    return Check(name=name, outcome=Outcome.FAIL, detail=detail, figures=_figures(answer))


def judge_bad_input(path: str, answers: Mapping[str, Answer], green: str) -> Check:
    """Bad input may be refused or even accepted; it must not break the service."""
    name = f"smoke bad input {path}"
    for what, answer in answers.items():
        if misled := _misled(name, answer, green):
            return misled
        if answer.dropped or answer.status >= 500:
            detail = f"POST {path} with {what}: {_words(answer)}"
            return Check(name=name, outcome=Outcome.FAIL, detail=detail, figures=_figures(answer))
    said = ", ".join(f"{answer.status} for {what}" for what, answer in answers.items())
    return Check(name=name, outcome=Outcome.PASS, detail=f"POST {path}: {said}")


def _misled(name: str, answer: Answer, green: str) -> Check | None:
    """INVALID when it was not green that answered."""
    if answer.unreachable:
        return Check(name=name, outcome=Outcome.INVALID, detail=str(answer.dropped))
    if answer.revision in (None, green):
        return None
    detail = f"{answer.revision} answered a request for {green}: the front door does not lead to it"
    return Check(name=name, outcome=Outcome.INVALID, detail=detail)


def _words(answer: Answer) -> str:
    return answer.dropped or f"{answer.status}: {_excerpt(answer)}"


def _excerpt(answer: Answer) -> str:
    text = " ".join(answer.body.decode(errors="replace").split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def _undeclared(schema: object, answer: Answer) -> str | None:
    """How the answer differs from the declared JSON Schema. What is not JSON on purpose is not looked into."""
    declared = schema if isinstance(schema, Mapping) else {}
    if "json" not in answer.content_type and declared.get("type") not in ("object", "array"):
        return None
    try:
        document = json.loads(answer.body)
        jsonschema.validate(document, dict(declared))
    except ValueError:
        return "not JSON"
    except jsonschema.ValidationError as error:
        return f"not as declared: {error.json_path}: {error.message[:_EXCERPT]}"
    except (jsonschema.SchemaError, jsonschema.exceptions.UnknownType):
        return None  # BentoML has types of its own ("tensor"), which no validator knows
    return None


def _figures(answer: Answer) -> dict[str, float]:
    return {"status": answer.status, "latency_ms": round(answer.latency_ms, 3)} if answer.status else {}
