"""Recommendations for every row of a file: `python -m bentos.recommend batch IN OUT`.

A row has the fields of a request; in a .csv the liked items stand in one cell, with spaces between them.
"""

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from bentos.batch import Fields, Job, main, newest, read_rows
from bentos.recommend.schema import Recommendations, RecommendRequest, unknown_items


class Row(RecommendRequest):
    """A request whose items are looked up when it is read, so that it is rejected alone when one is unknown."""

    known: ClassVar[Container[str]] = ()  # `load` says

    @field_validator("liked_items")
    @classmethod
    def _all_known(cls, liked: list[str] | None) -> list[str] | None:
        if unknown := [item for item in liked or () if item not in cls.known]:
            raise unknown_items(unknown)
        return liked


def load() -> tuple[str, Callable[[Sequence[Row]], Sequence[Recommendations]]]:
    """The newest model of the BentoML store. Raises BatchError."""
    from bentos.recommend.answers import Answers
    from models.recommend import RecommendModel

    stored = newest("recommend")
    version = str(stored.tag.version)
    model = RecommendModel.from_bytes(Path(stored.path_of("model.npz")).read_bytes())
    answers = Answers(model, version=version)
    Row.known = frozenset(model.items)
    return version, lambda rows: [answers.recommend(row) for row in rows]


def rows(source: Path) -> Iterator[Fields]:
    """The rows of a table, with the cell of liked items taken apart."""
    for fields in read_rows(source):
        liked = fields.get("liked_items")
        yield {**fields, "liked_items": liked.split()} if isinstance(liked, str) else fields


if __name__ == "__main__":
    sys.exit(main(Job(row=Row, load=load, rows=rows)))
