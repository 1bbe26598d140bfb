"""The virtual environment of a Bento: what decides which one it is, and when it is made again."""

import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from noren import server_wheel
from noren.domain.deployment import Server
from noren.domain.errors import DriverError
from noren.runtimes import environment
from noren.runtimes.environment import _refusal, lock_hash, prepare, python_version

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    """A Bento that requires nothing."""
    folder = tmp_path / "bento"
    (folder / "env/python").mkdir(parents=True)
    (folder / "env/python/requirements.txt").touch()
    (folder / "bento.yaml").write_text(f"image: {{python_version: '{OURS}'}}")
    return folder


def test_the_same_lock_is_the_same_environment() -> None:
    assert lock_hash(b"a==1", "3.11", ["x.whl"]) == lock_hash(b"a==1", "3.11", ["x.whl"])


@pytest.mark.parametrize(
    ("requirements", "version", "wheels"),
    [
        (b"a==2", "3.11", ["x.whl"]),
        (b"a==1", "3.12", ["x.whl"]),
        (b"a==1", "3.11", ["y.whl"]),
        (b"a==1", "3.11", []),
        (b"a==1", "3.11", ["x.whl", "y.whl"]),
        (b"a==13.11", "", ["x.whl"]),
    ],
)
def test_whatever_changes_what_is_installed_is_another_environment(
    requirements: bytes, version: str, wheels: list[str]
) -> None:
    assert lock_hash(requirements, version, wheels) != lock_hash(b"a==1", "3.11", ["x.whl"])


def test_another_machine_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {lock_hash(b"a==1", "3.11")}
    monkeypatch.setattr(platform, "machine", lambda: "another")
    names.add(lock_hash(b"a==1", "3.11"))
    for libc in (("glibc", "2.0"), ("glibc", "2.1"), ("musl", "1.2")):
        monkeypatch.setattr(platform, "libc_ver", lambda libc=libc: libc)
        names.add(lock_hash(b"a==1", "3.11"))
    monkeypatch.setattr(sys, "platform", "another")
    names.add(lock_hash(b"a==1", "3.11"))
    assert len(names) == 6


def test_another_kernel_is_the_same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    here = lock_hash(b"a==1", "3.11")
    booted = platform.uname()._replace(release="99.9.9-generic", version="#1")
    monkeypatch.setattr(platform, "uname", lambda: booted)
    monkeypatch.setattr(platform, "_platform_cache", {})
    assert lock_hash(b"a==1", "3.11") == here


@pytest.mark.parametrize(
    ("manifest", "version"),
    [
        ("image: {python_version: '3.12'}", "3.12"),
        ("image: {python_version: 3.12}", "3.12"),
        ("image:", OURS),
        ("a: b", OURS),
    ],
)
def test_the_python_is_the_one_that_the_bento_was_built_for(bento: Path, manifest: str, version: str) -> None:
    (bento / "bento.yaml").write_text(manifest)
    assert python_version(bento) == version


def test_a_bento_without_locked_requirements_is_a_driver_error(bento: Path, tmp_path: Path) -> None:
    (bento / "env/python/requirements.txt").unlink()
    with pytest.raises(DriverError, match=r"no locked requirements \(env/python/requirements.txt\)") as raised:
        prepare(bento, tmp_path / "envs", Server.BENTOML)
    assert "build it again" in raised.value.fix


@pytest.mark.e2e
def test_an_environment_is_made_once_and_again_only_when_it_was_interrupted(bento: Path, tmp_path: Path) -> None:
    python = prepare(bento, tmp_path / "envs", Server.BENTOML)
    environment = python.parents[1]
    assert subprocess.run([python, "-c", "import sys; print(sys.prefix)"], check=True, capture_output=True).stdout
    (environment / "ours").touch()

    assert prepare(bento, tmp_path / "envs", Server.BENTOML) == python
    assert (environment / "ours").exists()

    (environment / ".complete").unlink()
    shutil.rmtree(environment / "lib")
    assert prepare(bento, tmp_path / "envs", Server.BENTOML) == python
    assert not (environment / "ours").exists()
    assert (environment / "lib").exists()
    assert (environment / ".complete").exists()


@pytest.mark.e2e
def test_replicas_that_start_together_share_one_environment(bento: Path, tmp_path: Path) -> None:
    made: list[Path] = []
    threads = [
        threading.Thread(target=lambda: made.append(prepare(bento, tmp_path / "envs", Server.BENTOML)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert len(set(made)) == 1


@pytest.mark.e2e
def test_what_uv_cannot_install_is_said_in_uvs_last_words_and_tried_again_next_time(
    bento: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    requirements = bento / "env/python/requirements.txt"
    requirements.write_text("nosuch @ file:///nosuch/nosuch-1.0-py3-none-any.whl\n")

    with pytest.raises(DriverError, match=r"environment: Distribution not found at: file:///nosuch"):
        prepare(bento, tmp_path / "envs", Server.BENTOML)

    assert "nosuch" in capfd.readouterr().err  # all of it is in the replica's log
    assert not list((tmp_path / "envs").glob("*/.complete"))


@pytest.mark.e2e
def test_requirements_that_cannot_be_met_are_said_with_the_cause(
    bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    (bento / "env/python/requirements.txt").write_text("a-name-that-nobody-took==1\n")
    with pytest.raises(DriverError, match=r"No solution found .* a-name-that-nobody-took") as raised:
        prepare(bento, tmp_path / "envs", Server.BENTOML)
    assert "hint" not in raised.value.problem


@pytest.mark.e2e
def test_a_python_that_is_not_there_is_said_too(bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    (bento / "bento.yaml").write_text("image: {python_version: '3.99'}")
    with pytest.raises(DriverError, match=r"uv could not make the Bento's environment: .*3\.99"):
        prepare(bento, tmp_path / "envs", Server.BENTOML)


@pytest.mark.parametrize(
    "said",
    [
        "No solution found Because noren-serve==0.1.0 depends on bentoml>=1.4.20,<1.5 and you require bentoml==1.4.10",
        "Because the current Python version (3.10) does not satisfy Python>=3.11 and noren-serve==0.1.0 depends on it",
    ],
)
def test_a_lock_that_the_server_cannot_join_is_refused_with_the_way_out(said: str) -> None:
    refused = _refusal(said)
    assert "noren-serve does not go together with what the Bento locked" in refused.problem
    assert "`server: bentoml`" in refused.fix


@pytest.mark.e2e
def test_the_server_joins_the_lock_and_the_locks_versions_are_held(bento: Path, tmp_path: Path) -> None:
    lock = "uvicorn==0.34.0\n"  # not the newest
    (bento / "env/python/requirements.txt").write_text(lock)
    python = prepare(bento, tmp_path / "envs", Server.NOREN)
    code = "import noren_serve, uvicorn; print(uvicorn.__version__)"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout == "0.34.0\n"
    assert prepare(bento, tmp_path / "envs", Server.BENTOML) != python


@pytest.mark.e2e
def test_another_server_is_another_environment(bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_wheel, "pack", lambda folder: folder)
    monkeypatch.setattr(environment, "_uv", lambda arguments, cwd: (tmp_path / arguments[-1]).mkdir(parents=True))
    made = set()
    for code in ("a", "b"):
        monkeypatch.setattr(server_wheel, "fingerprint", lambda code=code: code)
        made.add(prepare(bento, tmp_path / "envs", Server.NOREN))
    assert len(made) == 2


@pytest.mark.e2e
@pytest.mark.parametrize("lock", ["bentoml==1.4.10\n", "pydantic==2.5.0\n"])
def test_an_old_lock_is_refused_by_uv_in_words_that_we_know(bento: Path, tmp_path: Path, lock: str) -> None:
    (bento / "env/python/requirements.txt").write_text(lock)
    with pytest.raises(DriverError, match=rf"noren-serve does not go together .*{lock.strip()}"):
        prepare(bento, tmp_path / "envs", Server.NOREN)
