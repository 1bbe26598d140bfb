"""`python -m bentos.blur batch IN OUT`: IN is a folder of images, or a table with their paths in the column `path`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic_core import PydanticCustomError

from bentos.batch import Fields, Job, main, newest, read_rows
from bentos.blur.judging import Judge, look_at
from bentos.blur.schema import Prediction
from bentos.blur.uploads import MAX_BYTES
from models import blur
from models.pictures import PictureError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


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
        with Path(str(path)).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or "no such name"
        raise PydanticCustomError("image_file", f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise PydanticCustomError("image_bytes", f"the file has more than {MAX_BYTES:,} bytes")
    try:
        picture = look_at(data)
    except PictureError as error:
        raise PydanticCustomError(error.kind, error.text) from None
    measures = blur.measure(picture.grey)
    return Measured(path=str(path), width=picture.width, height=picture.height, measures=measures)


class Row(BaseModel):
    """One image. What is no image fails here, so that it is rejected with the reason."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    path: Annotated[Measured, PlainValidator(measured)]


class Found(Prediction):
    """A verdict, with the file that it is of."""

    path: str


def rows(source: Path) -> Iterator[Fields]:
    """The images below a folder, in the order of their names; or the rows of a table."""
    if not source.is_dir():
        yield from read_rows(source)
        return
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
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
    sys.exit(main(Job(row=Row, load=load, rows=rows)))
