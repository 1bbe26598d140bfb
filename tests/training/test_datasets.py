"""Bad data is refused with its place and a way out; good data is counted and hashed."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from training.datasets import DataError, ReviewData, amazon_reviews, imdb_reviews

GOOD: list[Any] = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]


def folder_with(folder: Path, *, train: list[Any] = GOOD, test: list[Any] = GOOD) -> Path:
    for half, rows in (("train", train), ("test", test)):
        with gzip.open(folder / f"imdb_{half}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    return folder


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{broken", "line 2 is not JSON"),
        ([1], "line 2 needs the fields text and label"),
        ({"text": "no label"}, "line 2 needs the fields text and label"),
        ({"text": 5, "label": 1}, "line 2: text is int, not a string"),
        ({"text": "  ", "label": 1}, "line 2: text is empty"),
        ({"text": "x", "label": 2}, "line 2: label is 2"),
        ({"text": "x", "label": "1"}, "line 2: label is '1'"),
        ({"text": "x", "label": True}, "line 2: label is True"),
        ({"text": "x", "label": None}, "line 2: label is None"),
        ({"text": "x", "label": [1]}, r"line 2: label is \[1\]"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: Any, problem: str) -> None:
    folder_with(tmp_path, train=[GOOD[0], row, GOOD[1]])

    with pytest.raises(DataError, match=problem) as refused:
        imdb_reviews(tmp_path)

    assert "imdb_train.jsonl.gz" in refused.value.problem
    assert refused.value.fix


@pytest.mark.parametrize(
    ("rows", "found"), [([], "no reviews"), (GOOD[:1], "only positive"), (GOOD[1:], "only negative")]
)
def test_both_classes_must_be_there(tmp_path: Path, rows: list[Any], found: str) -> None:
    with pytest.raises(DataError, match=f"test half of 'imdb' has {found}"):
        imdb_reviews(folder_with(tmp_path, test=rows))


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        imdb_reviews(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"imdb_train\.jsonl\.gz is missing"):
        imdb_reviews(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = folder_with(tmp_path) / "imdb_test.jsonl.gz"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(DataError, match=r"imdb_test.jsonl.gz cannot be read"):
        imdb_reviews(tmp_path)
    file.write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match=r"imdb_test.jsonl.gz cannot be read"):
        imdb_reviews(tmp_path)


def test_texts_in_both_halves_are_counted(tmp_path: Path) -> None:
    data = imdb_reviews(folder_with(tmp_path, test=[*GOOD, {"text": "new", "label": 1}]))

    assert data.duplicates == 2


def test_the_hash_depends_on_the_rows_and_on_nothing_else(tmp_path: Path) -> None:
    def read(name: str, **halves: list[Any]) -> ReviewData:
        (tmp_path / name).mkdir()
        return imdb_reviews(folder_with(tmp_path / name, **halves))

    first = read("a")
    assert read("b", train=[{**row, "id": 7} for row in GOOD]).sha256 == first.sha256
    assert read("c", train=GOOD[::-1]).sha256 != first.sha256
    assert read("d", train=[*GOOD, GOOD[0]], test=GOOD[1:] + GOOD[:1]).sha256 != first.sha256


def test_the_built_in_reviews_are_whole() -> None:
    data = amazon_reviews()

    assert (len(data.train), len(data.test), sum(data.train.positive)) == (4000, 1000, 2600)
    assert data.sha256.startswith("013a6ac6416f")
