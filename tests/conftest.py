"""What tests of several folders share: one tiny real Bento, built once."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_SERVICE = """
import bentoml

@bentoml.service(name="tiny")
class Tiny:
    @bentoml.api
    def say(self, text: str = "hello") -> str:
        return text
"""


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A BentoML store with tiny:v1, which serves, and tiny:broken, which has no locked requirements."""

    bentoml_home: Path
    envs: Path  # made at the first start, and shared

    def home(self, folder: Path) -> Path:
        """A home below the folder that has the environment already."""
        home = folder / "home"
        home.mkdir()
        (home / "envs").symlink_to(self.envs)
        return home


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project, store = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("store") / "bentoml"
    (project / "service.py").write_text(_SERVICE)
    (project / "bentofile.yaml").write_text("service: service:Tiny\ninclude: [service.py]\n")
    environment = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    argv = [str(Path(sys.executable).with_name("bentoml")), "build", "--version", "v1"]
    done = subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = store / "bentos/tiny/v1"
    (shutil.copytree(built, built.with_name("broken")) / "env/python/requirements.txt").unlink()
    return Tiny(bentoml_home=store, envs=tmp_path_factory.mktemp("envs"))
