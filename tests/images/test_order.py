"""What may be asked of an image."""

import pytest

from noren.domain.errors import SpecError
from noren.images.order import Order, qualified

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "tag",
    [
        "shop",
        "shop:v1",
        "localhost/shop:V1.2-rc_3",
        "registry.example:5000/a/b__c/d-e:latest",
        f"shop@{DIGEST}",
        "10.0.0.1:5000/shop",
    ],
)
def test_names_of_images_are_taken(tag: str) -> None:
    assert Order(tags=(tag,)).tags == (tag,)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "-v",
        "--privileged",
        "Shop",
        "shop:",
        "shop:v 1",
        "shop:v1\n",
        "shop;ls",
        "$(ls)",
        "../shop",
        "/shop",
        "shop/",
        "a//b",
        "shop:" + "v" * 129,
        "s" * 256,
        "http://shop",
        "shop:v1:v2",
        "shop@sha256:0",
        "shöp",
    ],
)
def test_what_an_engine_would_take_for_something_else_is_refused(tag: str) -> None:
    with pytest.raises(SpecError, match="does not name an image"):
        Order(tags=(tag,))
    with pytest.raises(SpecError, match="does not name an image"):
        Order(base=tag)


@pytest.mark.parametrize("platform", ["linux", "windows/amd64", "linux/amd64,linux/arm64", "--push", ""])
def test_a_platform_that_we_cannot_build_for_is_refused(platform: str) -> None:
    with pytest.raises(SpecError, match="platform"):
        Order(platform=platform)


def test_pushing_needs_a_name() -> None:
    with pytest.raises(SpecError, match="nowhere to push"):
        Order(push=True)


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("nvidia/cuda:12.4", "docker.io/nvidia/cuda:12.4"),
        ("localhost/base:1", "localhost/base:1"),
        ("registry.example/base", "registry.example/base"),
        ("host:5000/base", "host:5000/base"),
    ],
)
def test_a_base_image_is_named_with_its_registry(base: str, whole: str) -> None:
    assert qualified(base) == whole
