"""Arguments that mean harm, or are broken: a message and an exit code, nothing asked, and no file touched."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from noren import cli
from noren.api import PREFIX
from noren.api.schemas import StatusView
from noren.cli import build


class Plane:
    """A control plane that has nothing, and writes down what it is asked."""

    def __init__(self, home: Path) -> None:
        self.home, self.asked = home, list[str]()

    def answer(self, request: httpx.Request) -> httpx.Response:
        address = request.url.raw_path.decode()
        if address == "/livez":
            return httpx.Response(200, json={"home": str(self.home)}, request=request)
        self.asked.append(address)
        if address == f"{PREFIX}/status":
            places = dict.fromkeys(("version", "home", "api", "front_door", "admin"), "")
            text = StatusView(**places, pid=1, deployments=[]).model_dump_json()
            return httpx.Response(200, text=text, request=request)
        return httpx.Response(500, text="nobody should have asked this", request=request)


@pytest.fixture(autouse=True)
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    for name in list(os.environ):
        if name.startswith("NOREN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NOREN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.chdir(tmp_path)
    made = Plane((tmp_path / "home").resolve())
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: made.answer(request))
    yield made
    # Whatever was asked: out of the home nothing came to be that the test did not make itself.
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "here", "pipe.yaml"}


def exit_code(monkeypatch: pytest.MonkeyPatch, *argv: str) -> object:
    """Of the whole program, as the shell sees it; a traceback would be another exception."""
    monkeypatch.setattr(sys, "argv", ["noren", *argv])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return raised.value.code


VERBS = (
    *(["status"], ["watch"], ["verdict"], ["logs"], ["revisions"], ["promote"], ["abort"], ["pause"], ["resume"]),
    *(["rollback"], ["delete"], ["gate", "calibrate"]),
)
NAMES = (
    *("../../etc/passwd", "shop/../../x", "/etc/passwd", "..", ".", "shop?x=", "shop#x", "%2e%2e", "a\nb", "a b", "é"),
    *("\udcff", "\x1b[2J", "~root", "$(touch pwned)", "`touch pwned`", "SHOP", "[bold]x", "shop*", "s\u0430hop"),
)

SOME = ("../../etc/passwd", "a\nb", "\udcff", "\x1b[2J")  # each verb looks at a name by the same means


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_name_that_is_none_is_not_found_and_never_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plane: Plane, verb: list[str]
) -> None:
    for name in NAMES if verb == ["abort"] else SOME:
        assert exit_code(monkeypatch, *verb, name) == 3, ascii(name)
        said = capsys.readouterr().err
        assert "fix:" in said
        assert "\x1b" not in said
    assert set(plane.asked) <= {f"{PREFIX}/status"}


@pytest.mark.parametrize(
    "argv",
    [
        ["logs", "shop", "--revision", "../1"],
        ["logs", "shop", "--revision", "1e3"],
        ["logs", "shop", "--lines", "99999999999999999999"],
        ["rollback", "shop", "--to", "-1"],
        ["rollback", "shop", "--to", "../1"],
        ["abort", "x" * 70_000],
        ["abort", "shop", "--reason", "x" * 70_000],
    ],
    ids=lambda argv: " ".join(argv)[:40],
)
def test_what_is_no_number_or_no_end_is_refused_and_never_asked_for(
    monkeypatch: pytest.MonkeyPatch, plane: Plane, argv: list[str]
) -> None:
    assert exit_code(monkeypatch, *argv) == 2
    assert plane.asked == []


def test_a_reason_that_is_no_utf_8_is_sent_as_far_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], plane: Plane
) -> None:
    assert exit_code(monkeypatch, "abort", "shop", "--reason", "too slow \udcff") == 5
    assert "answered 500" in capsys.readouterr().err
    (asked,) = plane.asked
    assert asked.startswith(f"{PREFIX}/deployments/shop/abort?reason=too")


BENTOS = (
    *("../../x:y", "shop:../../x", "shop:..", "/etc:passwd", "..:..", "*:*", "shop:v1\n", "\udcff:v1"),
    "x:" + "v" * 999,
)
VERSIONS = ("../../x", "..", ".", "a/b", "-v", "a\nb", "a b", "\u00e9", "\udcff", "x" * 64, "v:1", "~")


@pytest.mark.parametrize("what", BENTOS, ids=lambda what: ascii(what)[:30])
def test_a_bento_that_is_a_path_has_no_image(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(build, "find", lambda _: "podman")
    assert exit_code(monkeypatch, "build", what, "--image") in (2, 5)


@pytest.mark.parametrize("version", VERSIONS, ids=ascii)
def test_a_version_that_is_a_path_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was built")

    monkeypatch.setattr(build, "run", never)
    (tmp_path / "here").mkdir()
    assert exit_code(monkeypatch, "build", "here", f"--version={version}") == 2


LONG = "x" * 5000


@pytest.mark.parametrize(
    "argv",
    [
        ["build", LONG],
        ["build", f"{LONG}:v1", "--image", "--engine", "podman"],
        ["train", LONG],
        ["train", "x" * 300],
        ["apply", LONG],
        ["apply", "\udcff.yaml"],
        ["apply", "/dev/zero"],
        ["apply", "pipe.yaml"],
        ["apply", "."],
        ["gate", "--candidate", "http://a", "--locustfile", LONG],
        ["gate", "--candidate", "http://a", "--locustfile", "pipe.yaml", "--slo", "pipe.yaml"],
        ["gate", "replay", LONG],
    ],
    ids=lambda argv: ascii(" ".join(argv))[:40],
)
def test_a_file_that_cannot_be_is_a_message_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str]
) -> None:
    monkeypatch.setattr(build, "find", lambda _: "podman")
    os.mkfifo(tmp_path / "pipe.yaml")
    assert exit_code(monkeypatch, *argv) in ((5, 64) if argv[0] == "gate" else (2, 5))
    said = capsys.readouterr().err
    assert "fix:" in said
    assert len(said) < 12_000
