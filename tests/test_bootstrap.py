"""What is chosen for a home: its images, and one kind of replica at a time."""

import shutil
import signal
from pathlib import Path

import pytest

from noren import settings
from noren.bootstrap import control_plane
from noren.domain.deployment import Revision, Route
from noren.domain.errors import Conflict, DriverError, SpecError
from noren.drivers import image
from noren.machine import Machine
from noren.settings import Runtime, Settings

SHOP = Revision(deployment="shop", number=1, bento="shop:v1", route=Route(prefix="/shop", host="shop.localhost"))


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty home, with a Bento and without an engine."""
    monkeypatch.setenv("NOREN_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    built(tmp_path, "creation_time: 1")
    found = settings.load()
    changes = {"bentoml_home": tmp_path / "bentoml", "runtime": Runtime.PROCESS, "image_base": ""}
    return found.model_copy(update=changes | {"database_url": f"sqlite:///{tmp_path}/noren.db"})


def built(folder: Path, manifest: str) -> None:
    bento = folder / "bentoml/bentos/shop/v1"
    bento.mkdir(parents=True, exist_ok=True)
    (bento / "bento.yaml").write_text(manifest)


def test_a_version_that_was_built_again_has_another_image(chosen: Settings, tmp_path: Path) -> None:
    first = image(chosen, "podman", SHOP)
    assert first.name.startswith("localhost/noren/shop:v1-")
    assert image(chosen, "podman", SHOP) == first
    built(tmp_path, "creation_time: 2")
    assert image(chosen, "podman", SHOP).name != first.name


def test_an_image_is_built_from_the_bento_that_is_there(chosen: Settings) -> None:
    made = image(chosen, "podman", SHOP)
    assert list(made.build[1:]) == [
        *("-m", "noren", "build", "shop:v1", "--image", "--engine", "podman", "--tag", made.name),
    ]
    based = image(chosen.model_copy(update={"image_base": "x/python:3.11"}), "podman", SHOP)
    assert list(based.build[-2:]) == ["--base", "x/python:3.11"]
    assert based.name == made.name


def test_a_bento_that_is_gone_has_no_image(chosen: Settings) -> None:
    shutil.rmtree(chosen.bentoml_home)
    with pytest.raises(SpecError, match="shop:v1 is not in the BentoML store any more"):
        image(chosen, "podman", SHOP)


def test_without_an_engine_there_are_no_containers(chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DriverError, match="no container engine answers"):
        control_plane(chosen.model_copy(update={"runtime": Runtime.CONTAINER}))


@pytest.mark.parametrize(("kind", "runtime"), [("replica", Runtime.CONTAINER), ("container", Runtime.PROCESS)])
def test_a_home_has_one_kind_of_replica_at_a_time(chosen: Settings, kind: str, runtime: Runtime) -> None:
    machine = Machine(chosen.home)
    log = chosen.home / "log"
    machine.start(["sleep", "60"], kind=kind, name="shop-1/0", log=log, env={"PATH": "/usr/bin:/bin"})
    try:
        with pytest.raises(Conflict, match=f"run as .* now, and `runtime` is {runtime}") as raised:
            control_plane(chosen.model_copy(update={"runtime": runtime}))
        assert "noren down" in raised.value.fix
    finally:
        machine.signal(kind, "shop-1/0", signal.SIGKILL)
