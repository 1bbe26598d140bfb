"""What an image says about itself, in the words of the OCI image specification (annotations.md)."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from noren.images.bento import Bento


def labels(bento: Bento, *, base: str, created: datetime, revision: str | None) -> dict[str, str]:
    """The labels of the Bento's image; `revision` is the commit that the Bento was built from, when known."""
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": bento.name,
        f"{prefix}.version": bento.version,
        f"{prefix}.created": created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        f"{prefix}.base.name": base,
        **({f"{prefix}.revision": revision} if revision else {}),
        "noren.bento": bento.tag,
        "noren.models": " ".join(model.tag for model in bento.models),
    }


def revision(folder: Path) -> str | None:
    """The commit that is checked out in `folder`, "-dirty" with changes; None outside of a repository."""
    said = [_git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")]
    if said[0] is None:
        return None
    return said[0] + ("-dirty" if said[1] else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None
