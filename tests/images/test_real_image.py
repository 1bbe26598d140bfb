"""A real image: built by podman, run as a stranger would run it, and searched for what must not be inside."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from noren.machine import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without certificates of authorities, which take 20 ms to read
BASE = "localhost/noren-base:3.11"
HARDENED = [
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
]
SERVICE = """
from pathlib import Path

import bentoml

# The first command runs before the packages are installed, the second after; both need the secret.
image = bentoml.images.Image(python_version="3.11").run('test -n "$TOKEN"')
image = image.python_packages("bentoml").run('test -n "$TOKEN" && command -v uv && echo after > /after')


@bentoml.service(name="tasty", image=image, envs=[{"name": "TOKEN", "stage": "build"}])
class Tasty:
    stored = bentoml.models.BentoModel("taste:latest")

    def __init__(self) -> None:
        self.word = Path(self.stored.path_of("word.txt")).read_text()

    @bentoml.api
    def say(self, text: str) -> str:
        return f"{text} is {self.word}"
"""
MODEL = """
import sys
import bentoml

with bentoml.models.create("taste", module="none", signatures={}, context=bentoml.models.ModelContext(
    framework_name="none", framework_versions={})) as model:
    open(model.path_of("word.txt"), "w").write(sys.argv[1])
"""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A project, a BentoML store of its own, and what is planted in the environment of who builds."""

    project: Path
    environment: Mapping[str, str]
    planted: tuple[str, str]

    def model(self, word: str) -> None:
        self._run(sys.executable, "-c", MODEL, word)

    def build(self, *options: str) -> dict[str, Any]:
        """Build Bento and image; returns what --json says."""
        said = self._run(sys.executable, "-m", "noren", "build", *options, "--image", "--base", BASE, "--json")
        document: dict[str, Any] = json.loads(said)
        return document

    def podman(self, *argv: str) -> str:
        return self._run("podman", *argv)

    @contextmanager
    def running(self, tag: str, *options: str) -> Iterator[tuple[str, str]]:
        """The image, hardened; gives its address and the name of the container."""
        port, name = free_port(), f"noren-test-{uuid4().hex[:8]}"
        try:
            self.podman("run", "--detach", "--name", name, *HARDENED, "-p", f"127.0.0.1:{port}:3000", *options, tag)
            yield f"http://127.0.0.1:{port}", name
        finally:
            subprocess.run(["podman", "logs", name], env=self.environment, check=False)  # shown when a test fails
            subprocess.run(["podman", "rm", "-f", name], env=self.environment, capture_output=True, check=False)

    def _run(self, *argv: str) -> str:
        done = subprocess.run(
            argv, cwd=self.project, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    based = subprocess.run([str(ROOT / "scripts/container-base")], capture_output=True, text=True, check=False)
    if based.returncode == 77:
        pytest.skip(based.stderr.strip())
    assert based.returncode == 0, based.stderr
    folder = tmp_path_factory.mktemp("image")
    (project := folder / "project").mkdir()
    (project / "service.py").write_text(SERVICE)
    (project / "bentofile.yaml").write_text("service: service:Tasty\ninclude: [service.py]\n")
    planted = (f"planted-{uuid4().hex}", f"planted-{uuid4().hex}")
    environment = {
        **os.environ,
        "CONTAINERS_CONF": based.stdout.strip().partition("CONTAINERS_CONF=")[2],
        "NOREN_HOME": str(folder / "home"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "TOKEN": planted[0],
        "AWS_SECRET_ACCESS_KEY": planted[1],
    }
    return Bench(project=project, environment=environment, planted=planted)


@pytest.fixture(scope="module")
def image(bench: Bench) -> Iterator[str]:
    """The tag of an image whose service says that all is sweet."""
    tag = f"localhost/noren-test:{uuid4().hex[:8]}"
    bench.model("sweet")
    said = bench.build(".", "--engine", "podman", "--tag", tag)
    assert (bench.project / said["sbom"]).is_file()
    yield tag
    bench.podman("rmi", "--force", tag)


def ask(url: str, text: str) -> str:
    """What the service says, once it is there."""
    deadline = time.monotonic() + 120
    while True:
        try:
            if httpx.get(f"{url}/readyz", verify=PLAIN).status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the service was not ready within 120 s"
        time.sleep(0.1)
    answer = httpx.post(f"{url}/say", json={"text": text}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_it_serves_on_a_read_only_root_without_any_right(bench: Bench, image: str) -> None:
    with bench.running(image) as (url, name):
        assert ask(url, "tea") == "tea is sweet"
        status = bench.podman("exec", name, "cat", "/proc/1/status")
        bench.podman("healthcheck", "run", name)
        bench.podman("stop", "--time", "60", name)
        code = bench.podman("inspect", "--format", "{{.State.ExitCode}}", name).strip()

    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["65532"] * 4
    assert int(lines["CapEff"], 16) == int(lines["CapBnd"], 16) == 0
    assert lines["NoNewPrivs"] == "1"
    assert code == "0"  # it went when it was asked to


def test_nothing_that_builds_is_inside(bench: Bench, image: str) -> None:
    look = (
        "for tool in pip pip3 uv uvx gcc cc make git; do command -v $tool; done; "
        "find / -xdev \\( -name uv -o -name 'pip-*' -o -name pip -o -path '*/.cache/*' \\) 2>/dev/null; "
        "python -m pip --version 2>/dev/null; cat /after"
    )
    said = bench.podman("run", "--rm", "--user=0", "--network=none", "--entrypoint=sh", image, "-c", look)
    assert said.split() == ["after"]  # the user's own command left something, and its tools are gone


def test_it_says_what_it_is(bench: Bench, image: str) -> None:
    (about,) = json.loads(bench.podman("image", "inspect", image))
    labels = about["Config"]["Labels"]

    assert about["Config"]["User"] == "65532:65532"
    assert about["Healthcheck"]["Test"][0] == "CMD"
    assert labels["org.opencontainers.image.title"] == "tasty"
    assert labels["noren.bento"] == f"tasty:{labels['org.opencontainers.image.version']}"
    assert labels["noren.models"].startswith("taste:")
    assert labels["org.opencontainers.image.created"].endswith("Z")
    assert about["Size"] < 500_000_000


def test_no_layer_has_a_secret_of_who_built_it(bench: Bench, image: str) -> None:
    saving = subprocess.Popen(
        ["podman", "save", "--format", "docker-archive", image], env=bench.environment, stdout=subprocess.PIPE
    )
    assert saving.stdout
    wanted, rest, size = [*(secret.encode() for secret in bench.planted), b"noren.bento"], b"", 0
    found = set()
    while chunk := saving.stdout.read(1 << 20):  # layers are not compressed in this format
        found |= {text for text in wanted if text in rest + chunk}
        rest, size = chunk[-64:], size + len(chunk)

    assert saving.wait() == 0
    assert size > 100_000_000
    assert found == {b"noren.bento"}  # which shows that the search finds what is there


def test_a_new_model_leaves_the_layers_of_packages_and_source_as_they_are(bench: Bench, image: str) -> None:
    bench.model("sour")
    tag = f"{image}-sour"
    bench.build(".", "--engine", "podman", "--tag", tag)
    try:
        layers = [
            json.loads(bench.podman("image", "inspect", "--format", "{{json .RootFS.Layers}}", each))
            for each in (image, tag)
        ]
        with bench.running(tag) as (url, _):
            assert ask(url, "lime") == "lime is sour"
    finally:
        bench.podman("rmi", "--force", tag)
    assert layers[0][:-2] == layers[1][:-2]  # the last two are the models, and bento.yaml with its version


def test_models_may_be_mounted(bench: Bench, image: str) -> None:
    tag = f"{image}-mount"
    bento = json.loads(bench.podman("image", "inspect", "--format", "{{json .Labels}}", image))["noren.bento"]
    bench.build(bento, "--engine", "podman", "--tag", tag, "--models", "mount")
    try:
        models = json.loads(bench.podman("image", "inspect", "--format", "{{json .Labels}}", tag))["noren.models"]
        path = models.replace(":", "/")
        store = Path(bench.environment["BENTOML_HOME"]) / "models" / path
        store.chmod(0o755)  # BentoML keeps it for its owner, who is not the one that serves
        with bench.running(tag, "-v", f"{store}:/app/bento/models/{path}:ro") as (url, _):
            assert ask(url, "tea") == "tea is sweet"
    finally:
        bench.podman("rmi", "--force", tag)
