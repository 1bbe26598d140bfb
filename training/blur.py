"""Train the blur model: data -> checks -> cross-validation -> fit -> MLflow run -> BentoML model store.

python -m training.blur                                # photos of scikit-image, blurred by us
python -m training.blur --data path/to/data            # blur/certh_features_train.csv: measures of 1,000 real photos
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer

from models import blur
from models.blur import BlurModel, Metrics, Parameters
from models.probability import Floats, Truths
from training import blur_families, photos, tables, trainer
from training.datasets import DataError, bundle
from training.trainer import Candidate, Data, DataOption, ForceOption, Goal, JsonOption, OutOption, Session

if TYPE_CHECKING:
    import pandera.pandas as pa

MODEL_FILE = "model.json"
CERTH_FILE = "certh_features_train.csv"
CERTH_COLUMNS = {"Laplacian_Var": "laplacian_variance", "Laplacian_Max": "laplacian_max"}
CERTH_PHOTOS = (630, 370)  # sharp and blurred ones: how its table is told from one of your own
FOLDS = 10
SEED = 42
DEFAULTS = Parameters()

# One photo, sharp and out of focus, and the one that was really moved: what anyone would judge right.
SHOWN = "astronaut.png"
SHOWN_RADIUS = 4

GOALS: dict[str, Sequence[Goal]] = {
    "photos": [Goal(metric="three_right", value=3)],
    "certh": [
        Goal(metric="accuracy", value=0.87),
        Goal(metric="auc", value=0.945),
        Goal(metric="three_right", value=3),
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """n measured images.

    measures   names of the columns of `rows`
    rows       [n, F]
    blurred    [n]
    groups     [n]; images of one group show the same, so they stay together in cross-validation
    shown      the group of SHOWN, or -1: it is not among them
    """

    name: str
    sha256: str
    measures: tuple[str, ...]
    rows: Floats
    blurred: Truths
    groups: npt.NDArray[np.int64]
    shown: int = -1

    def __len__(self) -> int:
        return len(self.blurred)

    def columns(self, measures: tuple[str, ...]) -> Floats:
        """The rows, with these measures only."""
        return self.rows[:, [self.measures.index(name) for name in measures]]


def main(
    data: DataOption = None,
    out: OutOption = None,
    measures: Annotated[
        str | None, typer.Option(help="Which measures to use, with commas. [default: all that the data have]")
    ] = None,
    c: Annotated[float, typer.Option("--C", help="Inverse strength of the L2 penalty.")] = DEFAULTS.C,
    compare: Annotated[bool, typer.Option(help="Also tell what models of other kinds reach; takes a minute.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the blur model, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("blur", trainer.Options(out=out, force=force, as_json=as_json)) as run:
        with run.step("read, measure and check the data"):
            samples = certh(data) if data else synthetic()
        parameters = _parameters(samples, measures, c)
        with run.step(f"cross-validate, {FOLDS} folds"):
            metrics = cross_validated(samples, parameters)
        groups = len(np.unique(samples.groups))
        run.tell(f"{len(samples):,} images of {groups:,} different ones, those of one always in the same fold")
        if set(parameters.measures) > set(blur.LAPLACIAN):
            plain = cross_validated(samples, Parameters(measures=blur.LAPLACIAN, C=c))
            run.tell(f"with {' and '.join(blur.LAPLACIAN)} alone: accuracy {plain.accuracy:.3f}, auc {plain.auc:.3f}")
        if compare:
            _compare(run, samples, parameters)
        with run.step("fit on all"):
            model = _fit(samples, parameters)
        with run.step("judge three photos it has not seen"):
            right = three_right(_without_shown(samples, parameters, model))
        run.finish(_candidate(samples, parameters, model, metrics, right))


def synthetic() -> Samples:
    """The photos of scikit-image, each in many variants. Raises DataError."""
    found = photos.sharp()
    rng = np.random.default_rng(SEED)
    measured = [
        (number, is_blurred, blur.measure(image))
        for number, grey in enumerate(found.values())
        for image, is_blurred in photos.variants(grey, rng)
    ]
    return Samples(
        name="photos",
        sha256=photos.sha256(found),
        measures=blur.MEASURES,
        rows=np.array([[values[name] for name in blur.MEASURES] for _, _, values in measured]),
        blurred=np.array([is_blurred for _, is_blurred, _ in measured]),
        groups=np.array([number for number, _, _ in measured]),
        shown=list(found).index(SHOWN) if SHOWN in found else -1,
    )


def certh(folder: Path) -> Samples:
    """`blur/certh_features_train.csv` of the data folder, or your own in that form. Raises DataError.

    Laplacian_Max, Laplacian_Var   of the photo in grey, 600 x 400 pixels, light 0 to 1
    Label                          1: blurred
    """
    folder = bundle(folder, "blur")
    table = tables.checked(tables.read_csv(folder, CERTH_FILE), _schema(), where=str(folder / CERTH_FILE))
    blurred = table["Label"].to_numpy() == 1
    counts = int((~blurred).sum()), int(blurred.sum())
    if min(counts) < FOLDS:
        raise DataError(
            f"{folder / CERTH_FILE} has {counts[0]} sharp and {counts[1]} blurred rows",
            fix=f"provide {FOLDS} of each at least; 0 is sharp, 1 is blurred",
        )
    features = table[list(CERTH_COLUMNS)]
    return Samples(
        name="certh" if counts == CERTH_PHOTOS else "table",
        sha256=tables.sha256(table),
        measures=tuple(CERTH_COLUMNS.values()),
        rows=features.to_numpy(dtype=np.float64),
        blurred=blurred,
        # The same photo may be there twice: equal rows are one group.
        groups=features.groupby(list(CERTH_COLUMNS), sort=False).ngroup().to_numpy(dtype=np.int64),
    )


def cross_validated(samples: Samples, parameters: Parameters) -> Metrics:
    """How well images are judged by models that saw none of their group; the thresholds, too, come from the others."""
    rows = samples.columns(parameters.measures)
    sharpness = np.empty(len(samples))
    verdicts = np.empty(len(samples), dtype=np.bool_)
    for train, test in folds(samples):
        model = blur.fit(rows[train], samples.blurred[train], parameters)
        sharpness[test] = model.sharpness(rows[test])
        verdicts[test] = sharpness[test] < model.threshold
    return blur.evaluate(sharpness, verdicts, samples.blurred)


def three_right(model: BlurModel) -> int:
    """How many of the three it judges right: a sharp photo, the same out of focus, and one that was really moved."""
    shown, moved = photos.load(SHOWN), photos.load(photos.MOVED)
    truth = [(shown, False), (photos.blurred(shown, photos.defocus(SHOWN_RADIUS)), True), (moved, True)]
    return sum(model.judge(blur.measure(grey)).blurred == is_blurred for grey, is_blurred in truth)


def folds(samples: Samples) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Of each fold the numbers of the images to train on, and of those to test on."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
    yield from splitter.split(samples.rows, samples.blurred, samples.groups)


def _compare(run: Session, samples: Samples, parameters: Parameters) -> None:
    rows = blur.logarithms(samples.columns(parameters.measures))
    with run.step("cross-validate other kinds of models"):
        found = list(blur_families.compared(rows, samples.blurred, list(folds(samples))))
    for name, reached in found:
        run.tell(
            f"{name}: auc {reached.auc:.3f}, accuracy {reached.accuracy:.3f}, "
            f"at most {reached.hindsight:.3f} with a cut chosen in hindsight"
        )


def _fit(samples: Samples, parameters: Parameters) -> BlurModel:
    return blur.fit(samples.columns(parameters.measures), samples.blurred, parameters)


def _without_shown(samples: Samples, parameters: Parameters, model: BlurModel) -> BlurModel:
    """A model like this one that has not seen SHOWN: this one itself, if it has not."""
    others = samples.groups != samples.shown
    if others.all():
        return model
    return blur.fit(samples.columns(parameters.measures)[others], samples.blurred[others], parameters)


def _parameters(samples: Samples, measures: str | None, c: float) -> Parameters:
    chosen = tuple(name.strip() for name in measures.split(",")) if measures is not None else samples.measures
    if missing := [name for name in chosen if name in blur.MEASURES and name not in samples.measures]:
        raise DataError(
            f"the data ({samples.name}) lack {', '.join(missing)}", fix=f"they have {', '.join(samples.measures)}"
        )
    try:
        return Parameters(measures=chosen, C=c)
    except ValueError as error:
        raise DataError(str(error), fix="see python -m training.blur --help") from error


def _candidate(samples: Samples, parameters: Parameters, model: BlurModel, metrics: Metrics, right: int) -> Candidate:
    return Candidate(
        # Every row is tested once, by a model that was trained on the others.
        data=Data(name=samples.name, sha256=samples.sha256, train=len(samples), test=len(samples)),
        files={MODEL_FILE: model.to_bytes()},
        parameters={"measures": ",".join(parameters.measures), "C": parameters.C, "threshold": model.threshold},
        metrics={**asdict(metrics), "three_right": float(right)},
        baseline=_baseline(samples),
        decides="accuracy",
        goals=GOALS.get(samples.name, ()),
    )


def _baseline(samples: Samples) -> dict[str, float]:
    """Always the verdict that is more often right, with the share of it as its probability."""
    share = float(samples.blurred.mean())
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    return {"accuracy": max(share, 1 - share), "auc": 0.5, "log_loss": float(entropy)}


def _schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            # The Laplacian of light between 0 and 1 lies between -4 and 4.
            "Laplacian_Max": pa.Column(float, pa.Check.in_range(0, 4)),
            "Laplacian_Var": pa.Column(float, pa.Check.in_range(0, 16)),
            "Label": pa.Column(float, pa.Check.isin([0, 1])),
        },
        coerce=True,
        strict="filter",
    )


if __name__ == "__main__":
    typer.run(main)
