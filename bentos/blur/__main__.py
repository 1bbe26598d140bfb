"""`python -m bentos.blur batch IN OUT`: IN is a folder of images, or a table with their paths in the column `path`."""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from bentos.batch import Job, main, newest
from bentos.blur.judging import Judge, look_at
from bentos.blur.schema import Prediction
from bentos.blur.uploads import MAX_BYTES
from bentos.tables import Fields
from models import blur
from models.pictures import PictureError

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An image file that could be read: a few numbers, so that thousands of them fit into memory."""

    path: str
    width: int
    height: int
    measures: dict[str, float]


def measured(path: object) -> Measured:
    """Read an image file. Raises PydanticCustomError, which puts it among the rejects."""
    try:
        with open(str(path), "rb", opener=_at_once) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_BYTES + 1) if regular else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or "no such name"
        raise PydanticCustomError("image_file", f"cannot be read: {reason}") from None
    if not regular:
        raise PydanticCustomError("image_file", "is no regular file")
    if len(data) > MAX_BYTES:
        raise PydanticCustomError("image_bytes", f"the file has more than {MAX_BYTES:,} bytes")
    try:
        picture = look_at(data)
    except PictureError as error:
        raise PydanticCustomError(error.kind, error.text) from None
    measures = blur.measure(picture.grey)
    return Measured(path=str(path), width=picture.width, height=picture.height, measures=measures)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, which a FIFO would for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


class Row(BaseModel):
    """One image. What is no image fails here, so that it is rejected with the reason."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    path: Annotated[Measured, PlainValidator(measured)]


class Found(Prediction):
    """A verdict, with the file that it is of."""

    path: str


def images(folder: Path) -> Iterator[Fields]:
    """What is named like an image, in the order of the names. Folders below are searched, links to folders not."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and (path.is_symlink() or not path.is_dir()):
            yield {"path": str(path)}


def load() -> tuple[str, Callable[[Sequence[Row]], Sequence[Found]]]:
    """The newest model of the store, and what answers rows. Raises BatchError."""
    judge = Judge(newest("blur"))

    def answers(found: Sequence[Row]) -> list[Found]:
        return [answer(judge, row.path) for row in found]

    return judge.version, answers


def answer(judge: Judge, image: Measured) -> Found:
    """The verdict on one image."""
    verdict = judge.verdict(image.measures, width=image.width, height=image.height)
    return Found(path=image.path, **verdict.model_dump())


if __name__ == "__main__":
    sys.exit(main(Job(row=Row, load=load, folder=images, shown=("path",))))
