"""Built Bentos, read from the BentoML store on disk."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from noren.control.ports import Metrics
from noren.domain.errors import DriverError, SpecError
from noren.manifests.examples import example

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


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
        routes = (self._manifest(bento).get("schema") or {}).get("routes") or []
        return tuple(made for route in routes if (made := _request(route)))

    def metrics(self, bento: str) -> Metrics:
        """See Catalog. A model that is no longer in the store has none."""
        manifest = self._manifest(bento)
        services = manifest.get("services") or []
        listed = [*(manifest.get("models") or []), *(model for s in services for model in s.get("models") or [])]
        return {tag.partition(":")[0]: self._metadata(tag) for model in listed if (tag := str(model.get("tag") or ""))}

    def _metadata(self, model: str) -> dict[str, float]:
        name, _, version = model.partition(":")
        if not (_NAME.fullmatch(name) and _NAME.fullmatch(version)):
            return {}
        try:
            stored = yaml.safe_load((self.folder.parent / "models" / name / version / "model.yaml").read_text())
        except (OSError, yaml.YAMLError):
            return {}
        found = (stored.get("metadata") if isinstance(stored, dict) else None) or {}
        return {
            str(key): float(value)
            for key, value in found.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }

    def _manifest(self, bento: str) -> Any:
        name, _, version = bento.partition(":")
        try:
            return yaml.safe_load((self.folder / name / version / "bento.yaml").read_text())
        except OSError as error:
            raise DriverError(
                f"bento {bento!r} is not in the BentoML store {self.folder.parent} any more", fix="build it again"
            ) from error

    def _names(self) -> list[str]:
        return sorted(f.name for f in self.folder.iterdir()) if self.folder.is_dir() else []

    def _versions(self, name: str) -> dict[str, float]:
        """Version -> when it was built (seconds since 1970)."""
        if not _NAME.fullmatch(name):
            return {}
        manifests = (self.folder / name).glob("*/bento.yaml")
        return {m.parent.name: m.stat().st_mtime for m in manifests}

    def _latest(self, name: str, built: Mapping[str, float]) -> str:
        marker = self.folder / name / "latest"
        if built and marker.is_file() and (marked := marker.read_text().strip()) in built:
            return marked
        return max(built, key=lambda version: built[version], default="latest")


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
