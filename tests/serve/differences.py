"""Where noren-serve answers otherwise than `bentoml serve` on purpose. docs/serving.md quotes the reasons.

Both sides of each entry are checked, so one that has become untrue fails.
"""

from __future__ import annotations

from typing import TypedDict


class Side(TypedDict, total=False):
    """What one server answers to the last request of a case; what is left out is not compared."""

    status: int
    body: str  # a regular expression of the whole body
    fault: str
    headers: dict[str, str | None]  # None: absent
    within_s: float
    not_before_s: float


class Difference(TypedDict):
    """One entry."""

    why: str
    bentoml: Side
    noren: Side


ERROR = r'\{"error":"An unexpected error has occurred, please check the server log."\}'
NOT_JSON = r'\{"error":"1 validation error: the body is not JSON","detail":\[\{"type":"json_invalid",.*\}\]\}'
TOO_LATE = r'\{"error":"Not able to process the request in 5 seconds"\}'

# By service-case. The timeout of failing_zoo is 4 s, that of batch_zoo 5 s.
DIFFERENCES: dict[str, Difference] = {
    **{
        f"json_zoo-{case}": Difference(
            why="broken JSON is the client's mistake, also where the whole body is one list or value: 400, not 500",
            bentoml={"status": 500, "body": ERROR},
            noren={"status": 400, "body": NOT_JSON},
        )
        for case in ("root list broken", "root any broken", "100,000 brackets in any")
    },
    "failing_zoo-the body read again": {
        "why": "the body that BentoML has read already can be read by the method too; BentoML waits for another one",
        "bentoml": {"status": 504, "body": r'\{"error":"Not able to process the request in 4 seconds"\}'},
        "noren": {"status": 200, "body": r'(\{"n": 2\}){2}', "within_s": 3.8},
    },
    "batch_zoo-frame": {
        "why": "frames are joined by their rows; BentoML 1.4.39 adds a number to a shape, and the request is lost",
        "bentoml": {"status": 504, "body": TOO_LATE},
        "noren": {"status": 200, "body": r'\[\{"a": 1, "b": 2, "total": 3\}, \{"a": 3, "b": 4, "total": 7\}\]'},
    },
    "batch_zoo-frame lacks a column": {
        "why": "frames are joined by their rows; BentoML 1.4.39 adds a number to a shape, and the request is lost",
        "bentoml": {"status": 504, "body": TOO_LATE},
        "noren": {"status": 500, "body": ERROR, "within_s": 4.8},
    },
    "batch_zoo-too few results": {
        "why": "a batch with fewer results than inputs is an error: nobody knows which result belongs to whom",
        "bentoml": {"status": 200, "body": r"\[2, 3\]"},
        "noren": {"status": 500, "body": ERROR},
    },
    **{
        f"failing_zoo-{case}": Difference(
            why="a file that cannot be sent is an error at once, in JSON; BentoML says so after `traffic.timeout`",
            bentoml={"status": 500, "body": "Internal Server Error", "not_before_s": 3.9},
            noren={"status": 500, "body": ERROR, "within_s": 3.8},
        )
        for case in ("no_file", "folder")
    },
    "failing_zoo-raises async cancelled": {
        "why": "a method that cancels itself is answered at once; BentoML waits for `traffic.timeout` and hangs up",
        "bentoml": {"status": 500, "body": "Internal Server Error", "not_before_s": 3.9},
        "noren": {"status": 500, "body": ERROR, "within_s": 3.8},
    },
    **{
        f"failing_zoo-{case}": Difference(
            why="an error outside a method is answered at once; BentoML waits for `traffic.timeout` and hangs up",
            bentoml={"status": 500, "headers": {"connection": "close"}, "not_before_s": 3.9},
            noren={"status": 500, "headers": {"connection": None}, "within_s": 3.8},
        )
        for case in ("schema", "mounted bare app raises")
    },
}


class ExtraHeader(TypedDict):
    """A header that noren-serve sends where BentoML does not, in any case."""

    why: str
    shown_by: str  # a case in which it does


EXTRA_HEADERS: dict[str, ExtraHeader] = {
    "x-bentoml-request-id": {
        "why": "every answer has a request id: also those of untraced paths, and 429 and 504, where BentoML has none",
        "shown_by": "limits_zoo-too late",
    }
}
