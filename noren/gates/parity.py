"""The parity check: do green and blue answer the same to the same requests?

The two arms of a duet are sent the same, and the generator keeps the answers of the first arrivals (answers.jsonl).
They are compared leaf by leaf: numbers by their difference, everything else by being equal.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noren.domain.deployment import ParityGate
from noren.domain.verdict import Check, Outcome
from noren.gates import statistics
from noren.gates.duet import ANSWERS

_EQUAL = 1e-6  # relative: other summing orders and BLAS libraries differ by less
_ALPHA = 0.025  # of each side
_SHOWN = 3
_MISSING = object()


@dataclass(kw_only=True)
class Leaf:
    """What was found at one place of the answers, like `$.items[].score`."""

    compared: int = 0
    differ: int = 0
    gaps: list[float] = field(default_factory=list)  # of numbers


def check(folder: Path, asked: ParityGate) -> Check | None:
    """How often the answers differ; None when there are no pairs of answers. Decides only for `same_model`."""
    pairs, differ = 0, 0
    leaves: dict[str, Leaf] = defaultdict(Leaf)
    for green, blue in _pairs(folder):
        found = [(place, values) for place, values in _leaves(green, blue) if place not in asked.ignore]
        pairs += 1
        differ += _note(found, leaves)
    if not pairs:
        return None
    low = statistics.clopper_pearson_lower(differ, pairs, _ALPHA)
    high = statistics.clopper_pearson_upper(differ, pairs, _ALPHA)
    said = f"{differ} of {pairs} answers differ ({low:.1%}-{high:.1%})"
    if differ:
        said += f": {'; '.join(_worst(leaves))}"
    figures = {"pairs": pairs, "differ": differ, "share": differ / pairs, "share_low": low, "share_high": high}
    figures |= {f"mean_gap {place}": sum(leaf.gaps) / len(leaf.gaps) for place, leaf in leaves.items() if leaf.gaps}
    fails = asked.same_model and low > asked.max_share
    if fails:
        said += "; `same_model` says that they should not"
    elif differ and not asked.same_model:
        said += "; told, not judged"
    return Check(name="parity", outcome=Outcome.FAIL if fails else Outcome.PASS, detail=said, figures=figures)


def _pairs(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Answers of green and blue to the same request, of those that both answered well."""
    path = folder / ANSWERS
    waiting: dict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
    for line in path.read_text().splitlines() if path.exists() else ():
        answer = json.loads(line)
        key = answer["arrival"], answer["number"]
        waiting[key][answer["arm"]] = _parsed(answer["body"])
        if len(waiting[key]) == 2:
            both = waiting.pop(key)
            yield both["green"], both["blue"]


def _parsed(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body


def _leaves(green: Any, blue: Any, place: str = "$") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Both values at each place. Elements of a list share theirs; one that is there on one side only is missing."""
    if isinstance(green, dict) and isinstance(blue, dict):
        for key in sorted({*green, *blue}):
            yield from _leaves(green.get(key, _MISSING), blue.get(key, _MISSING), f"{place}.{key}")
    elif isinstance(green, list) and isinstance(blue, list) and len(green) == len(blue):
        for one, other in zip(green, blue, strict=True):
            yield from _leaves(one, other, f"{place}[]")
    else:
        yield place, (green, blue)


def _note(found: list[tuple[str, tuple[Any, Any]]], leaves: dict[str, Leaf]) -> bool:
    """Count one pair of answers; whether it differs anywhere."""
    any_differs = False
    for place, (green, blue) in found:
        leaf = leaves[place]
        leaf.compared += 1
        if _is_number(green) and _is_number(blue):
            leaf.gaps.append(abs(green - blue))
            differs = not math.isclose(green, blue, rel_tol=_EQUAL, abs_tol=_EQUAL)
        else:
            differs = green is _MISSING or blue is _MISSING or json.dumps(green) != json.dumps(blue)
        leaf.differ += differs
        any_differs |= differs
    return any_differs


def _worst(leaves: Mapping[str, Leaf]) -> Iterator[str]:
    """The places that differ most often, each with how much."""
    for place, leaf in sorted(leaves.items(), key=lambda item: -item[1].differ)[:_SHOWN]:
        if leaf.differ:
            gap = f", on average by {sum(leaf.gaps) / len(leaf.gaps):.3g}" if leaf.gaps else ""
            yield f"{place} in {leaf.differ}{gap}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
