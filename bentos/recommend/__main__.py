"""Recommendations for every row of a file: `python -m bentos.recommend batch IN OUT`.

A row has the fields of a request; in a .csv the liked items stand in one cell, with spaces between them. A text like
196.0, of which other programs made a float, is the id 196, unless the model knows an id 196.0.
"""

import sys
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from bentos.batch import Job, main, newest
from bentos.recommend.schema import Recommendations, RecommendRequest, unknown_items
from bentos.tables import Fields


class Row(RecommendRequest):
    """A request whose items are looked up when it is read, so that it is rejected alone when one is unknown."""

    users: ClassVar[Container[str]] = ()  # `load` says, and `items` too
    items: ClassVar[Container[str]] = ()

    @field_validator("user_id")
    @classmethod
    def _whole(cls, user: str | None) -> str | None:
        return None if user is None else _without_fraction(user, cls.users)

    @field_validator("liked_items")
    @classmethod
    def _all_known(cls, liked: list[str] | None) -> list[str] | None:
        if liked is None:
            return None
        found = [_without_fraction(item, cls.items) for item in liked]
        if unknown := [item for item in found if item not in cls.items]:
            raise unknown_items(unknown)
        return found


def _without_fraction(text: str, known: Container[str]) -> str:
    whole = text.removesuffix(".0")
    return whole if whole.isdecimal() and text not in known else text


def load() -> tuple[str, Callable[[Sequence[Row]], Sequence[Recommendations]]]:
    """The newest model of the BentoML store. Raises BatchError."""
    from bentos.recommend.answers import Answers
    from models.recommend import RecommendModel

    stored = newest("recommend")
    version = str(stored.tag.version)
    model = RecommendModel.from_bytes(Path(stored.path_of("model.npz")).read_bytes())
    answers = Answers(model, version=version)
    Row.users, Row.items = frozenset(model.users), frozenset(model.items)
    return version, lambda rows: [answers.recommend(row) for row in rows]


def read(fields: Fields) -> Fields:
    """A row of a table, with the cell of liked items taken apart."""
    liked = fields.get("liked_items")
    return {**fields, "liked_items": liked.split()} if isinstance(liked, str) else fields


if __name__ == "__main__":
    sys.exit(main(Job(row=Row, load=load, read=read)))
