"""Which exact Bento a name means, read from the store's files."""

import os
from pathlib import Path

import pytest

from noren.domain.errors import DriverError, SpecError
from noren.manifests.built import BentoStore


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """v2 was built after v10, and shop's marker names v2; other has no marker."""
    for at, tag in enumerate(["shop/v1", "shop/v10", "shop/v2", "other/b", "other/a"]):
        manifest = tmp_path / "bentos" / tag / "bento.yaml"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("schema: {}")
        os.utime(manifest, (at, at))
    (tmp_path / "bentos/shop/latest").write_text("v2\n")
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("shop", "shop:v2"),
        ("shop:latest", "shop:v2"),
        ("shop:v1", "shop:v1"),
        ("shop:v10", "shop:v10"),
        ("other", "other:a"),  # built last
    ],
)
def test_a_name_means_one_exact_bento(home: Path, asked: str, meant: str) -> None:
    assert BentoStore(home).resolve(asked) == meant


def test_a_marker_that_names_a_deleted_bento_is_not_believed(home: Path) -> None:
    (home / "bentos/shop/latest").write_text("v99")
    assert BentoStore(home).resolve("shop") == "shop:v2"


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ("shop:v3", "shop:v1, shop:v10, shop:v2"),
        ("nosuch", "other, shop"),
        ("nosuch:latest", "other, shop"),
        ("", "other, shop"),
        (":v1", "other, shop"),
    ],
)
def test_an_unknown_bento_is_refused_with_what_there_is(home: Path, asked: str, known: str) -> None:
    with pytest.raises(SpecError, match="is not in the BentoML store") as raised:
        BentoStore(home).resolve(asked)
    assert f"(built: {known})" in raised.value.problem


@pytest.mark.parametrize(
    "trick",
    [
        "../../x:y",
        "../bentos/shop:v1",
        "shop/../shop:v1",
        "shop:../other/a",
        "shop:v1/../v1",
        ".:shop",
        "..",
        "*:*",
        "/shop:v1",
    ],
)
def test_a_path_is_no_name(home: Path, trick: str) -> None:
    (home / "x/y").mkdir(parents=True)
    (home / "x/y/bento.yaml").write_text("schema: {}")
    with pytest.raises(SpecError):
        BentoStore(home).resolve(trick)


def test_without_a_store_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"\(built: none\)"):
        BentoStore(tmp_path / "nosuch").resolve("shop")


def test_a_half_written_bento_does_not_count(home: Path) -> None:
    (home / "bentos/shop/v11").mkdir()
    with pytest.raises(SpecError):
        BentoStore(home).resolve("shop:v11")


def test_examples_are_those_of_the_routes_that_take_json(home: Path) -> None:
    (home / "bentos/shop/v1/bento.yaml").write_text(
        """
schema:
  routes:
  - {route: /predict, input: {type: object, properties: {x: {type: integer, examples: [7]}}, required: [x]}}
  - {route: /upload, input: {type: object, properties: {x: {type: file, format: binary}}, required: [x]}}
  - {route: /later, is_task: true, input: {type: object}}
  - {route: /made-up, input: {type: object, properties: {x: {type: string}}, required: [x]}}
"""
    )
    found = BentoStore(home).examples("shop:v1")
    assert [(e["path"], e["body"], e["synthetic"]) for e in found] == [
        ("/predict", {"x": 7}, False),
        ("/made-up", {"x": "example"}, True),
    ]


@pytest.mark.parametrize("manifest", ["schema:", "schema: {}", "name: shop"])
def test_a_bento_without_routes_has_no_examples(home: Path, manifest: str) -> None:
    (home / "bentos/shop/v1/bento.yaml").write_text(manifest)
    assert BentoStore(home).examples("shop:v1") == ()


def test_a_bento_that_was_deleted_has_no_examples_and_says_so(home: Path) -> None:
    with pytest.raises(DriverError, match="shop:v99") as raised:
        BentoStore(home).examples("shop:v99")
    assert raised.value.fix


def test_metrics_are_the_numbers_that_training_stored_with_the_models(home: Path) -> None:
    manifest = home / "bentos/shop/v1/bento.yaml"
    listed = "[{tag: 'tea:m1'}, {tag: 'gone:m1'}, {tag: '../../x:y'}]"
    manifest.write_text(f"models: [{{tag: 'old:m0'}}]\nservices:\n- models: {listed}\n- {{}}\n")
    stored = home / "models/tea/m1/model.yaml"
    stored.parent.mkdir(parents=True)
    stored.write_text("metadata: {auc: 0.9, rows: 7, data: amazon, good: true, bad: .nan}\n")
    broken = home / "models/old/m0/model.yaml"
    broken.parent.mkdir(parents=True)
    broken.write_text("metadata: [\n")

    assert BentoStore(home).metrics("shop:v1") == {
        "tea": {"auc": 0.9, "rows": 7.0},
        "gone": {},
        "old": {},
        "../../x": {},
    }
    assert BentoStore(home).metrics("shop:v2") == {}
