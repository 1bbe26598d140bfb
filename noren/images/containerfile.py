"""The Containerfile of a Bento's image: text, from facts. Containerfile.j2 beside this file is what it reads like."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from noren.domain.errors import SpecError
from noren.images.bento import Bento


def containerfile(
    bento: Bento,
    *,
    base: str,
    labels: Mapping[str, str],
    added: Sequence[str] = (),
    secrets: Sequence[str] = (),
    scripts: bool = False,
    configuration: bool = False,
) -> str:
    """Write the Containerfile for the context that `context.lay_out` makes.

    added          packages ("name==version") beside those that the Bento has locked
    secrets        names of build secrets; commands see them as environment variables
    scripts        the Bento has scripts that its commands run
    configuration  the Bento brings a configuration.yaml of its own
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701  no HTML
    environment.filters |= {"quoted": _quoted, "shell": _shell, "updated": _updated}
    return environment.from_string(files("noren.images").joinpath("Containerfile.j2").read_text()).render(
        bento=bento,
        base=base,
        labels=labels,
        secrets=secrets,
        mounts="".join(f"--mount=type=secret,id={name} " for name in secrets),
        install=_install(added, bento.tools),
        scripts=scripts,
        configuration=configuration,
    )


def _install(added: Sequence[str], tools: str | None) -> str:
    """Compilers only when it does not go without: most packages come built, and a compiler is 200 MB to fetch."""
    packages = " ".join(["uv pip install -r ../env/python/requirements.txt", *added, "../wheels/*.whl"])
    return f"{packages} || {{ {tools} && {packages}; }}" if tools else packages


def _updated(command: str) -> str:
    """BentoML's own `apt-get install` relies on the update in its first command, which we leave out."""
    if not command.startswith("apt-get install"):
        return command
    return f"apt-get update && {command} && rm -rf /var/lib/apt/lists/* /var/cache/apt/*"


def _shell(command: str, secrets: Sequence[str]) -> str:
    """A command for RUN. As JSON it stays one instruction, whatever is in it."""
    exports = "".join(f'export {name}="$(cat /run/secrets/{name})"; ' for name in secrets)
    return json.dumps(["/bin/sh", "-c", exports + command])


def _quoted(value: str) -> str:
    """A value for ENV or LABEL, taken literally."""
    if any(ord(character) < 32 for character in value):
        raise SpecError(
            f"{value!r} cannot be put into an image: it has a line break or a control character",
            fix="set the variable when the image is run instead, and build the Bento again without its value",
        )
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
