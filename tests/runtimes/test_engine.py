"""What is asked of docker and podman, and what they answer."""

import dataclasses
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noren.control.ports import made_of
from noren.domain.deployment import Resources, Revision, Route, Server
from noren.domain.errors import DriverError, DriverUnavailable, SpecError
from noren.runtimes import engine as engines
from noren.runtimes.container import command, env_text, last_word, limits, run_argv
from noren.runtimes.container_launch import Launch, read
from noren.runtimes.engine import Container, Engine, parse

SHOP = Revision(
    deployment="shop",
    number=3,
    bento="shop:v1",
    workers=2,
    env={"PASSWORD": "geheim"},
    route=Route(prefix="/shop", host="shop.localhost"),
)
LABELS = {"noren.of": "/srv/noren", "noren.revision": "shop-3", "noren.index": "1", "noren.port": "41234", "a": "b"}

# Shortened; podman 4.3.1.
PODMAN: dict[str, Any] = {
    "Id": "d4053388bdd2dfadf1189369deeac7e6e0fa0d05ba310d2d70a1b41415149f36",
    "Name": "noren-c2022903-shop-3-1",
    "State": {
        "OciVersion": "1.0.2-dev",
        "Status": "running",
        "Running": True,
        "OOMKilled": False,
        "Pid": 25622,
        "ConmonPid": 25612,
        "ExitCode": 0,
        "StartedAt": "2026-11-21T12:26:29.824444689Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Config": {"Env": ["PASSWORD=geheim"], "Labels": LABELS},
    "HostConfig": {"Memory": 536870912, "NanoCpus": 500000000},
}
# Shortened; docker 28.
DOCKER: dict[str, Any] = {
    "Id": "9f3c1d7be1a04e3a4a8f35f9a4a96b36c5e0f35fe0a3c9d3d3e7d4d7d3b0c1aa",
    "Name": "/noren-c2022903-shop-3-1",
    "State": {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 25622,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-21T12:26:29.824444689Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Config": {"Env": ["PASSWORD=geheim"], "Labels": LABELS},
    "HostConfig": {"Memory": 536870912, "NanoCpus": 500000000},
}


def parsed(one: dict[str, Any], **state: object) -> Container:
    (found,) = parse(json.dumps([one | {"State": one["State"] | state}]))
    return found


@pytest.mark.parametrize("answer", [PODMAN, DOCKER], ids=["podman", "docker"])
def test_a_running_container_is_read_from_its_labels_and_its_state(answer: dict[str, Any]) -> None:
    assert parsed(answer) == Container(
        id=answer["Id"],
        revision="shop-3",
        index=1,
        address="127.0.0.1:41234",
        runs=True,
        leaving=False,
        pid=25622,
        started_at=datetime(2026, 11, 21, 12, 26, 29, 824444, UTC),
        memory_limit=2**29,
        exit_code=0,
        out_of_memory=False,
    )
    assert parsed(answer).name == "shop-3/1"


@pytest.mark.parametrize("answer", [PODMAN, DOCKER], ids=["podman", "docker"])
@pytest.mark.parametrize(
    ("status", "runs", "leaving"),
    [
        ("created", False, False),
        ("initialized", False, False),
        ("paused", True, False),
        ("stopping", True, False),
        ("exited", False, False),
        ("dead", False, False),
        ("removing", False, True),
    ],
)
def test_whether_a_container_runs_is_read_from_its_status(
    answer: dict[str, Any], status: str, runs: bool, leaving: bool
) -> None:
    found = parsed(
        answer, Status=status, Pid=0, StartedAt="0001-01-01T00:00:00Z" if not runs else "2026-01-01T00:00:00Z"
    )
    assert (found.runs, found.leaving, found.pid) == (runs, leaving, None)


@pytest.mark.parametrize(
    ("state", "limit", "words", "said"),
    [
        ({"ExitCode": 1}, 0, ["Error: x"], ""),
        ({"ExitCode": 0}, 2**24, ["bye"], ""),
        ({"ExitCode": 137}, 0, ["bye"], "without a word (exit code 137)"),
        ({"ExitCode": 137}, 2**24, ["bye"], "(exit code 137): 16Mi of resources.memory may be too little"),
        (
            {"ExitCode": 1, "OOMKilled": True},
            2**29,
            ["bye"],
            "(exit code 1): 512Mi of resources.memory may be too little",
        ),
        ({"ExitCode": 3}, 0, [], "without a word (exit code 3)"),
    ],
)
def test_a_container_that_could_not_tell_why_it_ended_has_it_told(
    state: dict[str, object], limit: int, words: list[str], said: str
) -> None:
    ended = dataclasses.replace(parsed(PODMAN, Status="exited", **state), memory_limit=limit)
    assert "".join(last_word(ended, words)).endswith(said)
    assert bool(last_word(ended, words)) is bool(said)


def test_a_container_gets_next_to_nothing_and_its_secrets_are_no_arguments() -> None:
    argv = run_argv(Engine("podman", "/srv/noren"), SHOP, 1, port=41234, image="shop:v1", env_file=Path("/x/1.env"))
    said = " ".join(argv)
    assert said.startswith("podman run --detach --pull never --name noren-")
    for words in (
        "-shop-3-1 --label noren.of=/srv/noren --label noren.revision=shop-3 --label noren.index=1",
        f"--label noren.port=41234 --label noren.made-of={made_of(SHOP)}",
        "--publish 127.0.0.1:41234:3000",
        "--user 65532:65532 --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges",
        "--env-file /x/1.env",
    ):
        assert words in said
    assert said.endswith(" shop:v1 --workers 2")
    assert "geheim" not in said
    assert "privileged" not in said.replace("no-new-privileges", "")


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (Resources(), ""),
        (Resources(cpu=0.5), "--cpus 0.5"),
        (Resources(cpu=2), "--cpus 2"),
        (Resources(memory_bytes=2**29), "--memory 536870912b --memory-swap 536870912b"),
        (Resources(cpu=1.25, memory_bytes=2**24), "--cpus 1.25 --memory 16777216b --memory-swap 16777216b"),
    ],
)
def test_limits_are_those_of_the_deployment_and_swap_is_no_way_around(resources: Resources, said: str) -> None:
    assert " ".join(limits(resources)) == said


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server.NOREN, "x --workers 3"),
        (Server.BENTOML, "--entrypoint bentoml x serve /app/bento --host 0.0.0.0 --port 3000 --api-workers 3"),
    ],
)
def test_the_image_serves_with_the_server_of_the_revision(server: Server, said: str) -> None:
    revision = Revision(deployment="shop", number=1, bento="x:y", workers=3, server=server, route=SHOP.route)
    assert " ".join(command(revision, "x")) == said


def test_a_file_of_variables_holds_them_as_they_are() -> None:
    assert env_text({"A": " # $x 'y' \"z\" ", "B": "", "C": "grüß=dich"}) == "A= # $x 'y' \"z\" \nB=\nC=grüß=dich\n"


@pytest.mark.parametrize("value", ["a\nb", "a\rb"])
def test_a_value_with_a_line_break_is_refused_without_being_said(value: str) -> None:
    with pytest.raises(SpecError, match="value of the variable KEY has a line break") as raised:
        env_text({"KEY": f"geheim{value}"})
    assert "geheim" not in str(raised.value)


def test_a_launch_is_the_same_on_the_other_side() -> None:
    launch = Launch(
        engine="podman", image="x", build=["a", "b c"], lock="/l", container="n", run=["podman", "run"], env_file="/e"
    )
    assert read(launch.argv()[-1]) == launch


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the only one on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_an_engine_is_one_that_answers_and_no_other_than_the_one_named(fake: Path) -> None:
    program(fake, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    program(fake, "podman", "exit 0")
    assert engines.answering() == engines.answering("podman") == ["podman"]
    with pytest.raises(DriverError, match=r"no container engine answers: docker: Cannot connect") as raised:
        engines.answering("docker")
    assert "noren up --runtime process" in raised.value.fix


def test_without_any_engine_each_is_said(fake: Path) -> None:
    with pytest.raises(DriverError, match="docker: not installed; podman: not installed"):
        engines.answering()


def test_an_engine_that_says_no_is_unavailable_with_its_last_words(fake: Path) -> None:
    program(fake, "podman", "echo warning >&2; echo 'Error: database is locked' >&2; exit 125")
    with pytest.raises(DriverUnavailable, match="`podman ps` does not work: Error: database is locked"):
        Engine("podman", "/srv/noren").containers()


def test_a_container_that_is_gone_between_two_questions_is_asked_about_no_more(fake: Path) -> None:
    answer = json.dumps([PODMAN])
    program(
        fake,
        "podman",
        f"""
case $1 in
  ps) echo {PODMAN["Id"]}; test -e {fake}/asked || echo gone;;
  inspect) test -e {fake}/asked || {{ : > {fake}/asked; echo '[]'; exit 125; }}; echo '{answer}';;
esac""",
    )
    assert [c.name for c in Engine("podman", "/srv/noren").containers()] == ["shop-3/1"]


def test_an_engine_sees_where_its_own_settings_are_and_no_secret(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(
        fake,
        "podman",
        "echo ${CONTAINERS_CONF}-${DOCKER_HOST}-${AWS_SECRET_ACCESS_KEY}-${NOREN_DATABASE_URL} >&2; exit 1",
    )
    for name, value in {"CONTAINERS_CONF": "c", "DOCKER_HOST": "d"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SECRET_ACCESS_KEY", "NOREN_DATABASE_URL"):
        monkeypatch.setenv(name, "geheim")
    with pytest.raises(DriverUnavailable) as raised:
        Engine("podman", "/srv/noren").containers()
    assert raised.value.problem == "`podman ps` does not work: c-d--"
