"""What noren-serve does not do, read from the service's own description before anything is served."""

import os
from typing import Any


def reasons(service: Any) -> list[str]:
    """Why this service cannot be served here, each with what to do; empty when it can."""
    found = []
    if not hasattr(service, "apis"):
        return ["it is a service of BentoML before 1.2 (bentoml.Service): rewrite it as a class"]
    if service.has_custom_command():
        found.append("it runs a command of its own (`cmd` or `__command__`)")
    local = [
        dependency.on.name
        for dependency in service.dependencies.values()
        if dependency.on is not None and not dependency.url and not dependency.deployment
    ]
    if local:
        found.append(
            f"it depends on {', '.join(sorted(local))} in the same Bento, which need processes of their own:"
            " deploy each alone and give bentoml.depends(url=...)"
        )
    if (service.config.get("ssl") or {}).get("enabled"):
        found.append("it ends TLS itself (`ssl`): let the front door do that")
    if service.config.get("extra_ports"):
        found.append("it opens `extra_ports`")
    if (service.config.get("resources") or {}).get("gpu") and "CUDA_VISIBLE_DEVICES" not in os.environ:
        found.append("it asks for GPUs to be assigned (`resources.gpu`): set CUDA_VISIBLE_DEVICES yourself")
    return found
