"""Which container engine is here, and how it is asked."""

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from noren.domain.errors import DriverError, SpecError

ENGINES = ("docker", "podman", "nerdctl", "buildah")

Ask = Callable[[str], str | None]


def find(wanted: str | None = None, *, ask: Ask | None = None) -> str:
    """The first engine that answers, or the one `wanted`. Raises DriverError with what each of them said."""
    if wanted is not None and wanted not in ENGINES:
        raise SpecError(f"engine {wanted!r} is not known (known: {', '.join(ENGINES)})", fix="name one of them")
    answers = {}
    for engine in [wanted] if wanted else ENGINES:
        refusal = (ask or refusal_of)(engine)
        if refusal is None:
            return engine
        answers[engine] = refusal
    raise DriverError(
        "no container engine answers: " + "; ".join(f"{engine}: {said}" for engine, said in answers.items()),
        fix="install one of them (apt-get install podman), or start its service",
    )


def refusal_of(engine: str) -> str | None:
    """Why this engine cannot be used here; None when it can. A client without its service is of no use."""
    if not shutil.which(engine):
        return "not installed"
    try:
        done = subprocess.run([engine, "info"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within 20 s"
    except OSError as error:
        return str(error.strerror)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def build_argv(
    engine: str,
    *,
    context: Path,
    tags: Sequence[str],
    platform: str | None = None,
    secrets: Mapping[str, Path] | None = None,
    epoch: int | None = None,
) -> list[str]:
    """The command that builds the image of a context.

    secrets  name -> the file with its value
    epoch    seconds since 1970 that the image claims to be made at, so that the same input makes the same image;
             docker and nerdctl read it from SOURCE_DATE_EPOCH themselves
    """
    argv = [engine, "build", "--file", str(context / "Containerfile")]
    if engine in ("podman", "buildah"):
        # The OCI format has no HEALTHCHECK. buildah keeps no layers unless it is told to.
        argv += ["--format", "docker", "--layers"]
        argv += ["--timestamp", str(epoch)] if epoch is not None else []
    for tag in tags:
        argv += ["--tag", tag]
    argv += ["--platform", platform] if platform else []
    for name, path in (secrets or {}).items():
        # Without its type, buildah takes it for a variable when there is one of this name in the environment.
        argv += ["--secret", f"type=file,id={name},src={path}"]
    return [*argv, str(context)]


def push_argv(engine: str, tag: str) -> list[str]:
    """The command that pushes a tag to the registry in its name."""
    return [engine, "push", tag]
