"""Train the recommender: ratings -> choose on a part -> score on another -> fit on all -> MLflow -> BentoML store.

python -m training.recommend                             # MovieLens 100K, as the package recbole carries it
python -m training.recommend --data path/to/data         # u.data and u.item, in this folder or in ml-100k below it
python -m training.recommend --download                  # the same from GroupLens
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from models import recommend
from models.recommend import Array, Method, Metrics, Parameters, Ratings
from training import sources, tables, trainer
from training.datasets import DataError, bundle
from training.trainer import Candidate, Data, DataOption, ForceOption, Goal, JsonOption, Options, OutOption, Session

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

MODEL_FILE = "model.npz"
NAME = "ml-100k"
URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
LICENCE = (
    "MovieLens 100K belongs to GroupLens, University of Minnesota: for research; not to be redistributed, no commercial"
    " use without their permission; cite Harper & Konstan 2015, doi 10.1145/2827872. The terms: README in the zip."
)
GOALS = (Goal(metric="ndcg_at_10", value=0.471), Goal(metric="svd_ndcg_at_10", value=0.456))

SEED = 42
TRAINING = 0.75  # share of each user's ratings; the rest is the test
KNOWN = 0.8  # share of the training ratings from which the others are to be found when settings are chosen
PENALTIES = (50.0, 100.0, 200.0, 400.0, 800.0)
DROPOUTS = (0.0, 0.25, 0.5)
SCALES = (1.0, 0.8, 0.6, 0.4)
FACTORS = (10, 15, 20, 25, 30, 40, 50)
MAX_ITEMS = 10_000  # a matrix of the square of it is inverted: 0.8 GB
MAX_CELLS = 30_000_000  # users x items of the dense matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingData:
    """Ratings that passed every check, with the titles of the items."""

    name: str
    ratings: Ratings
    titles: Mapping[str, str]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A setting with what it reached on the validation part."""

    parameters: Parameters
    ndcg: float


def main(
    data: DataOption = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch MovieLens 100K from GroupLens (5 MB; licence: see its README).")
    ] = False,
    out: OutOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the recommender, log the run to MLflow and save the model into the BentoML store."""
    with trainer.session("recommend", Options(out=out, force=force, as_json=as_json)) as run:
        if download:
            data = _downloaded(run, data)
        with run.step("read and check the data"):
            found = movielens(data) if data else recbole()
        run.finish(train(run, found))


def train(run: Session, data: RatingData) -> Candidate:
    """Choose on the training ratings, score on the test ratings, and fit what is stored on all of them."""
    known, wanted = halves(data.ratings, TRAINING)
    with run.step("choose the settings"):
        chosen = choose(known)
    for method, tried in chosen.items():
        run.tell(f"{method}: {_words(tried.parameters)} ({tried.ndcg:.4f} on the validation part)")
    with run.step("score the test ratings"):
        judge = Judge(known, wanted)
        scores = {method: judge(recommend.item_weights(judge.gram, t.parameters)) for method, t in chosen.items()}
    best = max(chosen, key=lambda method: chosen[method].ndcg)
    with run.step("fit on all ratings"):
        model = recommend.fit(data.ratings, chosen[best].parameters, data.titles)
    return Candidate(
        data=Data(name=data.name, sha256=data.sha256, train=len(known), test=len(wanted)),
        files={MODEL_FILE: model.to_bytes()},
        parameters={"method": best, "seed": SEED, **_parameters(chosen)},
        metrics={
            **_metrics(scores[best]),
            **{f"{method}_ndcg_at_10": found.ndcg for method, found in scores.items()},
            "validation_ndcg_at_10": chosen[best].ndcg,
        },
        baseline=_metrics(judge.popularity()),
        decides="ndcg_at_10",
        goals=GOALS if data.name == NAME else (),
    )


# Choosing


def choose(ratings: Ratings) -> dict[Method, Tried]:
    """The best setting of each method, by a part of these ratings that is held out for it."""
    judge = Judge(*halves(ratings, KNOWN))
    best: dict[Method, Tried] = {}
    for parameters, weights in _candidates(judge.gram):
        tried = Tried(parameters=parameters, ndcg=judge(weights).ndcg)
        if parameters.method not in best or tried.ndcg > best[parameters.method].ndcg:
            best[parameters.method] = tried
    return best


def _candidates(gram: Array) -> Iterator[tuple[Parameters, Array]]:
    for penalty, dropout in product(PENALTIES, DROPOUTS):
        parameters = Parameters(method="ease", penalty=penalty, dropout=dropout)
        yield parameters, recommend.item_weights(gram, parameters)
    for scale in SCALES:
        vectors = recommend.directions(gram, scale=scale)  # the slow part, and the same for any number of factors
        for factors in FACTORS:
            yield Parameters(method="svd", factors=factors, scale=scale), recommend.projection(vectors, factors=factors)


class Judge:
    """Scores a model that knows some ratings by how well it finds others."""

    def __init__(self, known: Ratings, wanted: Ratings) -> None:
        self._known = known.matrix()
        self._seen, self._wanted = self._known > 0, wanted.matrix() > 0
        self.gram = recommend.co_ratings(self._known)

    def __call__(self, weights: Array) -> Metrics:
        """How good an item-item matrix [items, items] is; as in serving, popularity answers where it tells nothing."""
        scores = self._known @ weights.astype(np.float32)
        scores[recommend.tells_nothing(scores)] = np.diag(self.gram)
        return recommend.evaluate(scores, seen=self._seen, wanted=self._wanted)

    def popularity(self) -> Metrics:
        """How good it is to give everybody what most people rated."""
        return recommend.evaluate(np.diag(self.gram), seen=self._seen, wanted=self._wanted)


def halves(ratings: Ratings, share: float) -> tuple[Ratings, Ratings]:
    """The first `share` of each user's ratings in random order, and the rest. Raises DataError when one is empty.

    Row for row the split of Microsoft's recommenders (python_splitters.py, python_stratified_split), whose published
    scores can then be compared with.
    """
    chance = np.random.RandomState(SEED).rand(len(ratings))
    order = np.lexsort((chance, ratings.user))
    counts = np.bincount(ratings.user, minlength=len(ratings.users))
    begins = np.cumsum(counts) - counts
    by_user = ratings.user[order]
    first = np.empty(len(ratings), dtype=bool)
    first[order] = (np.arange(len(ratings)) - begins[by_user] + 1) / counts[by_user] <= share
    if first.all() or not first.any():
        raise DataError("there are too few ratings to split", fix="provide users with at least four ratings each")
    return ratings.part(first), ratings.part(~first)


# Reading


def recbole() -> RatingData:
    """MovieLens 100K as it lies in the package recbole, which is not imported: it would want PyTorch."""
    found = find_spec("recbole")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "the built-in ratings need the package recbole",
            fix="install the training tools: uv sync --group train; or use --download",
        )
    folder = Path(found.submodule_search_locations[0]) / "dataset_example" / NAME
    # Headers like `user_id:token`.
    options: dict[str, Any] = {"sep": "\t", "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    ratings = tables.read_csv(folder, f"{NAME}.inter", dtype={"user_id:token": str, "item_id:token": str}, **options)
    films = tables.read_csv(folder, f"{NAME}.item", dtype=str, **options)
    films = _columns(
        films, {"item_id:token": "item", "movie_title:token_seq": "title", "release_year:token": "year"}, folder
    )
    return _data(
        folder,
        _columns(ratings, {"user_id:token": "user", "item_id:token": "item", "rating:float": "rating"}, folder),
        films.assign(title=_with_year(films))[["item", "title"]],
    )


def movielens(folder: Path) -> RatingData:
    """`u.data` and `u.item` of MovieLens 100K, or your own data in that form, in `folder` or in ml-100k below it."""
    folder = bundle(folder, NAME)
    options: dict[str, Any] = {"header": None, "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    ratings = tables.read_csv(
        folder,
        "u.data",
        sep="\t",
        names=["user", "item", "rating"],
        usecols=[0, 1, 2],
        dtype={"user": str, "item": str},
        **options,
    )
    films = tables.read_csv(
        folder, "u.item", sep="|", names=["item", "title"], usecols=[0, 1], dtype=str, encoding="latin-1", **options
    )
    return _data(folder, ratings, films)


def _downloaded(run: Session, data: Path | None) -> Path:
    if data:
        raise DataError("--data and --download exclude each other", fix="give one of them")
    run.tell(LICENCE)
    with run.step("download"):
        archive = sources.download(URL, sha256=SHA256, max_bytes=10_000_000)
    members = [f"{NAME}/u.data", f"{NAME}/u.item"]
    return sources.unzip(archive, members, folder=archive.with_suffix(""), max_bytes=10_000_000)


def _data(folder: Path, ratings: "pd.DataFrame", films: "pd.DataFrame") -> RatingData:
    """Check both tables. Raises DataError."""
    ratings = tables.checked(ratings, _ratings_schema(), where=f"the ratings in {folder}")
    films = tables.checked(films, _films_schema(), where=f"the items in {folder}")
    users = tuple(dict.fromkeys(ratings["user"]))
    items = tuple(dict.fromkeys([*films["item"], *ratings["item"]]))
    if len(items) > MAX_ITEMS or len(users) * len(items) > MAX_CELLS:
        raise DataError(
            f"{len(users):,} users x {len(items):,} items are too many for dense matrices",
            fix=f"keep the most rated items, at most {MAX_ITEMS:,}, and {MAX_CELLS:,} pairs of user and item",
        )
    is_movielens = (len(ratings), len(users), len(items)) == (100_000, 943, 1_682)
    return RatingData(
        name=NAME if is_movielens else "ratings",
        ratings=Ratings(
            users=users, items=items, user=_positions(ratings["user"], users), item=_positions(ratings["item"], items)
        ),
        titles=dict(zip(films["item"], films["title"], strict=True)),
        sha256=tables.sha256(ratings, films),
    )


def _ratings_schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {
            "user": pa.Column(checks=_is_id()),
            "item": pa.Column(checks=_is_id()),
            "rating": pa.Column(float, pa.Check.in_range(0.5, 5), coerce=True),
        },
        unique=["user", "item"],  # also what would lie in both halves
    )


def _films_schema() -> "pa.DataFrameSchema":
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {"item": pa.Column(checks=_is_id(), unique=True), "title": pa.Column(checks=pa.Check.str_length(1, 500))}
    )


def _is_id() -> "pa.Check":
    """What can be a part of a URL and of a list with spaces."""
    import pandera.pandas as pa

    return pa.Check.str_matches(r"^[^\s/]{1,64}$")


def _columns(table: "pd.DataFrame", names: Mapping[str, str], folder: Path) -> "pd.DataFrame":
    if missing := [name for name in names if name not in table.columns]:
        raise DataError(f"{folder} has no column {missing[0]!r}", fix="install recbole 1.2.1; see docs/services")
    return table[list(names)].rename(columns=dict(names))


def _with_year(films: "pd.DataFrame") -> "pd.Series[str]":
    """`Toy Story (1995)`, as GroupLens has it: several films share their name."""
    year = films["year"]
    return films["title"] + (" (" + year + ")").where(year.str.fullmatch(r"\d{4}"), "")


def _positions(ids: "pd.Series[str]", known: tuple[str, ...]) -> Array:
    at = {name: position for position, name in enumerate(known)}
    return np.array([at[name] for name in ids], dtype=np.intp)


# Telling


def _metrics(found: Metrics) -> dict[str, float]:
    return {f"{name}_at_10": value for name, value in asdict(found).items()}


def _parameters(chosen: Mapping[Method, Tried]) -> dict[str, float]:
    ease, svd = chosen["ease"].parameters, chosen["svd"].parameters
    return {
        "ease_penalty": ease.penalty,
        "ease_dropout": ease.dropout,
        "svd_factors": svd.factors,
        "svd_scale": svd.scale,
    }


def _words(parameters: Parameters) -> str:
    if parameters.method == "ease":
        return f"penalty {parameters.penalty:g}, dropout {parameters.dropout:g}"
    return f"{parameters.factors} factors, scale {parameters.scale:g}"


if __name__ == "__main__":
    typer.run(main)
