"""Pictures of strangers: every good one becomes grey, every bad one is refused with the reason."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.pictures import MAX_ASPECT, MAX_PIXELS, MIN_SIDE, PictureError, read, shrunk

LONG = 600
KINDS = ("JPEG", "PNG", "WEBP")
MODES = {"JPEG": ["L", "RGB", "CMYK"], "PNG": ["L", "RGB", "RGBA", "P", "LA", "1"], "WEBP": ["RGB", "RGBA"]}


def noise(width: int = 120, height: int = 90, seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def slope(width: int = 120, height: int = 90) -> Image.Image:
    """Dark on the left, bright on the right: what compression hardly changes."""
    light = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.broadcast_to(light, (height, width)).copy())


def file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(data: bytes) -> PictureError:
    with pytest.raises(PictureError) as refused:
        read(data, long_side=LONG)
    return refused.value


def png_head(width: int, height: int) -> bytes:
    """A PNG that says what size it has, and has nothing in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + empty


def webp_head(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size
    return b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_every_kind_of_picture_becomes_grey(kind: str, mode: str) -> None:
    original = slope().convert("RGB").convert(mode)

    picture = read(file(original, kind), long_side=LONG)

    assert (picture.width, picture.height) == (120, 90)
    assert picture.grey.dtype == np.uint8
    assert picture.grey.shape == (90, 120)
    distance = np.abs(picture.grey.astype(int) - np.asarray(original.convert("RGB").convert("L")).astype(int))
    assert distance.mean() < 5


def test_16_bits_are_scaled_and_not_clipped() -> None:
    light = np.linspace(0, 65535, 100 * 100).astype(np.uint16).reshape(100, 100)

    picture = read(file(Image.fromarray(light), "PNG"), long_side=LONG)

    assert (picture.grey == light >> 8).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_counts_as_white(kind: str) -> None:
    hidden = noise().convert("RGBA")
    hidden.putalpha(0)

    assert (read(file(hidden, kind, lossless=True), long_side=LONG).grey == 255).all()


def test_a_transparent_colour_of_a_palette_counts_as_white() -> None:
    palette = slope().convert("P")
    palette.putpixel((0, 0), 7)

    picture = read(file(palette, "PNG", transparency=7), long_side=LONG)

    assert picture.grey[0, 0] == 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("orientation", "size"), [(1, (120, 90)), (3, (120, 90)), (6, (90, 120)), (8, (90, 120))])
def test_the_size_is_that_of_the_picture_as_exif_turns_it(kind: str, orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = read(file(noise(), kind, exif=exif), long_side=LONG)

    assert (picture.width, picture.height) == size


def test_broken_exif_is_overlooked() -> None:
    assert read(file(noise(), "JPEG", exif=b"Exif\0\0no tiff at all"), long_side=LONG).width == 120


def test_the_second_picture_of_a_phone_is_overlooked() -> None:
    data = file(noise(), "MPO", save_all=True, append_images=[noise(64, 48)])

    assert read(data, long_side=LONG).width == 120


def test_a_large_jpeg_is_the_same_picture_though_it_is_decoded_small() -> None:
    tones = np.random.default_rng(1).integers(0, 256, (10, 15), dtype=np.uint8)
    original = Image.fromarray(tones).resize((3_000, 2_000), Image.Resampling.BICUBIC)

    picture = read(file(original, "JPEG", quality=95), long_side=LONG)

    assert (picture.width, picture.height) == (3_000, 2_000)
    assert picture.grey.shape == (400, 600)
    whole = shrunk(np.asarray(original), LONG)
    assert np.abs(picture.grey.astype(int) - whole.astype(int)).mean() < 1


def test_a_picture_is_shrunk_to_its_mean_and_never_enlarged() -> None:
    board: npt.NDArray[np.uint8] = np.tile(np.array([[0, 200], [200, 0]], dtype=np.uint8), (100, 200))

    assert (shrunk(board, 200) == 100).all()
    assert shrunk(board, 200).shape == (100, 200)
    assert shrunk(board, 1_000) is board


# What is refused

HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"http://example.com/cat.jpg",
        file(noise(), "GIF"),
        file(noise(), "BMP"),
        file(noise(), "TIFF"),
    ],
    ids=["empty", "text", "pdf", "svg", "url", "gif", "bmp", "tiff"],
)
def test_other_types_are_refused(data: bytes) -> None:
    assert refusal(data).kind == "image_type"


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_is_refused(kind: str) -> None:
    data = file(noise(), kind)

    assert refusal(data[: len(data) // 2]).kind == "image_damaged"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4, 12, 20, 40, 100])
def test_the_beginning_of_a_file_is_refused(kind: str, size: int) -> None:
    assert refusal(file(noise(), kind)[:size]).kind in ("image_type", "image_damaged")


@pytest.mark.parametrize(
    "data", [png_head(50_000, 50_000), png_head(7_000, 7_000), webp_head(16_384, 16_384)], ids=["huge", "png", "webp"]
)
def test_a_bomb_is_refused_by_its_head(data: bytes) -> None:
    assert len(data) < 100
    assert refusal(data).kind == "image_size"


@pytest.mark.parametrize(("kind", "width"), [("JPEG", 10_001), ("PNG", 7_201), ("WEBP", 3_601)])
def test_each_format_has_its_own_limit(kind: str, width: int) -> None:
    height = MAX_PIXELS[kind] // (width - 1)
    told = refusal(file(Image.new("L" if kind != "WEBP" else "RGB", (width, height)), kind))

    assert told.kind == "image_size"
    assert f"{width} x {height}" in told.text
    assert f"{MAX_PIXELS[kind]:,}" in told.text


@pytest.mark.parametrize(
    "size", [(1, 1), (MIN_SIDE - 1, 100), (100, MIN_SIDE - 1), (MIN_SIDE * MAX_ASPECT + 1, MIN_SIDE)]
)
def test_what_is_too_small_or_too_narrow_to_be_measured_is_refused(size: tuple[int, int]) -> None:
    assert refusal(file(Image.new("L", size), "PNG")).kind == "image_size"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    data = file(noise(seed=1), kind, save_all=True, append_images=[noise(seed=2)])

    assert refusal(data).kind == "image_animated"


def test_a_jpeg_of_endlessly_many_scans_is_refused() -> None:
    data = file(noise(1_000, 1_000), "JPEG", progressive=True)

    assert read(data, long_side=LONG).width == 1_000
    assert refusal(data + b"\xff\xda" * 5_000).kind == "image_damaged"


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), head=st.sampled_from(HEADS))
def test_no_bytes_do_anything_but_be_refused(data: bytes, head: bytes) -> None:
    refusal(head + data)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_file_is_a_picture_or_is_refused(kind: str, at: float, byte: int) -> None:
    data = bytearray(file(noise(48, 40), kind))
    data[int(at * len(data))] = byte

    try:
        picture = read(bytes(data), long_side=LONG)
    except PictureError:
        return  # anything else that is raised fails this test

    assert max(picture.grey.shape) <= LONG
