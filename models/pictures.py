"""A picture from the bytes of a stranger: looked at before it is decoded, then a small grey copy of it.

Pillow reads the head without decoding, so that an image bomb costs nothing, and is strict about damaged and cut files,
where OpenCV fills up what is missing. A large JPEG is decoded at a fraction of its size, and only its luminance.
"""

import io
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

# WebP is named, because Image.open would else import every plugin there is to find it.
from PIL import Image, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

Grey = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP")
# Decoding takes up to 6 bytes a pixel (progressive JPEG), 9 (PNG with alpha) or 18 (WebP): some 300 MB in each case.
MAX_PIXELS = {"JPEG": 50_000_000, "PNG": 36_000_000, "WEBP": 18_000_000}
MIN_SIDE = 32
MAX_ASPECT = 20
# Each scan of a progressive JPEG goes through all pixels again, and takes but a few bytes: the product is limited.
MAX_SCANNED = 5_000_000_000

_ORIENTATION = 0x0112  # EXIF
_TURNED = (5, 6, 7, 8)  # a quarter to the left or to the right, mirrored or not
_WHITE = 255


class PictureError(ValueError):
    """These bytes are no picture for us. `kind` is a word for programs, `text` is for people."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A grey copy as it is stored, and the size of the original in pixels as it is shown (EXIF may turn it)."""

    grey: Grey
    width: int
    height: int


def read(data: bytes, *, long_side: int) -> Picture:
    """The picture, its grey copy no longer than `long_side`. Raises PictureError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            _check(image, data)
            _decode_small(image, long_side)
            grey = shrunk(_grey(image), long_side)
            if _is_turned(image):
                width, height = height, width
            return Picture(grey=grey, width=width, height=height)
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PictureError("image_type", "this is no JPEG, PNG or WebP image, or its head is damaged") from None
    except Image.DecompressionBombError:
        raise PictureError("image_size", "the image has far too many pixels") from None
    except Exception as error:  # whatever a decoder raises, it is the file that is wrong
        raise PictureError("image_damaged", "the image is damaged or cut off") from error


def shrunk(grey: Grey, long_side: int) -> Grey:
    """The image with sides of at most `long_side`, each pixel a mean. Never enlarged: that would blur it."""
    height, width = grey.shape
    scale = long_side / max(width, height)
    if scale >= 1:
        return grey
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _check(image: Image.Image, data: bytes) -> None:
    width, height = image.size
    # MPO: a JPEG of a phone with a second picture in it, of depth or brightness. The first one is the photo.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    told = f"the image is {width} x {height} pixels"
    if width * height > MAX_PIXELS[kind]:
        raise PictureError("image_size", f"{told}; a {kind} may have {MAX_PIXELS[kind]:,} at most")
    if min(width, height) < MIN_SIDE:
        raise PictureError("image_size", f"{told}; each side needs at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PictureError("image_size", f"{told}; one side may be {MAX_ASPECT} times as long as the other at most")
    if kind != "JPEG" and getattr(image, "is_animated", False):
        raise PictureError("image_animated", "the image is animated: send one picture of it")
    if kind == "JPEG" and data.count(b"\xff\xda") * width * height > MAX_SCANNED:
        raise PictureError("image_damaged", "the image has more scans than any camera or program writes")


def _decode_small(image: Image.Image, long_side: int) -> None:
    """Tell a JPEG decoder that luminance will do, at 1/2, 1/4 or 1/8 of the size, but twice what is kept at least."""
    width, height = image.size
    divisor = max(1, max(width, height) // (2 * long_side))
    image.draft("L", (width // divisor, height // divisor))


def _grey(image: Image.Image) -> Grey:
    """Decode. What is transparent counts as white, as on a page."""
    image.load()
    if image.mode.startswith("I"):  # 16 bits; Pillow would not scale but clip them
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image.info.pop("transparency", None)  # one colour that stands for it: rare, and the conversion may fail over it
    light = image.convert("L")
    if "A" in image.getbands():
        light = Image.composite(light, Image.new("L", light.size, _WHITE), image.getchannel("A"))
    return np.asarray(light)


def _is_turned(image: Image.Image) -> bool:
    """Whether width and height change places where the image is shown. Ask after decoding: PNG may tell at its end."""
    try:
        return image.getexif().get(_ORIENTATION) in _TURNED
    except Exception:  # noqa: BLE001 - broken EXIF says nothing, and the picture is still a picture
        return False
