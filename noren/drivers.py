"""The only place that chooses concrete drivers of this machine: what runs replicas, and what lets guests in."""

import hashlib
import sys

from noren.control.ports import Runtime
from noren.domain.deployment import Revision
from noren.domain.errors import Conflict, SpecError
from noren.frontdoors.envoy import EnvoyFrontDoor
from noren.machine import Machine
from noren.runtimes import container, process
from noren.runtimes import engine as engines
from noren.runtimes.container import ContainerRuntime, Image
from noren.runtimes.engine import Engine
from noren.runtimes.process import ProcessRuntime
from noren.settings import Settings, remembered_runtime


def runtime(settings: Settings, machine: Machine) -> Runtime:
    """The runtime of these settings. Raises Conflict while replicas of the other one still run: it cannot end them."""
    if settings.runtime == "container":
        if machine.processes(process.KIND):
            raise _unmixed(settings, "processes")
        return container_runtime(settings, machine, engines.answering(settings.container_engine)[0])
    if machine.processes(container.KIND) or containers(settings, machine):
        raise _unmixed(settings, "containers")
    return ProcessRuntime(settings.home, machine, settings.bentoml_home)


def _unmixed(settings: Settings, what: str) -> Conflict:
    return Conflict(
        f"replicas of {settings.home} run as {what} now, and `runtime` is {settings.runtime}",
        fix="`noren down` first, then `noren up`",
    )


def container_runtime(settings: Settings, machine: Machine, engine: str) -> ContainerRuntime:
    """Containers of that engine."""
    return ContainerRuntime(
        settings.home, machine, engine, settings.bentoml_home, lambda revision: image(settings, engine, revision)
    )


def image(settings: Settings, engine: str, revision: Revision) -> Image:
    """What the revision's containers are made of. Raises SpecError when its Bento is gone.

    A version may be built again with other contents: the name tells them apart. Once made, the image stays what it
    is, so that a replica which is started again needs neither a build nor a package index.
    """
    name, _, version = revision.bento.partition(":")
    manifest = settings.bentoml_home / "bentos" / name / version / "bento.yaml"
    try:
        contents = manifest.read_bytes()
    except OSError as error:
        raise SpecError(f"{revision.bento} is not in the BentoML store any more", fix="build it again") from error
    tag = f"localhost/noren/{name}:{version}-{hashlib.sha256(contents).hexdigest()[:8]}"
    argv = [sys.executable, "-m", "noren", "build", revision.bento, "--image", "--engine", engine, "--tag", tag]
    return Image(name=tag, build=[*argv, *(["--base", settings.image_base] if settings.image_base else [])])


def containers(settings: Settings, machine: Machine) -> list[Engine]:
    """The engines that have containers of this home. Who never asked for containers needs no engine."""
    if remembered_runtime(settings.home) != "container":
        return []
    found = [Engine(program, machine.home) for program in engines.answering(settings.container_engine)]
    return [engine for engine in found if engine.containers()]


def front_door(settings: Settings, machine: Machine) -> EnvoyFrontDoor:
    """The front door of these settings."""
    return EnvoyFrontDoor(
        settings.home,
        machine,
        host=settings.front_door_host,
        port=settings.front_door_port,
        admin_port=settings.admin_port,
    )
