"""The folder that an engine builds from."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from noren.domain.errors import DriverError, SpecError
from noren.images.bento import read
from noren.images.context import lay_out
from noren.images.order import Models, Order
from tests.images.conftest import Make


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir(mode=0o700)
    return folder


def there(context: Path) -> set[str]:
    return {str(path.relative_to(context)) for path in context.rglob("*") if not path.is_dir()}


def test_what_the_containerfile_copies_is_there_and_nothing_else(make: Make, context: Path, store: Path) -> None:
    folder = make()
    (folder / "src/__pycache__").mkdir()
    (folder / "src/__pycache__/service.cpython-311.pyc").write_bytes(b"")

    lay_out(context, read(folder), Order(), model_store=store)

    found = there(context)
    (wheel,) = [name for name in found if name.endswith(".whl")]
    assert wheel.startswith("install/wheels/noren_serve-")
    assert found - {wheel} == {
        "tools/uv",
        "install/env/python/requirements.txt",
        "src/service.py",
        "weights/models/taste/latest",
        "weights/models/taste/m1/model.yaml",
        "bento/bento.yaml",
    }


def test_mounted_models_have_a_place_and_no_files(make: Make, context: Path, store: Path) -> None:
    lay_out(context, read(make()), Order(models=Models.MOUNT), model_store=store / "nowhere")

    assert (context / "weights/models/taste/m1").is_dir()
    assert {name for name in there(context) if name.startswith("weights")} == {"weights/models/taste/latest"}
    assert (context / "weights/models/taste/latest").read_text() == "m1"


def test_everyone_may_read_it_whatever_the_owner_keeps_to_himself(make: Make, context: Path, store: Path) -> None:
    folder, before = make(), os.umask(0o077)
    try:
        (folder / "src/service.py").chmod(0o600)
        (folder / "src/own").mkdir()
        (store / "taste/m1/model.yaml").chmod(0o600)
        lay_out(context, read(folder), Order(), model_store=store)
    finally:
        os.umask(before)

    for path in context.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, path
        assert path.is_file() or path.stat().st_mode & 0o111 == 0o111, path
    assert (store / "taste/m1/model.yaml").stat().st_mode & 0o777 == 0o600  # ours is a copy


def test_models_are_linked_as_they_are_large(make: Make, context: Path, store: Path) -> None:
    folder = make()
    (store / "taste/m1/model.yaml").chmod(0o644)
    lay_out(context, read(folder), Order(), model_store=store)
    assert (context / "weights/models/taste/m1/model.yaml").samefile(store / "taste/m1/model.yaml")


def test_the_same_files_have_the_same_time_as_engines_look_at_it(make: Make, context: Path, store: Path) -> None:
    folder = make()
    os.utime(folder / "src/service.py", (2_000_000_000, 2_000_000_000))
    lay_out(context, read(folder), Order(), model_store=store)
    times = {path.stat().st_mtime for path in (context / "src").rglob("*") if path.is_file()}
    times |= {path.stat().st_mtime for path in (context / "install").rglob("*") if path.is_file()}
    assert len(times) == 1


@pytest.mark.parametrize("where", ["bentos/shop/v1/src", "models/taste/m1"])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../../secret", "../../../../../../../../../etc"])
def test_a_link_to_a_file_of_this_machine_is_refused(
    make: Make, context: Path, store: Path, where: str, to: str
) -> None:
    folder = make()
    (store.parent / where / "link").symlink_to(to)
    with pytest.raises(SpecError, match="out of its folder"):
        lay_out(context, read(folder), Order(), model_store=store)


def test_a_link_within_its_folder_stays_a_link(make: Make, context: Path, store: Path) -> None:
    folder = make()
    (store / "taste/m1/again.yaml").symlink_to("model.yaml")
    lay_out(context, read(folder), Order(), model_store=store)
    assert (context / "weights/models/taste/m1/again.yaml").readlink() == Path("model.yaml")


@pytest.mark.parametrize("name", ["../../../secret", "/etc/passwd"])
def test_what_the_installation_needs_is_of_the_source(make: Make, context: Path, store: Path, name: str) -> None:
    with pytest.raises(SpecError, match="build_include"):
        lay_out(context, read(make(image={"build_include": [name]})), Order(), model_store=store)


def test_a_model_that_is_not_in_the_store_is_named(make: Make, context: Path, store: Path) -> None:
    with pytest.raises(DriverError, match=r"taste:m1.*\n.*--models mount"):
        lay_out(context, read(make()), Order(), model_store=store / "nowhere")


HUB = {"tag": "acme--bert:abc", "registry": "huggingface", "metadata": {"model_id": "acme/bert", "revision": "abc"}}


def test_a_model_of_a_hub_is_fetched_in_the_revision_that_was_built_with(
    make: Make, context: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hub:
        def __init__(self, model_id: str, *, revision: str, **_: object) -> None:
            self.text = f"{model_id}@{revision}"

        def resolve(self, folder: Path) -> None:
            (folder / "config.json").write_text(self.text)

    monkeypatch.setitem(sys.modules, "bentoml.models", SimpleNamespace(HuggingFaceModel=Hub))
    lay_out(context, read(make(services=[{"models": [HUB]}])), Order(), model_store=store)
    assert (context / "weights/hf-models/config.json").read_text() == "acme/bert@abc"


def test_a_hub_that_does_not_answer_is_told_with_the_way_out(
    make: Make, context: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bentoml.models", SimpleNamespace())
    with pytest.raises(DriverError, match=r"acme--bert:abc.*\n.*--models mount"):
        lay_out(context, read(make(services=[{"models": [HUB]}])), Order(), model_store=store)


def test_a_model_of_a_hub_that_is_mounted_is_not_fetched(make: Make, context: Path, store: Path) -> None:
    lay_out(context, read(make(services=[{"models": [HUB]}])), Order(models=Models.MOUNT), model_store=store)
    assert list((context / "weights/hf-models").iterdir()) == []


@pytest.mark.e2e
def test_the_tools_are_those_of_the_platform_that_is_built_for(make: Make, context: Path, store: Path) -> None:
    lay_out(context, read(make()), Order(platform="linux/arm64"), model_store=store)
    header = (context / "tools/uv").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 0xB7  # EM_AARCH64
    assert [path.name for path in (context / "tools").iterdir()] == ["uv"]
