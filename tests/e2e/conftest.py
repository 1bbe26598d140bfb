"""A whole Noren for the tests: the command line, the control plane, a real Envoy, real Bentos."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from noren.machine import Machine, Marked, free_port

NOREN = str(Path(sys.executable).with_name("noren"))

SERVICE = """
from __future__ import annotations

import os
import time

import bentoml
from pydantic import Field

{imports}


@bentoml.service(name="echo", workers=1)
class Echo:
    def __init__(self) -> None:
        {start}

    @bentoml.api
    def say(self, text: str = Field(examples=["hello"])) -> dict[str, str]:
        {answer}
        return {{"text": text}}

    def __is_ready__(self) -> bool:
        return {ready}
"""
SOUND = {"imports": "", "start": "pass", "answer": "pass", "ready": "True"}
BENTOS = {
    "v2": {"answer": "'the second version'"},
    "slow": {"answer": "time.sleep(0.05)"},
    # These two stay in one state of their rollout until a test takes the file away, however slow the machine is.
    "late": {"ready": "not os.path.exists(os.environ['HOLD'])"},
    "thoughtful": {"answer": "while os.path.exists(os.environ['HOLD']): time.sleep(0.05)"},
    # Installed where it is built, and not among its requirements: the commonest way to be broken.
    "forgetful": {"imports": "import sqlalchemy"},
    "spotty": {"answer": "assert not text.endswith('7'), 'seven is too much'"},
    "unready": {"ready": "False"},
    "mortal": {"answer": "os._exit(3)"},
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer to a guest."""

    at: float  # time.monotonic() when it came
    revision: str
    wrong: str  # "" when it is right


class Traffic:
    """Guests who come at a steady pace, whether or not the last answer has come."""

    def __init__(self, url: str, *, rate: float = 20.0) -> None:
        self.url, self.rate = url, rate
        self.answers: list[Answer] = []
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._http = httpx.Client(timeout=60, trust_env=False)
        self._guests = ThreadPoolExecutor(max_workers=32)
        self._pacer = threading.Thread(target=self._pace, daemon=True)
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pacer.join()
        self._guests.shutdown()
        self._http.close()

    @property
    def failures(self) -> list[str]:
        return [answer.wrong for answer in self.answers if answer.wrong]

    @property
    def served_by(self) -> Counter[str]:
        return Counter(answer.revision for answer in self.answers)

    def _pace(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._stop.wait(max(0.0, began + sent / self.rate - time.monotonic())):
            self._guests.submit(self._ask, str(sent))
            sent += 1

    def _ask(self, text: str) -> None:
        revision = ""
        try:
            answer = self._http.post(self.url, json={"text": text})
            revision = answer.headers.get("x-noren-revision", "")
            right = answer.status_code == 200 and answer.json() == {"text": text}
            wrong = "" if right else f"{answer.status_code} {answer.text[:200]} ({revision})"
        except httpx.HTTPError as error:
            wrong = repr(error)
        self.answers.append(Answer(at=time.monotonic(), revision=revision, wrong=wrong))


@dataclass
class House:
    """One NOREN_HOME with ports of its own, driven as a person would: by the command line."""

    home: Path
    bentoml_home: Path
    ports: dict[str, int] = field(
        default_factory=lambda: {
            name: free_port() for name in ("NOREN_PORT", "NOREN_FRONT_DOOR_PORT", "NOREN_ADMIN_PORT")
        }
    )

    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def __post_init__(self) -> None:
        self.machine = Machine(self.home)

    @property
    def environment(self) -> dict[str, str]:
        ports = {name: str(port) for name, port in self.ports.items()}
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("NOREN_", "BENTOML_"))}
        homes = {"NOREN_HOME": str(self.home), "BENTOML_HOME": str(self.bentoml_home)}
        return {**ours, **ports, **homes, "BENTOML_DO_NOT_TRACK": "True", "COLUMNS": "200"}

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['NOREN_PORT']}/noren/v1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['NOREN_FRONT_DOOR_PORT']}/echo/say"

    # Commands

    def begin(self, *arguments: str | Path, cwd: Path | None = None, **changes: str) -> "subprocess.Popen[str]":
        """Type a command and do not wait; it leads a process group, as in a terminal."""
        return subprocess.Popen(
            [NOREN, *map(str, arguments)],
            env=self.environment | changes,
            cwd=cwd or self.bentoml_home.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, command: "subprocess.Popen[str]", *, expect: int | None = 0, timeout: float = 240) -> Said:
        """Wait for its end. Whatever it says, it says without a traceback."""
        out, err = command.communicate(timeout=timeout)
        said = Said(code=command.returncode, out=out, err=err)
        assert "Traceback" not in said.text, said.text
        assert expect in (None, said.code), f"exit code {said.code}, not {expect}:\n{said.text}"
        return said

    def run(self, *arguments: str | Path, expect: int | None = 0, cwd: Path | None = None, **changes: str) -> Said:
        return self.end(self.begin(*arguments, cwd=cwd, **changes), expect=expect)

    def await_begun(self, command: "subprocess.Popen[str]") -> None:
        """Wait until it runs code of ours. What Ctrl-C does to Python before that is not in our hands."""
        maps = Path(f"/proc/{command.pid}/maps")
        self.until(lambda: command.poll() is not None or "pydantic_core" in maps.read_text())

    def interrupt(self, command: "subprocess.Popen[str]", *, expect: int = 130) -> Said:
        """Ctrl-C: the terminal sends it to the whole group."""
        os.killpg(command.pid, signal.SIGINT)
        return self.end(command, expect=expect)

    def up(self) -> Said:
        return self.run("up")

    def declare(self, bento: str = "echo:v1", name: str = "echo", **fields: Any) -> Path:
        """Write a deployment file with a strategy of seconds."""
        document: dict[str, Any] = {
            "name": name,
            "bento": bento,
            "gates": {"load": False} | fields.pop("gates", {}),
            "strategy": {"steps": [50, 100], "step_wait": "1s", "step_requests": 0, "bake": "2s", "drain_within": "2s"}
            | fields.pop("strategy", {}),
            **fields,
        }
        path = self.home.parent / f"{name}-{bento.rpartition(':')[2]}.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def apply(self, bento: str, *options: str, expect: int = 0, **fields: Any) -> Said:
        return self.run("apply", self.declare(bento, **fields), *options, expect=expect)

    # What there is

    def status(self) -> Any:
        return self.run("status", "--json").json

    def look(self, name: str = "echo") -> dict[str, Any]:
        """The deployment as the API has it now; {} while it does not say."""
        try:
            answer = self.http.get(f"{self.api}/deployments/{name}")
        except httpx.HTTPError:
            return {}
        found: dict[str, Any] = answer.json()
        return found if answer.is_success else {}

    def state(self) -> str:
        return str((self.look().get("rollout") or {}).get("state", ""))

    def until(self, claim: Callable[[], object], within: float = 120.0) -> float:
        """Wait until the claim holds; return the seconds it took."""
        began = time.monotonic()
        while not claim():
            assert time.monotonic() < began + within, f"never came true; at last: {json.dumps(self.look(), indent=1)}"
            time.sleep(0.1)  # every look makes the control plane look too, on the same cores
        return time.monotonic() - began

    def until_state(self, *states: str, within: float = 120.0) -> str:
        self.until(lambda: self.state() in states, within)
        return self.state()

    def settled(self) -> bool:
        """Whether one revision has all the traffic, is ready, and nothing else runs."""
        seen = self.look()
        rollout, live = seen.get("rollout"), seen.get("live")
        if not (rollout and live) or rollout["active"]:
            return False
        replicas = [(r["revision"], r["state"]) for r in seen["replicas"]]
        return seen["weights"] == {live["name"]: 100} and replicas == [(live["name"], "ready")]

    def live(self) -> tuple[str, str]:
        """Name and Bento of the live revision."""
        live = self.look()["live"]
        return live["name"], live["bento"]

    def other(self) -> str:
        """A sound Bento that is not the live one."""
        return "echo:v1" if self.live()[1] == "echo:v2" else "echo:v2"

    def deployments(self) -> Any:
        """All of them, as the API has them now."""
        return self.http.get(f"{self.api}/status").json()["deployments"]

    def answers(self) -> bool:
        """Whether control plane and front door answer."""
        try:
            return self.http.get(f"{self.api}/status").is_success
        except httpx.HTTPError:
            return False

    def weights(self, name: str = "echo") -> dict[str, int]:
        """The split of traffic in the words of Envoy's admin page; {} while it does not answer."""
        try:
            url = f"http://127.0.0.1:{self.ports['NOREN_ADMIN_PORT']}/config_dump?resource=dynamic_route_configs"
            dump = self.http.get(url).raise_for_status().json()
        except httpx.HTTPError:
            return {}
        routes = [
            route
            for config in dump.get("configs", [])
            for host in config["route_config"]["virtual_hosts"]
            for route in host["routes"]
            if route.get("route", {}).get("weighted_clusters")
            and route["match"].get("path_separated_prefix") == "/echo"
        ]
        return {
            cluster["name"].rpartition("/")[2]: cluster["weight"]
            for route in routes
            for cluster in route["route"]["weighted_clusters"]["clusters"]
        }

    def ask(self) -> httpx.Response:
        return self.http.post(self.url, json={"text": "hello"})

    def traffic(self, rate: float = 20.0) -> Traffic:
        return Traffic(self.url, rate=rate)

    # Processes

    def processes(self, kind: str | None = None) -> list[Marked]:
        return self.machine.processes(kind)

    def leader(self, kind: str, revision: str | None = None) -> Marked:
        (found,) = [
            p for p in self.processes(kind) if p.leads and (revision is None or p.env.get("NOREN_REVISION") == revision)
        ]
        return found

    def kill(self, kind: str) -> None:
        """`kill -9`, and wait until it is gone."""
        victim = self.leader(kind)
        os.kill(victim.pid, signal.SIGKILL)
        self.until(lambda: victim.pid not in [p.pid for p in self.processes(kind)])

    def close(self) -> None:
        self.run("down")
        assert self.processes() == []


def write_project(folder: Path) -> Path:
    """The smallest BentoML project there is, with no model."""
    folder.mkdir(parents=True)
    (folder / "service.py").write_text(SERVICE.format(**SOUND))
    packages = {"packages": [f"bentoml=={version('bentoml')}"]}
    bentofile = {"service": "service:Echo", "include": ["service.py"], "python": packages}
    (folder / "bentofile.yaml").write_text(yaml.safe_dump(bentofile))
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project") / "echo")


@pytest.fixture(scope="session")
def kitchen(project: Path, build: Callable[[Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BentoML store with one Bento of each kind, `echo:<kind>`: one is built, the others differ in their service."""
    store = tmp_path_factory.mktemp("kitchen") / "bentoml"
    built = build(project, store)
    for kind, changes in BENTOS.items():
        other = shutil.copytree(built, built.with_name(kind))
        (other / "src" / "service.py").write_text(SERVICE.format(**SOUND | changes))
        manifest = (other / "bento.yaml").read_text()
        (other / "bento.yaml").write_text(manifest.replace("version: v1\n", f"version: {kind}\n", 1))
    return store


@pytest.fixture(scope="session")
def new_house(kitchen: Path, envs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], House]:
    def make() -> House:
        home = tmp_path_factory.mktemp("house") / "home"
        home.mkdir()
        (home / "envs").symlink_to(envs)
        return House(home, kitchen)

    return make


@pytest.fixture
def house(new_house: Callable[[], House]) -> Iterator[House]:
    """A fresh home; nothing runs."""
    made = new_house()
    yield made
    if made.processes():
        made.close()


@pytest.fixture(scope="module")
def open_house(new_house: Callable[[], House]) -> Iterator[House]:
    """A home whose control plane runs, shared by the tests of a module."""
    made = new_house()
    made.up()
    yield made
    made.close()


@pytest.fixture
def serving(open_house: House) -> House:
    """The shared home, with something sound live and at rest: whatever an earlier test left is cleaned up first."""
    if (open_house.look().get("rollout") or {}).get("active"):
        open_house.run("abort", "echo")
        open_house.until(open_house.settled)
    if not open_house.look():
        open_house.apply("echo:v1", "--wait", strategy={"steps": [100], "bake": "0s"})
    open_house.until(open_house.settled)
    return open_house
