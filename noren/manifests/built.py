"""Built Bentos, read from the BentoML store on disk."""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from noren.control.ports import Metrics
from noren.domain.errors import DriverError, SpecError
from noren.manifests.document import document
from noren.manifests.examples import example

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")  # no longer than the name of a file may be
_MOST_PARTS = 200_000  # of a manifest: examples of a service may be long


class BentoStore:
    """See Catalog. Reads files only: importing bentoml would cost a second and run nobody's code but its own."""

    def __init__(self, bentoml_home: Path) -> None:
        self.folder = bentoml_home / "bentos"

    def resolve(self, bento: str) -> str:
        """See Catalog."""
        name, _, version = bento.partition(":")
        built = self._versions(name)
        if version in ("", "latest"):
            version = self._latest(name, built)
        if version not in built:
            known = ", ".join(f"{name}:{v}" for v in sorted(built)) or ", ".join(self._names()) or "none"
            raise SpecError(
                f"bento {bento!r} is not in the BentoML store {self.folder.parent} (built: {known})",
                fix="build it with `noren build` or `bentoml build`; `bentoml list` shows what there is",
            )
        return f"{name}:{version}"

    def examples(self, bento: str) -> tuple[Mapping[str, object], ...]:
        """See Catalog. Routes with files or streams as input have no JSON example and are left out."""
        with _as_bentoml_writes_it(bento):
            routes = (self._manifest(bento).get("schema") or {}).get("routes") or []
            return tuple(made for route in routes if (made := _request(route)))

    def metrics(self, bento: str) -> Metrics:
        """See Catalog. A model that is no longer in the store has none."""
        with _as_bentoml_writes_it(bento):
            manifest = self._manifest(bento)
            services = manifest.get("services") or []
            listed = [*(manifest.get("models") or []), *(model for s in services for model in s.get("models") or [])]
            tags = [tag for model in listed if (tag := str(model.get("tag") or ""))]
        return {tag.partition(":")[0]: self._metadata(tag) for tag in tags}

    def _metadata(self, model: str) -> dict[str, float]:
        name, _, version = model.partition(":")
        if not (_NAME.fullmatch(name) and _NAME.fullmatch(version)):
            return {}
        try:
            text = (self.folder.parent / "models" / name / version / "model.yaml").read_text()
            _, stored = document(text, most_parts=_MOST_PARTS)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        found = stored.get("metadata") if isinstance(stored, dict) else None
        return {
            str(key): float(value)
            for key, value in (found.items() if isinstance(found, dict) else ())
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }

    def _manifest(self, bento: str) -> Any:
        name, _, version = bento.partition(":")
        try:
            text = (self.folder / name / version / "bento.yaml").read_text()
        except OSError as error:
            raise DriverError(
                f"bento {bento!r} is not in the BentoML store {self.folder.parent} any more", fix="build it again"
            ) from error
        return document(text, most_parts=_MOST_PARTS)[1]

    def _names(self) -> list[str]:
        return sorted(f.name for f in self.folder.iterdir()) if self.folder.is_dir() else []

    def _versions(self, name: str) -> dict[str, float]:
        """Version -> when it was built (seconds since 1970)."""
        found: dict[str, float] = {}
        if _NAME.fullmatch(name):
            for manifest in (self.folder / name).glob("*/bento.yaml"):
                with contextlib.suppress(OSError):  # it is deleted meanwhile
                    found[manifest.parent.name] = manifest.stat().st_mtime
        return found

    def _latest(self, name: str, built: Mapping[str, float]) -> str:
        marker = self.folder / name / "latest"
        if built and marker.is_file() and (marked := marker.read_text(errors="replace").strip()) in built:
            return marked
        return max(built, key=lambda version: built[version], default="latest")


@contextlib.contextmanager
def _as_bentoml_writes_it(bento: str) -> Iterator[None]:
    """Raise DriverError where a manifest has other things in it than BentoML writes into one."""
    try:
        yield
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, AttributeError, TypeError) as error:
        raise DriverError(
            f"bento.yaml of {bento!r} is not as BentoML writes it ({type(error).__name__})", fix="build the Bento again"
        ) from error


def _request(route: Mapping[str, Any]) -> dict[str, object] | None:
    if route.get("is_task"):
        return None
    made = example(route.get("input") or {})
    if made is None:
        return None
    return {
        "path": str(route["route"]),
        "body": made.value,
        "synthetic": made.synthetic,
        "output": route.get("output") or {},
    }
