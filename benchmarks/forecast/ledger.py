"""The studies so far: a line of JSON for each series, written as soon as it is done."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
        self._file = folder / f"{digest.hexdigest()[:16]}.jsonl"

    def keep(self, studied: Studied) -> None:
        """Add one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(_fields(studied)) + "\n")

    def all(self) -> dict[str, Studied]:
        """By name. A line that was cut off by an interrupt does not count."""
        return {one.name: one for one in self._lines()}

    def forget(self) -> None:
        """Begin again."""
        self._file.unlink(missing_ok=True)

    def _lines(self) -> Iterator[Studied]:
        if not self._file.exists():
            return
        lines = self._file.read_text().split("\n")
        for line in lines[:-1]:  # after the last line end there is nothing, or what was cut off
            yield _read(json.loads(line))
        if lines[-1]:
            self._file.write_text("\n".join([*lines[:-1], ""]))


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
