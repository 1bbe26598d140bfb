"""What tests of several folders share: one tiny real Bento, built once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.chaos import postgresql as servers
from benchmarks.chaos.postgresql import PostgreSql
from noren.domain.deployment import Revision, Route
from noren.drivers import image
from noren.settings import Settings, load

# How long an example takes says something of the machine, which may be busy, and nothing of what is tested.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# These begin first, the longest at the front: else one process works on the last of them while the others wait.
_LONGEST = (
    "e2e/test_steering.py",  # makes the environment for which other tests wait: no two of these at once
    "serve/test_conformance.py",
    "training/test_churn.py",
    "e2e/test_crash_safety.py",
    "e2e/test_interrupts.py",
    "e2e/test_containers.py",
    "e2e/test_leader.py",
    "e2e/test_hygiene.py",
    "e2e/test_wheel.py",
    "images/test_real_image.py",
    "runtimes/test_container.py",
    "e2e/test_bad_days.py",
    "gates/test_standalone.py",
    "gates/test_locust_driver.py",
    "serve/test_lifecycle.py",
    "serve/test_supervisor.py",
    "training/test_train_sentiment.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


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
def of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the run share: xdist gives each of them one of its own, inside that of the run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def envs(of_the_run: Path) -> Path:
    """The Bentos' environments: those with the same lock share one, in all processes of the run."""
    folder = of_the_run / "envs"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def build(of_the_run: Path) -> Callable[[Path, Path], Path]:
    """Build a project as `v1` into a new store: in one process of the run, and the others copy what it built.

    Returns the Bento's folder. bento.yaml differs from copy to copy, or two processes would name an image the same, and
    one would remove that of the other.
    """

    def build(project: Path, store: Path) -> Path:
        built = of_the_run / f"built-{hashlib.sha256((project / 'service.py').read_bytes()).hexdigest()[:12]}"
        with built.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():
                _build(project, draft := built.with_suffix(".draft"))
                draft.rename(built)
        shutil.copytree(built, store)
        (manifest,) = store.glob("bentos/*/v1/bento.yaml")
        manifest.write_text(f"{manifest.read_text()}# in {store}\n")
        return manifest.parent

    return build


def _build(project: Path, store: Path) -> None:
    environment = {**os.environ, "BENTOML_HOME": str(store), "BENTOML_DO_NOT_TRACK": "True"}
    argv = [str(Path(sys.executable).with_name("bentoml")), "build", "--version", "v1"]
    done = subprocess.run(argv, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def tiny(build: Callable[[Path, Path], Path], envs: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    project, store = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("store") / "bentoml"
    (project / "service.py").write_text(_SERVICE)
    (project / "bentofile.yaml").write_text("service: service:Tiny\ninclude: [service.py]\n")
    built = build(project, store)
    (shutil.copytree(built, built.with_name("broken")) / "env/python/requirements.txt").unlink()
    return Tiny(bentoml_home=store, envs=envs)


@pytest.fixture(scope="session")
def base_image() -> Iterator[str]:
    """A base image for podman that needs no registry; the test is skipped, with the reason, where none can be made."""
    done = subprocess.run(
        [Path(__file__).parents[1] / "scripts/container-base"], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as environment:
        for line in done.stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment.setenv(name, value)
        yield "localhost/noren-base:3.11"


@pytest.fixture(scope="session")
def tiny_image(tiny: Tiny, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with an engine that has the image of tiny:v1 already; it is removed afterwards."""
    folder = tmp_path_factory.mktemp("image")
    chosen = {"home": folder, "bentoml_home": tiny.bentoml_home, "container_engine": "podman", "image_base": base_image}
    settings = load().model_copy(update=chosen)
    revision = Revision(deployment="any", number=1, bento="tiny:v1", route=Route(prefix="/any", host="any"))
    made = image(settings, "podman", revision)
    environment = {**os.environ, "BENTOML_HOME": str(tiny.bentoml_home), "NOREN_HOME": str(folder)}
    done = subprocess.run(
        made.build, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield settings
    subprocess.run(["podman", "rmi", "--force", made.name], capture_output=True, check=False)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """A server that runs. Whoever stops it starts it again."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: `pip install 'psycopg[binary]'`")
    programs = servers.programs()
    if programs is None:
        pytest.skip(servers.MISSING)
    with PostgreSql(programs) as server:
        yield server
