"""The studies so far: a line of JSON for each series, written as soon as it is done."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.json_lines import JsonLines
from models.forecast import Study

ROOT = Path(__file__).resolve().parents[2]
_CODE = ("models/smoothing.py", "models/forecast.py")  # what a study depends on, beside the data
_ARRAYS = ("points", "errors", "actual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Studied:
    """A study and what it took."""

    name: str
    took_ms: float
    study: Study


class Ledger:
    """Studies by the same code of the same data; others are in files of their own."""

    def __init__(self, folder: Path, *, data_sha256: str) -> None:
        digest = hashlib.sha256(data_sha256.encode())
        for path in _CODE:
            digest.update((ROOT / path).read_bytes())
        self._lines = JsonLines(folder / f"{digest.hexdigest()[:16]}.jsonl")

    def keep(self, studied: Studied) -> None:
        """Add one."""
        self._lines.add(_fields(studied))

    def all(self) -> dict[str, Studied]:
        """By name."""
        return {one.name: one for one in map(_read, self._lines.all())}

    def forget(self) -> None:
        """Begin again."""
        self._lines.remove()


def _fields(studied: Studied) -> dict[str, Any]:
    fields = asdict(studied)
    for name in _ARRAYS:
        array = fields["study"][name]
        fields["study"][name] = {"shape": array.shape, "numbers": array.ravel().tolist()}  # JSON's NaN is Python's own
    return fields


def _read(fields: dict[str, Any]) -> Studied:
    stored = fields["study"]
    for name in _ARRAYS:
        stored[name] = np.array(stored[name]["numbers"], dtype=np.float64).reshape(stored[name]["shape"])
    study = Study(**stored | {"diverged": tuple(stored["diverged"])})
    return Studied(name=fields["name"], took_ms=fields["took_ms"], study=study)
