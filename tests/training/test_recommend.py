"""`python -m training.recommend`: bad data is refused, settings are chosen without the test, the goals are reached."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.recommend import Ratings, RecommendModel, item_weights
from training.datasets import DataError
from training.recommend import KNOWN, Judge, choose, halves, movielens, recbole

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared/data"
needs_shared = pytest.mark.skipif(not (SHARED / "ml-100k/u.data").is_file(), reason=f"there is no ml-100k in {SHARED}")
needs_recbole = pytest.mark.skipif(find_spec("recbole") is None, reason="recbole is not installed")


def write(folder: Path, rows: Sequence[tuple[Any, ...]], titles: list[str] | None = None) -> Path:
    """Ratings and titles as GroupLens writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, (*row, 881250949))) for row in rows]
    (folder / "u.data").write_text("".join(line + "\n" for line in lines))
    items = sorted({str(row[1]) for row in rows}, key=lambda item: (len(item), item))
    films = titles or [f"{item}|Film {item} (1995)|01-Jan-1995||http://example.com|0|1" for item in items]
    (folder / "u.item").write_text("".join(line + "\n" for line in films), encoding="latin-1")
    return folder


def tastes() -> list[tuple[Any, ...]]:
    """80 users with four tastes, who each rate some of the 15 items of theirs and few others."""
    chance = np.random.default_rng(42)
    return [
        (user + 1, item + 1, int(chance.integers(1, 6)))
        for user in range(80)
        for item in range(60)
        if chance.random() < (0.6 if item // 15 == user % 4 else 0.05)
    ]


def environment(folder: Path, also: Mapping[str, str]) -> dict[str, str]:
    own = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, **also}


def train(
    folder: Path, *options: str, timeout: float = 180, also: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "training.recommend", *options],
        cwd=folder,
        env=environment(folder, also or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def stored_models(folder: Path) -> list[Path]:
    return list((folder / "bentoml/models/recommend").glob("*/model.npz"))


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "data/ml-100k", tastes())
    done = train(folder, "--data", "data", "--json", "--out", "exported")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)  # exactly one JSON object
    return folder, report


def test_the_root_folder_of_all_data_is_taken_as_well_as_its_own(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained

    assert movielens(folder / "data").sha256 == movielens(folder / "data/ml-100k").sha256 == report["data"]["sha256"]


def test_it_beats_popularity_and_says_by_how_much(trained: tuple[Path, dict[str, Any]]) -> None:
    _, report = trained
    metrics = report["metrics"]

    assert metrics["ndcg_at_10"] > report["baseline"]["ndcg_at_10"]
    assert metrics["ndcg_at_10"] in (metrics["ease_ndcg_at_10"], metrics["svd_ndcg_at_10"])
    assert report["goals"] == []  # those are of MovieLens


def test_the_stored_model_knows_all_ratings_and_has_the_metrics_of_the_held_out_ones(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    import yaml

    folder, report = trained
    (path,) = stored_models(folder)
    model = RecommendModel.from_bytes(path.read_bytes())
    metadata = yaml.safe_load((path.parent / "model.yaml").read_text())["metadata"]
    counts = Counter(str(user) for user, *_ in tastes())

    assert path.read_bytes() == (folder / "exported/model.npz").read_bytes()
    assert all(len(model.for_user(user, k=100).items) == 60 - counts[user] for user in model.users)
    assert model.title("7") == "Film 7 (1995)"
    assert metadata["ndcg_at_10"] == report["metrics"]["ndcg_at_10"]
    assert metadata["method"] in ("ease", "svd")
    assert report["data"]["train"] + report["data"]["test"] == len(tastes())


def test_a_model_no_better_than_popularity_is_refused(tmp_path: Path) -> None:
    # Who has rated everything can be recommended only what they rated later: nothing is better than anything else.
    write(tmp_path / "data", [(user, item, 3) for user in range(8) for item in range(12)])

    refused = train(tmp_path, "--data", "data")
    assert refused.returncode == 2
    assert "no better than none: ndcg_at_10 1, the naive baseline 1" in refused.stderr
    assert stored_models(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--data", "."], "u.data is missing"),
        (["--data", ".", "--download"], "--data and --download exclude each other"),
    ],
)
def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path, options: list[str], problem: str) -> None:
    done = train(tmp_path, *options)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_licence_is_told_before_anything_is_downloaded_and_offline_is_an_error_with_a_way_out(
    tmp_path: Path,
) -> None:
    nobody = "http://127.0.0.1:9"  # a proxy that is not there: nothing leaves this machine
    proxies = dict.fromkeys(("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"), nobody)

    done = train(tmp_path, "--download", also={**proxies, "no_proxy": "", "NO_PROXY": ""})

    assert done.returncode == 2
    assert "no commercial use without their permission" in " ".join(done.stdout.split())
    assert "files.grouplens.org/datasets/movielens/ml-100k.zip cannot be downloaded" in done.stderr
    assert "are you online?" in done.stderr


# Reading

GOOD = [(user, item, 3) for user in range(1, 4) for item in range(1, 6)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ((1, 1, 4), "unique"),
        ((1, 9, 6), "rating"),
        ((1, 9, 0), "rating"),
        ((1, 9, "many"), "rating"),
        ((1, 9, ""), "rating"),
        (("", 9, 3), "user"),
        ((1, "a b", 3), "item"),
        ((1, "a/b", 3), "item"),
        ((1, "x" * 65, 3), "item"),
    ],
)
def test_a_bad_rating_is_refused(tmp_path: Path, row: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(DataError, match=f"the ratings in .*: .*{problem}") as refused:
        movielens(write(tmp_path, [*GOOD, row], [f"{item}|Film" for item in range(1, 10)]))

    assert refused.value.fix


@pytest.mark.parametrize("films", [["1|One", "1|One again"], ["1|"], ["|Without id"]])
def test_a_bad_item_is_refused(tmp_path: Path, films: list[str]) -> None:
    with pytest.raises(DataError, match="the items in"):
        movielens(write(tmp_path, GOOD, films))


def test_an_item_without_a_title_and_one_without_ratings_are_items_too(tmp_path: Path) -> None:
    data = movielens(write(tmp_path, GOOD, ["77|Nobody saw it", "1|Caf\u00e9 (1995)"]))

    assert data.ratings.items == ("77", "1", "2", "3", "4", "5")
    assert data.titles["1"] == "Caf\u00e9 (1995)"
    assert (data.name, len(data.ratings), data.ratings.users) == ("ratings", 15, ("1", "2", "3"))


def test_a_catalogue_too_large_for_dense_matrices_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too many for dense matrices"):
        movielens(write(tmp_path, GOOD, [f"{item}|Film" for item in range(1, 10_002)]))


@needs_recbole
def test_the_built_in_ratings_are_movielens_and_recbole_is_not_imported() -> None:
    data = recbole()

    assert (data.name, len(data.ratings), len(data.ratings.users), len(data.ratings.items)) == (
        "ml-100k", 100_000, 943, 1_682,
    )  # fmt: skip
    assert data.titles["50"] == "Star Wars (1977)"
    assert "recbole" not in sys.modules


# Splitting and choosing


def test_three_quarters_of_each_users_ratings_rounded_down_are_for_training() -> None:
    counts = [1, 2, 3, 4, 5, 20, 101]
    user = np.repeat(np.arange(len(counts)), counts)
    shuffled = np.random.default_rng(42).permutation(len(user))
    ratings = Ratings(
        users=tuple("abcdefg"),
        items=tuple(map(str, range(101))),
        user=user[shuffled],
        item=np.concatenate([np.arange(count) for count in counts])[shuffled],
    )

    known, wanted = halves(ratings, 0.75)

    assert np.bincount(known.user, minlength=7).tolist() == [0, 1, 2, 3, 3, 15, 75]
    assert len(known) + len(wanted) == len(ratings)
    assert not (known.matrix() * wanted.matrix()).any()
    assert (known.matrix() + wanted.matrix() == ratings.matrix()).all()


def test_the_split_is_that_of_microsofts_recommenders(tmp_path: Path) -> None:
    import pandas as pd

    ratings = movielens(write(tmp_path, tastes())).ratings
    # Their procedure, in their words: a random number for each row, sorted by it within the user, then the rank.
    table = pd.DataFrame({"user": ratings.user, "random": np.random.RandomState(42).rand(len(ratings))})
    rank = table.groupby("user")["random"].rank(method="first") / table.groupby("user")["user"].transform("count")

    known, _ = halves(ratings, 0.75)

    theirs = ratings.part((rank <= 0.75).to_numpy())
    assert (known.matrix() == theirs.matrix()).all()


def test_too_few_ratings_to_split_are_refused() -> None:
    one_each = Ratings(users=("a", "b"), items=("x", "y"), user=np.array([0, 1]), item=np.array([0, 1]))

    with pytest.raises(DataError, match="too few ratings"):
        halves(one_each, 0.75)


def test_the_best_setting_of_each_method_is_chosen_and_always_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.recommend.PENALTIES", (20.0, 1e9))
    monkeypatch.setattr("training.recommend.SCALES", (1.0,))
    ratings = movielens(write(tmp_path, tastes())).ratings

    chosen = choose(ratings)

    assert {method: tried.parameters.method for method, tried in chosen.items()} == {"ease": "ease", "svd": "svd"}
    assert chosen == choose(ratings)
    judge = Judge(*halves(ratings, KNOWN))
    for tried in chosen.values():
        assert judge(item_weights(judge.gram, tried.parameters)).ndcg == pytest.approx(tried.ndcg)
        assert judge.popularity().ndcg < tried.ndcg


# The real thing


@needs_shared
@pytest.mark.e2e
def test_the_goals_are_reached_on_movielens(tmp_path: Path) -> None:
    done = train(tmp_path, "--data", str(SHARED), "--json", timeout=600)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["data"]["name"], report["data"]["train"] + report["data"]["test"]) == ("ml-100k", 100_000)
    assert [goal["met"] for goal in report["goals"]] == [True, True], report["metrics"]
