"""A rollout whose replicas are containers, by what a person types; and a control plane that dies meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from noren.domain.deployment import Revision, Route
from noren.drivers import image
from noren.settings import load

if TYPE_CHECKING:
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e


@pytest.fixture
def harbour(new_house: Callable[[], House], base_image: str) -> Iterator[House]:
    """A home whose replicas are containers; its images are removed afterwards."""
    house = new_house()
    (house.home / "noren.toml").write_text(f'container_engine = "podman"\nimage_base = "{base_image}"\n')
    house.run("up", "--runtime", "container")
    yield house
    house.close()
    assert containers(house) == []
    chosen = load().model_copy(update={"bentoml_home": house.bentoml_home})
    route = Route(prefix="/echo", host="echo")
    for bento in ("echo:v1", "echo:v2"):
        podman("rmi", image(chosen, "podman", Revision(deployment="echo", number=1, bento=bento, route=route)).name)


def podman(*words: str) -> list[str]:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=False).stdout.splitlines()


def containers(house: House) -> list[str]:
    return podman("ps", "--all", "--quiet", "--filter", f"label=noren.of={house.home.resolve()}")


def test_a_version_is_rolled_out_in_containers_that_outlive_the_control_plane(harbour: House) -> None:
    harbour.apply("echo:v1", resources={"cpu": 1, "memory": "512Mi"}, strategy={"bake": "0s"})
    harbour.until(harbour.settled, within=200)  # it builds the image
    (before,) = containers(harbour)
    assert harbour.processes("replica") == []

    with harbour.traffic() as traffic:
        harbour.apply("echo:v2", strategy={"step_wait": "6s"})
        harbour.until_state("shifting(50)", within=200)
        harbour.kill("server")
        assert before in containers(harbour)
        assert harbour.ask().status_code == 200
        harbour.run("up")  # what it was told once
        assert harbour.until_state("done", "undone") == "done"
        harbour.until(harbour.settled)

    green, bento = harbour.live()
    assert bento == "echo:v2"
    assert traffic.failures == []
    assert set(traffic.served_by) == {"echo-1", green}
    (after,) = containers(harbour)
    assert after != before
    assert harbour.run("logs", "echo").out.startswith("0 | ")
    assert harbour.run("logs", "echo", "--revision", "1").out.startswith("0 | ")  # its container is gone

    assert "makes of a replica a container, not a process" in harbour.run("up", "--runtime", "process", expect=4).err
    harbour.run("down")
    assert containers(harbour) == []
    harbour.run("up")
    harbour.until(harbour.settled)
    assert harbour.live() == (green, bento)
