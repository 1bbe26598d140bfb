"""`python -m bentos`: several services behind one port, in a folder with two small ones and one without a model."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from noren.machine import free_port

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e

# Both batch, and both count: what one process can have only once would be noticed.
SERVICE = """
from pathlib import Path

import bentoml
from prometheus_client import Counter


@bentoml.service(name="{name}")
class Service:
    '''Says {name}.'''

    @bentoml.on_startup
    def begin(self) -> None:
        Path("{name}.begun").touch()
        self.said = Counter("{name}_said", "How often.")

    @bentoml.on_shutdown
    def end(self) -> None:
        Path("{name}.ended").touch()

    @bentoml.api
    async def say(self, text: str) -> dict[str, str]:
        self.said.inc()
        return {{"{name}": text}}

    @bentoml.api(batchable=True)
    def say_all(self, texts: list[str]) -> list[str]:
        return ["{name} " + text for text in texts]

    def __is_ready__(self) -> bool:
        return not Path("{name}.tired").exists()
"""
UNTRAINED = """
import bentoml

@bentoml.service(name="unborn")
class Service:
    stored = bentoml.models.BentoModel("unborn:latest")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("services")
    (root / "bentos").mkdir()
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / "bentos" / name, root / "bentos")
    for name, code in (
        ("echo", SERVICE.format(name="echo")),
        ("hum", SERVICE.format(name="hum")),
        ("unborn", UNTRAINED),
    ):
        folder = root / "bentos" / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "service.py").write_text(code)
        (folder / "bentofile.yaml").write_text(f'service: "bentos.{name}.service:Service"\n')
    return root


def environment(root: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENTOML_", "NOREN_", "PROMETHEUS_"))}
    return {**kept, "BENTOML_HOME": str(root / "home"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": ""}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bentos", *arguments]


@pytest.fixture(scope="module")
def server(project: Path) -> "Iterator[subprocess.Popen[bytes]]":
    port = free_port()
    with (project / "log").open("wb") as log:
        running = subprocess.Popen(
            command("--port", str(port)), cwd=project, env=environment(project), stdout=log, stderr=log
        )
    (project / "address").write_text(f"http://127.0.0.1:{port}")
    yield running
    if running.poll() is None:
        running.kill()
    running.wait(60)


@pytest.fixture(scope="module")
def client(project: Path, server: "subprocess.Popen[bytes]") -> Iterator[httpx.Client]:
    with httpx.Client(base_url=(project / "address").read_text(), timeout=60, trust_env=False) as opened:
        deadline = time.monotonic() + 120
        while True:
            try:
                opened.get("/livez")
                break
            except httpx.TransportError:
                assert server.poll() is None, (project / "log").read_text()
                assert time.monotonic() < deadline, (project / "log").read_text()
                time.sleep(0.05)
        yield opened


@pytest.mark.parametrize("name", ["echo", "hum"])
def test_each_service_answers_below_its_name(client: httpx.Client, name: str) -> None:
    assert client.post(f"/{name}/say", json={"text": "tea"}).json() == {name: "tea"}
    assert client.post(f"/{name}/say_all", json={"texts": ["a", "b"]}).json() == [f"{name} a", f"{name} b"]
    assert client.post(f"/{name}/say", json={}).status_code == 400
    assert client.post(f"/{name}/nosuch", json={}).status_code == 404


def test_the_first_page_lists_services_with_their_documentation_and_what_is_not_trained(client: httpx.Client) -> None:
    page = client.get("/").text

    for name in ("echo", "hum"):
        assert f'<a href="{name}/">{name}</a>: Says {name}.' in page
        assert "swagger" in client.get(f"/{name}/").text
        assert "/say" in client.get(f"/{name}/docs.json").json()["paths"]
        assert client.get(f"/{name}", follow_redirects=True).url.path == f"/{name}/"
    assert "unborn has no model yet: <code>python -m training.unborn</code>" in page
    assert client.get("/unborn/").status_code == 404


def test_it_is_ready_when_every_service_is(client: httpx.Client, project: Path) -> None:
    assert client.get("/livez").json() == {"echo": 200, "hum": 200}
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"echo": 200, "hum": 200})

    (project / "hum.tired").touch()
    tired = client.get("/readyz")
    (project / "hum.tired").unlink()

    assert (tired.status_code, tired.json()) == (503, {"echo": 200, "hum": 503})


def test_what_the_services_count_is_shown_together(client: httpx.Client) -> None:
    for name in ("echo", "hum"):
        client.post(f"/{name}/say", json={"text": "tea"})

    shown = client.get("/metrics").text
    assert "echo_said_total" in shown
    assert "hum_said_total" in shown


def test_a_service_without_a_model_is_named_with_what_to_type(client: httpx.Client, project: Path) -> None:
    assert "unborn has no model yet and is left out: python -m training.unborn" in (project / "log").read_text()


def test_services_begin_and_end_with_the_server(
    client: httpx.Client, server: "subprocess.Popen[bytes]", project: Path
) -> None:
    assert (project / "echo.begun").exists()
    assert (project / "hum.begun").exists()
    assert not (project / "hum.ended").exists()

    server.send_signal(signal.SIGTERM)
    server.wait(60)

    assert (project / "echo.ended").exists()
    assert (project / "hum.ended").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nosuch"], 2, "there is no service nosuch; name some of echo, hum, unborn"),
        (["unborn"], 1, "train a model first"),
        (["--port", "many"], 2, "--port"),
    ],
)
def test_what_cannot_be_served_is_said(project: Path, arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        command(*arguments),
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr
