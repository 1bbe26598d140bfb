"""Which engine is taken, and what it is told."""

import os
import stat
from pathlib import Path

import pytest

from noren.domain.errors import DriverError, SpecError
from noren.images.engines import ENGINES, build_argv, find, push_argv, refusal_of

CONTEXT = Path("/c")


def test_a_client_without_its_service_is_passed_over() -> None:
    answers = {"docker": "Cannot connect to the Docker daemon", "podman": None}
    assert find(ask=answers.__getitem__) == "podman"


def test_without_any_engine_the_answer_of_each_is_told() -> None:
    with pytest.raises(DriverError) as refused:
        find(ask=lambda engine: f"no {engine}")
    assert all(f"{engine}: no {engine}" in refused.value.problem for engine in ENGINES)


def test_the_engine_that_is_asked_for_is_the_only_one_tried() -> None:
    with pytest.raises(DriverError, match="buildah: not here"):
        find("buildah", ask=lambda engine: "not here" if engine == "buildah" else None)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(SpecError, match="known: docker, podman, nerdctl, buildah"):
        find("rocket; ls")


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("exit 0", None),
        (
            "echo 'warning' >&2; echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            "Cannot connect to the Docker daemon",
        ),
        ("exit 3", "exit code 3"),
    ],
)
def test_an_engine_is_asked_by_its_info(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, answer: str | None
) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\n[ "$*" = info ] || exit 9\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert refusal_of("docker") == answer


def test_what_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal_of("podman") == "not installed"


@pytest.mark.parametrize("engine", ["docker", "nerdctl"])
def test_docker_and_nerdctl_are_told_the_least(engine: str) -> None:
    argv = build_argv(engine, context=CONTEXT, tags=["a:1", "b:2"], epoch=7)
    assert argv == [engine, "build", "--file", "/c/Containerfile", "--tag", "a:1", "--tag", "b:2", "/c"]


@pytest.mark.parametrize("engine", ["podman", "buildah"])
def test_podman_and_buildah_keep_layers_and_the_health_check(engine: str) -> None:
    argv = build_argv(engine, context=CONTEXT, tags=["a:1"], epoch=7)
    expected = ["--format", "docker", "--layers", "--timestamp", "7", "--tag", "a:1", "/c"]
    assert argv == [engine, "build", "--file", "/c/Containerfile", *expected]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_takes_a_platform_and_secrets_from_files(engine: str) -> None:
    secrets = {"TOKEN": Path("/s/TOKEN")}
    argv = build_argv(engine, context=CONTEXT, tags=["a:1"], platform="linux/arm64", secrets=secrets)
    assert argv[-5:] == ["--platform", "linux/arm64", "--secret", "type=file,id=TOKEN,src=/s/TOKEN", "/c"]


@pytest.mark.parametrize("engine", ENGINES)
def test_pushing_names_the_tag(engine: str) -> None:
    assert push_argv(engine, "registry.example/a:1") == [engine, "push", "registry.example/a:1"]
