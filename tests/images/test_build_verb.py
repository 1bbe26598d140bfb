"""`noren build --image`: what is refused before anything runs, and what is printed."""

import json
from pathlib import Path

import pytest

from noren import cli
from noren.cli import build
from noren.domain.errors import DriverError
from noren.images import audit, image
from noren.images.audit import Audit
from noren.images.image import Made
from noren.images.order import Order
from tests.images.conftest import Make


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOREN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "find", lambda wanted: wanted or "podman")


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["noren", "build", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def fake_make(folder: Path, order: Order, *, engine: str, beside: Path, **_: object) -> Made:
    return Made(
        bento="shop:v1", tags=order.tags or ("shop:v1",), engine=engine, sbom=beside / f"{folder.name}.cdx.json"
    )


@pytest.mark.parametrize(
    "option", [["--models", "mount"], ["--tag", "a"], ["--base", "b"], ["--engine", "podman"], ["--audit"]]
)
def test_an_option_about_an_image_without_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert exit_code(monkeypatch, ".", *option) == 2
    assert "add --image" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--tag", "--privileged"], ["--push"], ["--platform", "vax"], ["--models", "outside"]], ids=str
)
def test_an_order_that_no_engine_understands_is_2(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    assert exit_code(monkeypatch, ".", "--image", *options) == 2


def test_without_an_engine_it_is_5_before_the_bento_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(_: str | None) -> str:
        raise DriverError("no container engine answers: docker: not installed", fix="install one")

    monkeypatch.setattr(build, "find", none)
    assert exit_code(monkeypatch, ".", "--image") == 5
    assert "docker: not installed" in capsys.readouterr().err


def test_json_alone_is_on_standard_output(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    monkeypatch.setattr(image, "make", fake_make)
    monkeypatch.setattr(audit, "audit", lambda *_: Audit(looked_up=1, packages=1, vulnerable={"a 1": ["X-1"]}))

    assert exit_code(monkeypatch, "shop:latest", "--image", "--tag", "example.org/shop:1", "--audit", "--json") == 0

    assert json.loads(capsys.readouterr().out) == {
        "bento": "shop:v1",
        "image": ["example.org/shop:1"],
        "engine": "podman",
        "sbom": "dist/images/v1.cdx.json",
        "audit": {"looked_up": 1, "vulnerable": {"a 1": ["X-1"]}},
    }


def test_mounted_models_come_with_what_to_type(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    make()
    monkeypatch.setattr(image, "make", fake_make)
    assert exit_code(monkeypatch, "shop:v1", "--image", "--models", "mount") == 0
    assert f"-v {store}/taste/m1:/app/bento/models/taste/m1:ro" in capsys.readouterr().err


def test_an_image_of_a_bento_that_is_not_built_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_code(monkeypatch, "shop:nosuch", "--image") == 2
