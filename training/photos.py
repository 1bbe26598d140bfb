"""Photos that ship with scikit-image, and what synthetic blur makes of them. Nothing is downloaded.

Blur is measured in pixels of the small copy that the model sees. "Blurred" begins with a defocus of radius 2 or a
motion of 7; what lies between that and sharp is left out, because people do not agree on it either.
"""

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models import pictures
from models.blur import LONG_SIDE
from models.pictures import Grey
from training.datasets import DataError

# In focus, of the real world, and in the wheel. Of the stereo pair only one: its twin would be in another fold.
SHARP = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
MOVED = "clock_motion.png"  # the real thing: taken while the camera moved
FEWEST = 8  # which photos ship has changed between versions

Kernel = npt.NDArray[np.float32]

_RADII = (2, 3, 5, 8)
_LENGTHS = (7, 12, 20)
_FINISHES = ("as it is", "dim", "noisy", "compressed")
_DIM = 0.5  # of the contrast is left
_NOISE = 1.5  # standard deviation, of 255; after shrinking, little noise is left
_JPEG_QUALITY = 60
_CROP = 0.75  # of each side


def folder() -> Path:
    """Where the photos are. Raises DataError."""
    found = importlib.util.find_spec("skimage")  # found, not imported: only its files are wanted
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "the built-in photos need the package scikit-image", fix="install the training tools: uv sync --group train"
        )
    return Path(found.submodule_search_locations[0]) / "data"


def load(name: str) -> Grey:
    """One photo as the model sees it. Raises DataError."""
    path = folder() / name
    try:
        return pictures.read(path.read_bytes(), long_side=LONG_SIDE).grey
    except (OSError, pictures.PictureError) as error:
        raise DataError(f"the photo {path} cannot be read: {error}", fix="install scikit-image again") from error


def sharp() -> dict[str, Grey]:
    """Those of SHARP that this version ships, by name. Raises DataError when they are too few."""
    found = {name: load(name) for name in SHARP if (folder() / name).is_file()}
    if len(found) < FEWEST:
        raise DataError(
            f"scikit-image ships only {len(found)} of the photos to train on, {FEWEST} are needed",
            fix="use the locked version: uv sync --group train",
        )
    return found


def sha256(photos: Mapping[str, Grey]) -> str:
    """Of the photos as the model sees them, with their names."""
    digest = hashlib.sha256()
    for name, grey in photos.items():
        digest.update(f"{name} {grey.shape}\n".encode() + np.ascontiguousarray(grey).tobytes())
    return digest.hexdigest()


def variants(grey: Grey, rng: np.random.Generator) -> Iterator[tuple[Grey, bool]]:
    """The photo and its corners, each finished in several ways, once sharp and once blurred: (image, blurred).

    Both get the same finish, so that nothing but the blur tells them apart.
    """
    kernels = [*map(defocus, _RADII), *(motion(length, float(rng.uniform(0, 180))) for length in _LENGTHS)]
    for view in _views(grey):
        for finish in _FINISHES:
            yield _finished(view, finish, rng), False
            yield _finished(blurred(view, kernels[rng.integers(len(kernels))]), finish, rng), True


def blurred(grey: Grey, kernel: Kernel) -> Grey:
    """The image seen through a blur."""
    return np.asarray(cv2.filter2D(grey, -1, kernel, borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8)


def defocus(radius: int) -> Kernel:
    """A point out of focus: a disc."""
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return _normal(rows**2 + columns**2 <= radius**2)


def motion(length: int, degrees: float) -> Kernel:
    """A point that moves: a line of `length` pixels, turned by `degrees` from the horizontal."""
    line = np.zeros((length, length), dtype=np.float32)
    line[length // 2] = 1
    middle = (length - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, float(length // 2)), degrees, 1.0)
    return _normal(cv2.warpAffine(line, turn, (length, length)))


def _normal(kernel: npt.NDArray[Any]) -> Kernel:
    """Light is moved about, neither made nor lost."""
    weights = np.asarray(kernel, dtype=np.float32)
    found: Kernel = weights / weights.sum()
    return found


def _views(grey: Grey) -> Iterator[Grey]:
    yield grey
    height, width = (round(side * _CROP) for side in grey.shape)
    yield grey[:height, :width]
    yield grey[:height, -width:]
    yield grey[-height:, :width]
    yield grey[-height:, -width:]


def _finished(grey: Grey, finish: str, rng: np.random.Generator) -> Grey:
    match finish:
        case "dim":
            return _grey(128 + _DIM * (grey.astype(np.float64) - 128))
        case "noisy":
            return _grey(grey + rng.normal(0, _NOISE, grey.shape))
        case "compressed":
            _, encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
        case _:
            return grey


def _grey(light: npt.NDArray[np.float64]) -> Grey:
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
