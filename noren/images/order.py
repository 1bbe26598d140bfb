"""What a person asks of an image."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from noren.domain.errors import SpecError

# Source: distribution/reference, in short. It starts with no dash, so that no engine takes it for an option.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
# What uv calls the platforms that engines build for.
PLATFORMS: Mapping[str, str] = {
    "linux/amd64": "x86_64-unknown-linux-gnu",
    "linux/arm64": "aarch64-unknown-linux-gnu",
}


class Models(StrEnum):
    """Where the models of an image are."""

    INSIDE = "inside"
    MOUNT = "mount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image as it is asked for. Raises SpecError when no engine would understand it."""

    tags: tuple[str, ...] = ()  # none: named like the Bento
    base: str | None = None  # none: what BentoML chose
    platform: str | None = None  # none: this machine's
    models: Models = Models.INSIDE
    push: bool = False

    def __post_init__(self) -> None:
        for reference in (*self.tags, *([self.base] if self.base is not None else [])):
            require_reference(reference)
        if self.platform is not None and self.platform not in PLATFORMS:
            raise SpecError(
                f"platform {self.platform!r} is not known (known: {', '.join(PLATFORMS)})",
                fix="name one of them; for several, build once for each, with a tag of its own",
            )
        if self.push and not self.tags:
            raise SpecError("without a tag there is nowhere to push to", fix="add --tag <registry>/<name>:<version>")


def require_reference(text: str) -> None:
    """Raises SpecError when no engine would take the text as the name of an image."""
    if len(text) > 255 or not _REFERENCE.fullmatch(text):
        raise SpecError(f"{text!r} does not name an image", fix="write it like registry.example/shop/sentiment:v1")


def qualified(base: str) -> str:
    """The base image with its registry: podman and buildah do not guess. "python:3.11-slim" is Docker Hub's."""
    first, _, rest = base.partition("/")
    if not rest:
        return f"docker.io/library/{base}"
    return base if "." in first or ":" in first or first == "localhost" else f"docker.io/{base}"
