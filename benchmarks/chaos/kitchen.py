"""The Bentos that are rolled out, built for the occasion: a small service that can be told from outside how to fail."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import yaml

PONDER_S = 4.0  # how long a thoughtful answer takes
LEAK_BYTES = 500_000  # of each answer of a replica that leaks
SLOW_S = 1.0  # how long each answer of a slow replica takes

# The file $MISCHIEF/<revision>.<index> tells a replica how to fail. Without it, it is sound.
SERVICE = f"""
from __future__ import annotations

import asyncio
import os
from pathlib import Path

import bentoml
from pydantic import Field


@bentoml.service(name="echo", workers=1)
class Echo:
    def __init__(self) -> None:
        self._name = os.environ.get("NOREN_REVISION", "") + "." + os.environ.get("NOREN_INDEX", "")
        self._mischief = Path(os.environ.get("MISCHIEF", "/nowhere")) / self._name
        self._leaked: list[bytes] = []

    @bentoml.api
    async def say(self, text: str = Field(examples=["hello"])) -> dict[str, str]:
        told = self._told()
        if told == "leak":
            self._leaked.append(os.urandom(1) * {LEAK_BYTES})
        if told == "slow":
            await asyncio.sleep({SLOW_S})
        if told == "error":
            raise RuntimeError("mischief")
        return {{"text": text, "by": self._name}}

    @bentoml.api
    async def ponder(self, text: str = Field(examples=["hello"])) -> dict[str, str]:
        await asyncio.sleep({PONDER_S})
        return {{"text": text, "by": self._name}}

    def _told(self) -> str:
        try:
            return self._mischief.read_text()
        except FileNotFoundError:
            return ""

    def __is_ready__(self) -> bool:
        return self._told() != "unready"
"""


def build(folder: Path) -> Path:
    """A BentoML store with echo:v1 and echo:v2; they differ in nothing but their tag."""
    project, store = folder / "project", folder / "bentoml"
    project.mkdir(parents=True)
    (project / "service.py").write_text(SERVICE)
    packages = {"packages": [f"bentoml=={version('bentoml')}"]}
    bentofile = {"service": "service:Echo", "include": ["service.py"], "python": packages}
    (project / "bentofile.yaml").write_text(yaml.safe_dump(bentofile))
    argv = [str(Path(sys.executable).with_name("bentoml")), "build", "--version", "v1"]
    environment = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"the Bento was not built:\n{done.stdout}{done.stderr}")
    built = store / "bentos" / "echo" / "v1"
    other = shutil.copytree(built, built.with_name("v2"))
    manifest = other / "bento.yaml"
    manifest.write_text(manifest.read_text().replace("version: v1\n", "version: v2\n", 1))
    return store
