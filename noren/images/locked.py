"""The packages that a Bento has locked."""

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One package; without a version it is not locked, or comes from a URL."""

    name: NormalizedName
    version: str | None


def packages(requirements: str) -> tuple[Package, ...]:
    """Read the text of a requirements.txt; options (--index-url), hashes, comments and paths are left out."""
    return tuple(_packages(requirements))


def _packages(requirements: str) -> Iterator[Package]:
    for line in requirements.replace("\\\n", " ").splitlines():
        text = line.partition(" #")[0].partition(" --")[0].strip()
        if not text or text.startswith(("#", "-", ".", "/")):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        pinned = [one.version for one in requirement.specifier if one.operator in ("==", "===")]
        yield Package(name=canonicalize_name(requirement.name), version=pinned[0] if pinned else None)
