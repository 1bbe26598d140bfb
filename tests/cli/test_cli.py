"""The command line: what it prints, its exit codes, and what it refuses before it asks anyone."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noren import __version__, cli, settings
from noren.cli import build, project
from noren.cli.app import app
from noren.domain.errors import (
    Conflict,
    DriverError,
    DriverUnavailable,
    NorenError,
    NotFound,
    SpecError,
    Stale,
)
from noren.manifests.deployment_file import DeploymentFile

VERBS = [
    "up",
    "down",
    "new",
    "train",
    "build",
    "apply",
    "schema",
    "status",
    "watch",
    "verdict",
    "logs",
    "revisions",
    "promote",
    "abort",
    "rollback",
    "pause",
    "resume",
    "delete",
    "gate",
]


@pytest.fixture(autouse=True)
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A home of its own, and the port of the control plane: who connects to it is noticed."""
    for name in list(os.environ):
        if name.startswith("NOREN_") or name == "BENTOML_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("NOREN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("NOREN_PORT", str(server.getsockname()[1]))
        yield server


def called(line: socket.socket) -> bool:
    try:
        line.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def noren(*argv: str) -> Any:
    return CliRunner().invoke(app, list(argv), catch_exceptions=True)


def exit_code(monkeypatch: pytest.MonkeyPatch, *argv: str) -> object:
    """Of the whole program, as the shell sees it."""
    monkeypatch.setattr(sys, "argv", ["noren", *argv])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return raised.value.code


def test_help_lists_every_verb() -> None:
    said = noren("--help")
    assert said.exit_code == 0
    assert [verb for verb in VERBS if f" {verb} " not in said.output] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    said = noren(verb, "--help")
    assert said.exit_code == 0
    assert f"noren {verb}" in said.output.replace("root ", "noren ")


def test_the_version_is_that_of_the_package() -> None:
    said = noren("--version")
    assert (said.exit_code, said.output) == (0, f"noren {__version__}\n")


def test_the_schema_is_that_of_the_deployment_file(line: socket.socket) -> None:
    said = noren("schema")
    assert json.loads(said.stdout) == DeploymentFile.model_json_schema()
    assert not called(line)


@pytest.mark.parametrize(
    ("error", "code"),
    [(SpecError, 2), (NotFound, 3), (Conflict, 4), (Stale, 4), (DriverError, 5), (DriverUnavailable, 5)],
)
def test_each_class_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[NorenError], code: int
) -> None:
    def fail() -> None:
        raise error("what [bold]is[/bold] wrong", fix="what to do")

    monkeypatch.setattr("noren.settings.load", fail)
    assert exit_code(monkeypatch, "status") == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "error: what [bold]is[/bold] wrong\n  fix: what to do\n"


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("noren.settings.load", interrupt)
    assert exit_code(monkeypatch, "status") == 130


@pytest.mark.parametrize("argv", [["nosuch"], ["apply"], ["rollback", "--to", "0"], ["logs", "-n", "0"], ["delete"]])
def test_wrong_arguments_are_2(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    assert exit_code(monkeypatch, *argv) == 2


@pytest.mark.parametrize("verb", ["status", "watch", "verdict", "logs", "revisions", "promote", "abort", "pause"])
def test_without_a_control_plane_every_verb_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: socket.socket, verb: str
) -> None:
    line.close()
    assert exit_code(monkeypatch, verb) == 5
    assert "noren up" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["name: Shop\nbento: shop\n", "name: [", "", None])
def test_apply_of_a_wrong_file_asks_nobody(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: socket.socket,
    tmp_path: Path,
    text: str | None,
) -> None:
    (tmp_path / "right.yaml").write_text("name: shop\nbento: shop:v1\n")
    if text is not None:
        (tmp_path / "wrong.yaml").write_text(text)

    assert exit_code(monkeypatch, "apply", "right.yaml", "wrong.yaml") == 2
    assert "wrong.yaml" in capsys.readouterr().err
    assert not called(line)


def test_a_wrong_setting_is_2_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOREN_PORT", "http")
    assert exit_code(monkeypatch, "status") == 2
    assert "NOREN_PORT" in capsys.readouterr().err


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "training"
    folder.mkdir()
    for name in ("sentiment.py", "churn.py", "datasets.py", "__init__.py"):
        (folder / name).write_text('if __name__ == "__main__": ...' if name in ("sentiment.py", "churn.py") else "")
    return folder


def test_a_script_of_the_project_is_a_module(scripts: Path) -> None:
    assert project.module("training", "sentiment") == "training.sentiment"


@pytest.mark.parametrize("name", ["nosuch", "../x", "sentiment.py", "training.sentiment", "Sentiment", "", "-c", "os"])
def test_training_something_unknown_is_refused_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scripts: Path, name: str
) -> None:
    (scripts.parent / "x.py").write_text("raise SystemExit(99)")
    assert exit_code(monkeypatch, "train", "--", name) == 2
    assert "(known: churn, sentiment)" in capsys.readouterr().err


def test_outside_of_a_project_there_is_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="known: none"):
        project.module("training", "sentiment")


@pytest.mark.e2e
def test_a_training_script_gets_its_own_options_and_its_exit_code_is_ours(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], scripts: Path, tmp_path: Path
) -> None:
    (scripts / "sentiment.py").write_text(
        "import os, sys\n"
        "print(sys.argv[1:], os.environ['BENTOML_HOME'], os.environ['MLFLOW_TRACKING_URI'])\n"
        "sys.exit(7)\n"
    )
    assert exit_code(monkeypatch, "train", "sentiment", "--alpha", "2", "-h", "--json") == 7
    said = capfd.readouterr().out
    assert said == (
        f"['--alpha', '2', '-h', '--json'] {tmp_path / 'bentoml'} sqlite:///{tmp_path / 'home/mlflow/mlflow.db'}\n"
    )


def test_what_is_set_for_mlflow_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert project.environment(settings.load())["MLFLOW_TRACKING_URI"] == "http://mlflow.example"


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    for folder in ("bentos/sentiment", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bentos/sentiment/bentofile.yaml").touch()
    (tmp_path / "elsewhere/bentofile.yaml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("what", "arguments"),
    [
        ("sentiment", ["--bentofile", "bentos/sentiment/bentofile.yaml"]),
        ("bentos/sentiment", ["--bentofile", "bentos/sentiment/bentofile.yaml"]),
        ("bentos/sentiment/bentofile.yaml", ["--bentofile", "bentos/sentiment/bentofile.yaml"]),
        (".", []),
        ("elsewhere", []),
    ],
)
def test_what_is_built_is_a_bento_of_the_shop_or_a_folder(bundles: Path, what: str, arguments: list[str]) -> None:
    context = Path(what) if not arguments else Path()  # a bundle's context is the root, where we are
    assert build._source(what) == (context, arguments)


@pytest.mark.parametrize("what", ["nosuch", "../nosuch", "bentos/nosuch"])
def test_building_something_unknown_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundles: Path, what: str
) -> None:
    assert exit_code(monkeypatch, "build", what) == 2
    assert "there is neither" in capsys.readouterr().err
