"""Bad input, a bad machine, a bad Bento: the message says what is wrong and what to do, and blue serves on."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # importlib mode does not let a test import its conftest
    from tests.e2e.conftest import House

pytestmark = pytest.mark.e2e

# Behind each mistake what is said of it.
MISTAKES = """\
name: Echo!  # name: String should match pattern
bento: echo:v1
replicas: 0  # replicas: Input should be greater than or equal to 1
replcas: 2  # replcas: unknown field
slo:
  p95_ms: fast  # slo.p95_ms: Input should be a valid number
gates:
  load:
    rate: -1  # gates.load.rate: Input should be greater than 0
strategy:
  steps: [50, 10]  # strategy.steps: steps rise
  bake: 5  # strategy.bake: a duration is a number with a unit
env: {NOREN_HOME: x}  # env: 'NOREN_HOME' is no name
"""


# Input


def test_an_unknown_bento_is_refused_with_those_that_are_built(open_house: House) -> None:
    unknown_version = open_house.apply("echo:v9", expect=2, name="nobody").err
    assert "bento 'echo:v9' is not in the BentoML store" in unknown_version
    assert "echo:v1" in unknown_version
    assert "fix: build it with `noren build`" in unknown_version

    unknown_name = open_house.apply("soup", expect=2, name="nobody").err
    assert "bento 'soup' is not in the BentoML store" in unknown_name
    assert "(built: echo)" in unknown_name
    assert open_house.look("nobody") == {}


def test_every_mistake_in_a_deployment_file_is_told_by_line_and_field(open_house: House, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(MISTAKES)

    said = open_house.run("apply", file, expect=2).err

    for line, mistake in enumerate(MISTAKES.splitlines(), start=1):
        if told := mistake.partition("# ")[2]:
            assert f"{file}:{line}: {told}" in said
    assert "fix: `noren schema` describes every field" in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: echo\nbento: [echo\n", "3: not YAML"),
        ("name: echo\n\tbento: echo\n", "2: not YAML"),
        ("", "1: the file is empty"),
        ("- name: echo\n", "1: the file is empty, or no mapping"),
        ("name: echo\n", "1: bento: Field required"),
    ],
)
def test_a_file_that_is_no_deployment_is_told_by_line(open_house: House, tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)

    said = open_house.run("apply", file, expect=2).err

    assert f"{file}:{told}" in said
    assert "fix: " in said


def test_nothing_is_applied_unless_every_file_is_right(open_house: House, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: first\nbento: echo:v1\n")
    (tmp_path / "b.yaml").write_text("name: second\nbento: echo:v1\nworkers: none\n")

    assert f"{tmp_path / 'b.yaml'}:3: workers:" in open_house.run("apply", tmp_path, expect=2).err

    assert open_house.look("first") == {}


@pytest.mark.parametrize("named", ["missing.yaml", "empty", "picture.yaml"])
def test_a_file_that_is_no_text_or_not_there_is_refused_by_name(open_house: House, tmp_path: Path, named: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")

    said = open_house.run("apply", tmp_path / named, expect=2).err

    assert str(tmp_path / named) in said
    assert "fix: " in said


def test_a_route_of_another_deployment_is_refused(serving: House) -> None:
    said = serving.apply("echo:v1", expect=2, name="other", route={"prefix": "/echo"}).err

    assert "route.prefix '/echo' belongs to the deployment 'echo'" in said
    assert "fix: choose another route.prefix" in said


def test_a_deployment_that_is_not_there_is_said_so(open_house: House) -> None:
    for verb in ("status", "rollback", "logs", "delete"):
        said = open_house.run(verb, "nobody", expect=3).err
        assert "nobody" in said
        assert "fix: " in said


def test_the_schema_needs_no_server_and_is_valid_json_schema(house: House) -> None:
    schema = house.run("schema").json

    assert schema["type"] == "object"
    assert set(schema["required"]) == {"name", "bento"}
    assert all("description" in field or "$ref" in field for field in schema["properties"].values())
    defined = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema))) <= defined
    for pattern in re.findall(r'"pattern": ("[^"\n]+")', json.dumps(schema)):
        re.compile(json.loads(pattern))


# The machine


@contextmanager
def _occupied(port: int) -> Iterator[None]:
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        yield


@pytest.mark.parametrize("variable", ["NOREN_PORT", "NOREN_FRONT_DOOR_PORT", "NOREN_ADMIN_PORT"])
def test_a_taken_port_is_refused_with_the_process_that_has_it(house: House, variable: str) -> None:
    port = house.ports[variable]
    with _occupied(port):
        said = house.run("up", expect=5).err

    assert re.search(rf"port {port} is taken by \S+ \(pid {os.getpid()}\)", said)
    assert f"fix: stop it, or set {variable}" in said
    assert house.processes() == []


def test_the_port_of_another_home_is_refused_with_that_home(open_house: House, house: House) -> None:
    house.ports["NOREN_PORT"] = open_house.ports["NOREN_PORT"]

    said = house.run("up", expect=5).err

    assert f"is the control plane of {open_house.home}, not of " in said
    assert f"fix: stop it with `NOREN_HOME={open_house.home} noren down`" in said


def test_a_bad_setting_is_refused_by_its_name(house: House) -> None:
    said = house.run("up", expect=2, NOREN_PORT="70000").err

    assert "setting port:" in said
    assert "fix: correct NOREN_PORT" in said


@pytest.mark.parametrize(
    ("verb", "place"), [("up", "file/x"), ("up", "file"), ("up", "/proc/x"), ("train echo", "file/x")]
)
def test_a_home_that_cannot_be_written_is_refused_by_its_path(
    house: House, tmp_path: Path, verb: str, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "echo.py").touch()
    home = tmp_path / place

    said = house.run(*verb.split(), expect=5, cwd=tmp_path, NOREN_HOME=str(home)).err

    assert f"{home} cannot be written: " in said
    assert "fix: make it writable, or set NOREN_HOME to another folder" in said


def test_down_with_nothing_running_is_no_error(house: House, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert house.run("down").out == "nothing was running\n"
    assert house.run("down", NOREN_HOME=str(tmp_path / "file" / "x")).out == "nothing was running\n"


def test_every_verb_says_how_to_start_a_server_that_does_not_run(house: House) -> None:
    file = str(house.declare("echo:v1"))
    looking = ["status", "watch echo", "verdict echo", "logs echo", "revisions echo"]
    steering = ["promote echo", "abort echo", "rollback echo", "pause echo", "resume echo", "delete echo"]

    for asked in [house.begin(*verb.split()) for verb in [*looking, *steering, f"apply {file} --wait"]]:
        said = house.end(asked, expect=5).err
        assert "no control plane answers at http://127.0.0.1:" in said
        assert "fix: start it with `noren up`" in said


def test_two_ups_at_once_both_end_well_and_leave_one_server(house: House) -> None:
    both = [house.begin("up") for _ in range(2)]
    for up in both:
        house.end(up)

    assert len(house.processes("server")) == 1
    assert "already up" in house.up().out
    assert len(house.processes("server")) == 1
    assert len([p for p in house.processes("envoy") if p.leads]) == 1


# The Bento


def test_a_bento_that_fails_to_import_is_undone_with_the_last_line_of_its_log(serving: House) -> None:
    with serving.traffic() as traffic:
        said = serving.apply("echo:forgetful", "--wait", expect=1).out

    green = serving.look()["rollout"]["green"]
    assert f"{green} keeps crashing: " in said
    assert "No module named 'sqlalchemy'" in said
    assert "No module named 'sqlalchemy'" in serving.run("logs", "echo", "--revision", green.removeprefix("echo-")).out
    assert traffic.failures == []
    assert list(traffic.served_by) == [serving.live()[0]]
    serving.until(serving.settled)


def test_a_bento_that_never_becomes_ready_is_undone_after_ready_within(serving: House) -> None:
    with serving.traffic() as traffic:
        said = serving.apply("echo:unready", "--wait", expect=1, strategy={"ready_within": "3s"}).out

    assert "was not ready within 0:00:03" in said
    assert traffic.failures == []
    assert list(traffic.served_by) == [serving.live()[0]]
    serving.until(serving.settled)


def test_a_bento_that_dies_at_the_first_request_never_gets_a_guest(serving: House) -> None:
    with serving.traffic() as traffic:
        said = serving.apply("echo:mortal", "--wait", expect=1).out

    # The gate's verdict, unless a health check was faster.
    assert "failed its gate: POST /say: " in said or "became unhealthy" in said
    assert traffic.failures == []
    assert list(traffic.served_by) == [serving.live()[0]]
    serving.until(serving.settled)


def test_a_version_with_more_than_its_part_of_the_errors_is_undone_though_it_keeps_its_limit(serving: House) -> None:
    steps = {"steps": [50, 100], "step_wait": "120s"}
    with serving.traffic(rate=60) as traffic:
        said = serving.apply("echo:spotty", "--wait", expect=1, slo={"error_rate": 0.5}, strategy=steps).out

    assert "guests with 5xx at 50 % of the traffic" in said
    blue, wrong = serving.live()[0], [answer for answer in traffic.answers if answer.wrong]
    assert wrong
    assert blue not in {answer.revision for answer in wrong}
    assert serving.live()[1] == "echo:v1"


def test_a_first_deployment_that_fails_leaves_nothing_running(house: House) -> None:
    house.up()

    assert "keeps crashing" in house.apply("echo:forgetful", "--wait", expect=1).out

    seen = house.look()
    assert (seen["live"], seen["weights"], seen["replicas"]) == (None, {}, [])
    assert house.processes("replica") == []
    assert house.ask().status_code == 404  # its route is free for another deployment
