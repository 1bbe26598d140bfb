"""A Bento from elsewhere: nothing of this machine gets into its image, and nothing of it out of the context."""

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from noren.domain.errors import SpecError
from noren.images.bento import read
from noren.images.context import lay_out
from noren.images.order import Order
from tests.images.conftest import Make


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "bentoml/tmp/context"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("../../../../../etc/passwd", "/etc/passwd", "..", "../src/service.py", "lib/../../src/service.py"),
        *("{src}/service.py", "../../../../../bentoml/bentos/shop/v1/src/service.py"),
    ],
)
def test_what_is_included_stays_in_the_context_by_its_name_too(
    make: Make, context: Path, store: Path, tmp_path: Path, name: str
) -> None:
    folder = make(image={"build_include": [name.format(src=make() / "src")]})
    (folder / "src/lib").mkdir()
    service = folder / "src/service.py"
    service.chmod(0o600)
    before = {path for path in tmp_path.rglob("*") if context not in path.parents}

    with pytest.raises(SpecError):
        lay_out(context, read(folder), Order(), model_store=store)

    assert {path for path in tmp_path.rglob("*") if context not in path.parents} == before
    assert service.stat().st_mode & 0o777 == 0o600  # a copy onto itself would have changed it


@pytest.mark.parametrize("place", ["src/pipe", "README.md", "env/docker/script__pipe"])
def test_a_pipe_is_not_waited_for(make: Make, context: Path, store: Path, place: str) -> None:
    folder = make()
    os.mkfifo(folder / place)
    lay_out(context, read(folder), Order(), model_store=store)
    assert not [path for path in context.rglob("*") if path.is_fifo()]


@pytest.mark.parametrize("target", ["/etc", "../../.."])
@pytest.mark.parametrize("place", ["src", "apis", "README.md", "env/python/wheels"])
def test_a_part_that_is_a_link_out_is_no_part(make: Make, context: Path, store: Path, place: str, target: str) -> None:
    folder = make()
    if (folder / place).is_dir():
        (folder / place).rename(folder.parent / "before")
    (folder / place).symlink_to(target)
    with pytest.raises(SpecError, match="out of its folder"):
        lay_out(context, read(folder), Order(), model_store=store)


@pytest.mark.parametrize("place", ["src/circle", "README.md"])
def test_links_that_lead_to_each_other_lead_nowhere(make: Make, context: Path, store: Path, place: str) -> None:
    folder = make()
    (folder / place).symlink_to(Path(place).name)
    with contextlib.suppress(SpecError):  # or it is left out: Python 3.13 sees no harm in it
        lay_out(context, read(folder), Order(), model_store=store)


MANIFESTS: dict[str, dict[str, Any]] = {
    "commands that are a text": {"image": {"commands": "rm -rf /"}},
    "commands that are no texts": {"image": {"commands": [["rm", "-rf", "/"]]}},
    "includes that are no texts": {"image": {"build_include": [7]}},
    "variables that are texts": {"envs": ["A=1"]},
    "a variable without a name": {"envs": [{"value": "1"}]},
    "models that are texts": {"models": ["taste:m1"]},
    "a model without a tag": {"models": [{"version": "1"}]},
    "a model that is a path": {"models": [{"tag": "../../etc:passwd"}]},
    "the latest model": {"models": [{"tag": "taste:latest"}]},
    "services that are numbers": {"services": [1]},
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_of_another_kind_is_refused(make: Make, manifest: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as refused:
        read(make(**manifest))
    assert refused.value.fix


@pytest.mark.parametrize(
    "text", [b"", b"- a", b"name: [", b"a: \xff", b"name: shop", b"[" * 5000], ids=lambda text: ascii(text)[:20]
)
def test_a_manifest_that_is_none_is_refused(make: Make, text: bytes) -> None:
    folder = make()
    (folder / "bento.yaml").write_bytes(text)
    with pytest.raises(SpecError, match="is not as BentoML writes it"):
        read(folder)
