"""Where things are: the environment over noren.toml over the defaults."""

import os
from pathlib import Path

import pytest

from noren import settings
from noren.domain.errors import DriverError, SpecError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is set but NOREN_HOME, and HOME is empty."""
    for name in list(os.environ):
        if name.startswith("NOREN_") or name == "BENTOML_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("NOREN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_without_anything_set_it_is_loopback_and_sqlite_in_the_home(home: Path, tmp_path: Path) -> None:
    found = settings.load()

    assert (found.home, found.bentoml_home) == (home, tmp_path / "user/bentoml")
    assert (found.api_url, found.front_door_url) == ("http://127.0.0.1:7410", "http://127.0.0.1:7480")
    assert found.database_url == f"sqlite:///{home / 'noren.db'}"


def test_the_environment_is_stronger_than_the_file_and_the_file_than_the_defaults(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "noren.toml").write_text('port = 1001\nadmin_port = 1002\ndatabase_url = "sqlite:///x"\n')
    monkeypatch.setenv("NOREN_PORT", "2001")
    found = settings.load()

    assert (found.port, found.admin_port, found.front_door_port) == (2001, 1002, 7480)
    assert found.database_url == "sqlite:///x"


def test_replicas_are_processes_until_something_else_is_said_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load().runtime is settings.Runtime.PROCESS

    monkeypatch.setenv("NOREN_RUNTIME", "container")
    settings.remember_runtime(settings.load())
    monkeypatch.delenv("NOREN_RUNTIME")
    assert settings.load().runtime is settings.Runtime.CONTAINER
    assert settings.remembered_runtime(home) == "container"

    (home / "noren.toml").write_text('runtime = "process"\n')
    assert settings.load().runtime is settings.Runtime.PROCESS
    settings.remember_runtime(settings.load())
    assert settings.remembered_runtime(home) == "process"


@pytest.mark.parametrize("left", [b"", b"contai", b"\xff\0"])
def test_a_last_choice_that_cannot_be_read_is_as_good_as_none(home: Path, left: bytes) -> None:
    (home / "runtime").write_bytes(left)
    assert settings.load().runtime is settings.Runtime.PROCESS


def test_the_last_choice_is_written_whole_and_only_when_it_is_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOREN_RUNTIME", "container")
    settings.remember_runtime(settings.load())

    (home / ".runtime.new").mkdir()  # nothing can be written from now on
    settings.remember_runtime(settings.load())
    monkeypatch.setenv("NOREN_RUNTIME", "process")
    with pytest.raises(OSError, match="runtime"):
        settings.remember_runtime(settings.load())
    assert settings.remembered_runtime(home) == "container"


@pytest.mark.parametrize(
    ("variable", "wrong"), [("NOREN_RUNTIME", "kubernetes"), ("NOREN_CONTAINER_ENGINE", "containerd")]
)
def test_what_nobody_can_run_replicas_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, wrong: str
) -> None:
    monkeypatch.setenv(variable, wrong)
    with pytest.raises(SpecError, match="Input should be '") as raised:
        settings.load()
    assert variable in raised.value.fix


@pytest.mark.parametrize(
    ("ours", "bentomls", "toml", "meant"),
    [
        ("", "", "", "user/bentoml"),
        ("", "", "store", "home/store"),
        ("", "", "~/store", "user/store"),
        ("", "b", "store", "home/b"),
        ("a", "b", "store", "home/a"),
    ],
)
def test_the_bentoml_store_is_the_most_explicit_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str, bentomls: str, toml: str, meant: str
) -> None:
    for name, value in (("NOREN_BENTOML_HOME", ours), ("BENTOML_HOME", bentomls)):
        if value:
            monkeypatch.setenv(name, str(home / value))
    if toml:
        (home / "noren.toml").write_text(f'bentoml_home = "{toml}"')
    assert settings.load().bentoml_home == tmp_path / meant


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NOREN_PORT", "http", "setting port: Input should be a valid integer"),
        ("NOREN_PORT", "0", "setting port: Input should be greater than or equal to 1"),
        ("NOREN_ADMIN_PORT", "70000", "setting admin_port: Input should be less than or equal to 65535"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=said) as raised:
        settings.load()
    assert name in raised.value.fix


@pytest.mark.parametrize(
    ("text", "said"),
    [("prot = 1", "setting prot: Extra inputs"), ("port = ", "noren.toml: "), ('port = "x"', "setting port: ")],
)
def test_a_wrong_file_is_named(home: Path, text: str, said: str) -> None:
    (home / "noren.toml").write_text(text)
    with pytest.raises(SpecError, match=said) as raised:
        settings.load()
    assert "file" in raised.value.fix or "noren.toml" in raised.value.fix


def test_variables_that_mark_processes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOREN_OF", "NOREN_KIND", "NOREN_NAME", "NOREN_LEADER", "NOREN_INDEX"):
        monkeypatch.setenv(name, "1")
    assert settings.load().port == 7410


def test_the_home_is_the_nearest_one_upwards_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOREN_HOME")
    (tmp_path / "project/.noren").mkdir(parents=True)
    (tmp_path / "project/deep/deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project/deep/deeper")
    assert settings.find_home() == tmp_path / "project/.noren"

    monkeypatch.chdir(tmp_path)
    assert settings.find_home() == tmp_path / "user/.noren"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:7410"), ("::", "http://127.0.0.1:7410"), ("::1", "http://[::1]:7410")],
)
def test_addresses_are_urls_that_can_be_asked(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("NOREN_HOST", host)
    monkeypatch.setenv("NOREN_FRONT_DOOR_HOST", host)
    monkeypatch.setenv("NOREN_FRONT_DOOR_PORT", "7410")
    found = settings.load()
    assert (found.api_url, found.front_door_url) == (url, url)


def test_the_home_is_for_its_owner_only(tmp_path: Path) -> None:
    made = settings.writable_home(tmp_path / "a/b")
    assert (made / "logs").is_dir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert settings.writable_home(made) == made


def test_a_home_that_cannot_be_written_is_a_driver_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DriverError, match="cannot be written") as raised:
        settings.writable_home(tmp_path / "file/home")
    assert "NOREN_HOME" in raised.value.fix


def test_state_inside_a_project_gets_into_no_bento_and_no_commit(tmp_path: Path) -> None:
    from bentoml._internal.bento.build_config import BentoPathSpec

    home = settings.writable_home(tmp_path / ".noren")
    (home / "noren.db").touch()
    everything = BentoPathSpec(include=["*"], exclude=[], ctx_dir=str(tmp_path))

    assert everything.includes("service.py")
    assert not everything.includes(".noren/noren.db")
    assert not everything.includes(".noren/bentoml/bentos/x/y/bento.yaml")
    assert (home / ".gitignore").read_text() == "*\n"


def test_what_revisions_leave_is_kept_generously_unless_it_is_said_otherwise(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (settings.load().retain_revisions, settings.load().retain_days) == (20, 90)
    (home / "noren.toml").write_text("retain_revisions = 3\n")
    monkeypatch.setenv("NOREN_RETAIN_DAYS", "7")
    assert (settings.load().retain_revisions, settings.load().retain_days) == (3, 7)
    monkeypatch.setenv("NOREN_RETAIN_REVISIONS", "0")  # the newest one is always kept
    with pytest.raises(SpecError, match="setting retain_revisions"):
        settings.load()
