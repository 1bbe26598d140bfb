"""A built Bento serves the models that it was built with, whatever has been trained since."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from noren.control.ports import ReplicaState
from noren.domain.deployment import Revision, Route, Server
from noren.domain.errors import DriverError
from noren.machine import Machine
from noren.runtimes.pinned import pinned_store
from noren.runtimes.process import ProcessRuntime

MODELLED = """
import bentoml

@bentoml.service(name="modelled")
class Modelled:
    stored = bentoml.models.BentoModel("weights:latest")

    @bentoml.api
    def which(self) -> str:
        return self.stored.tag.version + " " + bentoml.models.get("weights:latest").tag.version
"""
TRAIN = "import bentoml,sys\nwith bentoml.models.create('weights:' + sys.argv[1]): pass"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store with model m:1, m:2 (the latest), and the Bento b:1 that was built with m:1."""
    for version in ("1", "2"):
        (tmp_path / "models" / "m" / version).mkdir(parents=True)
    (tmp_path / "models" / "m" / "latest").write_text("2")
    bento = tmp_path / "bentos" / "b" / "1"
    bento.mkdir(parents=True)
    manifest: dict[str, Any] = {"services": [{"name": "b", "models": [{"tag": "m:1"}]}]}
    (bento / "bento.yaml").write_text(yaml.safe_dump(manifest))
    return tmp_path


def test_the_latest_model_is_the_one_of_the_build(home: Path) -> None:
    store = pinned_store(home / "bentos" / "b" / "1", home, home / "stores")

    assert (store / "models" / "m" / "latest").read_text() == "1"
    assert [path.name for path in sorted((store / "models" / "m").iterdir())] == ["1", "latest"]
    assert (store / "bentos" / "b" / "1").resolve() == home / "bentos" / "b" / "1"


def test_a_second_replica_takes_the_same_store(home: Path) -> None:
    bento = home / "bentos" / "b" / "1"

    assert pinned_store(bento, home, home / "stores") == pinned_store(bento, home, home / "stores")
    assert len(list((home / "stores").iterdir())) == 1


def test_a_model_that_is_gone_is_named(home: Path) -> None:
    (home / "models" / "m" / "1").rmdir()

    with pytest.raises(DriverError, match="m:1 of b is not in the BentoML store"):
        pinned_store(home / "bentos" / "b" / "1", home, home / "stores")
    assert list((home / "stores").iterdir()) == []


def test_a_model_of_a_hub_is_left_to_the_hub(home: Path) -> None:
    bento = home / "bentos" / "b" / "1"
    models = [{"tag": "big:x", "registry": "huggingface"}]
    (bento / "bento.yaml").write_text(yaml.safe_dump({"models": models, "services": [{"name": "b", "models": models}]}))

    assert not (pinned_store(bento, home, home / "stores") / "models").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("server", list(Server))
def test_a_replica_that_starts_after_a_training_serves_the_old_model(server: Server, tiny: Any, tmp_path: Path) -> None:
    project, store = tmp_path / "project", tmp_path / "bentoml"
    project.mkdir()
    (project / "service.py").write_text(MODELLED)
    (project / "bentofile.yaml").write_text("service: service:Modelled\ninclude: [service.py]\n")
    environment = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}

    def run(*argv: str) -> None:
        done = subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run(sys.executable, "-c", TRAIN, "old")
    run(sys.executable, "-m", "bentoml", "build", "--version", "v1")
    run(sys.executable, "-c", TRAIN, "new")
    home = tiny.home(tmp_path)
    runtime = ProcessRuntime(home, Machine(home), store)
    revision = Revision(
        deployment="m", number=1, bento="modelled:v1", server=server, route=Route(prefix="/m", host="m.localhost")
    )

    runtime.start(revision)
    try:
        deadline = time.monotonic() + 120
        while (replica := runtime.replicas()[0]).state is not ReplicaState.READY and time.monotonic() < deadline:
            time.sleep(0.2)
        assert httpx.post(f"http://{replica.address}/which", json={}, timeout=60).text == "old old"
    finally:
        deadline = time.monotonic() + 20
        while runtime.replicas() and time.monotonic() < deadline:
            runtime.stop(revision.name, grace=timedelta(seconds=5))
            time.sleep(0.2)
