"""`python -m training.vehicle_price`: what it reads, refuses and reports."""

import gzip
import json
import os
import random
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from bentos.vehicle_price.schema import Condition, ModelName
from models.vehicle_price import CONDITIONS, VehiclePriceModel
from training.datasets import DataError
from training.vehicle_price import PUBLISHED_SPLIT, SPLIT, TABLE, gm_cars, listings, vehicles

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
COLUMNS = (
    "price,model_year,model,condition,cylinders,fuel,odometer,transmission,type,paint_color,is_4wd,"
    "date_posted,days_listed"
)
ROW = "9400,2011,bmw x5,good,6,gas,145000,automatic,SUV,,1,6/23/18,19"


def written(folder: Path, rows: list[str], *, split: Any = None, header: str = COLUMNS) -> Path:
    with gzip.open(folder / TABLE, "wt") as file:
        file.write("\n".join([header, *rows]) + "\n")
    half = len(rows) // 2
    chosen = {"train": [*range(half)], "val": [], "test": [*range(half, len(rows))]} if split is None else split
    (folder / SPLIT).write_text(json.dumps(chosen))
    return folder


def adverts(count: int, *, slope: float = -0.1) -> list[str]:
    """Cars whose price falls (or rises, with another slope) with their miles."""
    chance = random.Random(1)
    rows = []
    for number in range(count):
        miles = chance.randrange(1_000, 200_000)
        price = round(25_000 + slope * miles + chance.uniform(-500, 500))
        year, day = 2000 + number % 18, f"{1 + number % 9}/5/18"
        rows.append(f"{price},{year},ford focus,good,4,gas,{miles},automatic,sedan,red,,{day},9")
    return rows


def train(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    home = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "training.vehicle_price", *options],
        cwd=folder, env={**os.environ, **home}, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


def test_an_advert_becomes_a_listing_and_days_listed_is_not_among_its_fields(tmp_path: Path) -> None:
    other = "1,,ford f-150,fair,,diesel,,manual,pickup,white,,2019-04-19,50"

    data = vehicles(written(tmp_path, [ROW, other]))

    (first,), (second,) = listings(data.train), listings(data.test)
    assert (first.model, first.model_year, first.odometer, first.condition) == ("bmw x5", 2011, 145_000, "good")
    assert (first.paint_color, first.is_4wd, first.date_posted) == (None, True, date(2018, 6, 23))
    assert (second.model_year, second.cylinders, second.odometer, second.is_4wd) == (None, None, None, False)
    assert second.date_posted == date(2019, 4, 19)
    assert "days_listed" not in data.train


def test_the_folder_of_all_data_is_as_good_as_the_one_of_the_adverts(tmp_path: Path) -> None:
    (tmp_path / "vehicles").mkdir()
    inner = written(tmp_path / "vehicles", [ROW, ROW])

    assert vehicles(tmp_path).train.equals(vehicles(inner).train)


def test_a_twin_is_the_same_car_at_the_same_price_on_any_day(tmp_path: Path) -> None:
    rows = [
        ROW,
        "1000,2000,ford focus,good,4,gas,1,automatic,sedan,red,,6/23/18,19",
        ROW.replace("6/23/18,19", "9/1/18,3"),
        ROW.replace("9400", "9300"),
    ]

    assert vehicles(written(tmp_path, rows)).twins.tolist() == [True, False]


def test_a_model_is_spelt_as_the_service_asks_for_it(tmp_path: Path) -> None:
    spelt = ["bmw x5", "BMW X5", "  Bmw   x5\t", "bmw\u00a0X5"]

    data = vehicles(written(tmp_path, [ROW.replace("bmw x5", name) for name in spelt]))

    assert {car.model for car in listings(data.train)} == {asked(name) for name in spelt} == {"bmw x5"}
    assert data.twins.tolist() == [True, True]


def asked(name: str) -> str:
    """What the service looks for where a client names this model."""
    return TypeAdapter(ModelName).validate_python(name)


def test_a_name_of_blanks_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model"):
        vehicles(written(tmp_path, [ROW, ROW.replace("bmw x5", '"  "')]))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW.replace("9400", "0"), "price"),
        (ROW.replace("9400", ""), "price"),
        (ROW.replace("9400", "cheap"), "price"),
        (ROW.replace("2011", "11"), "model_year"),
        (ROW.replace("bmw x5", ""), "model"),
        (ROW.replace("good", "great"), "condition"),
        (ROW.replace("gas", "steam"), "fuel"),
        (ROW.replace("145000", "-1"), "odometer"),
        (ROW.replace("SUV", "boat"), "type"),
        (ROW.replace("6/23/18", "23.6.18"), "date_posted"),
        (ROW.replace("6/23/18", ""), "date_posted"),
    ],
)
def test_a_bad_value_is_named_with_its_column(tmp_path: Path, row: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        vehicles(written(tmp_path, [ROW, row]))

    assert TABLE in refused.value.problem
    assert refused.value.fix


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="odometer"):
        vehicles(written(tmp_path, [ROW, ROW], header=COLUMNS.replace("odometer", "mileage")))


@pytest.mark.parametrize(
    ("split", "problem"),
    [
        ({"train": [0], "test": [0]}, "1 rows both in train and in test"),
        ({"train": [0], "test": [2]}, "rows that"),
        ({"train": [0], "test": [-1]}, "rows that"),
        ({"train": [], "test": [1]}, "an empty part"),
        ({"train": [0]}, "cannot be read"),
        ({"train": ["a"], "test": [1]}, "cannot be read"),
        ([0, 1], "cannot be read"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused(tmp_path: Path, split: Any, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        vehicles(written(tmp_path, [ROW, ROW.replace("9400", "9500")], split=split))


def test_a_missing_folder_table_or_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        vehicles(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{TABLE} is missing"):
        vehicles(tmp_path)
    (written(tmp_path, [ROW, ROW]) / SPLIT).unlink()
    with pytest.raises(DataError, match=SPLIT):
        vehicles(tmp_path)


def test_conditions_are_those_that_the_service_accepts() -> None:
    assert get_args(Condition) == CONDITIONS


def test_the_built_in_cars_are_whole_and_state_only_what_is_known() -> None:
    data = gm_cars()

    assert (len(data.train), len(data.test)) == (643, 161)
    cars = listings(data.train)
    assert {car.model for car in cars} == {"buick", "cadillac", "chevrolet", "pontiac", "saab", "saturn"}
    assert {car.model_year for car in cars} == {2005}
    assert {car.condition for car in cars} == {car.fuel for car in cars} == {None}


def test_the_published_split_has_its_published_size_and_share_of_twins() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")

    data = vehicles(DATA)

    assert (len(data.train), len(data.test)) == PUBLISHED_SPLIT
    assert data.twins.mean() == pytest.approx(0.18, abs=0.005)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    done = train(folder, "--json", "--out", "exported", "--max-trees", "80")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return folder, report


def test_the_built_in_cars_beat_the_baseline_and_are_stored_with_their_scores(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    import yaml

    folder, report = trained
    (file,) = (folder / "bentoml/models/vehicle_price").glob("*/model.yaml")
    metadata = yaml.safe_load(file.read_text())["metadata"]

    assert report["metrics"]["rmse"] < report["baseline"]["rmse"]
    assert 0 < report["metrics"]["coverage"] <= 1
    assert report["goals"] == []
    assert metadata["rmse"] == report["metrics"]["rmse"]
    assert metadata["trees"] <= 200
    assert "forced" not in metadata


def test_the_exported_model_prices_and_explains(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    model = VehiclePriceModel.from_bytes((folder / "exported/model.npz").read_bytes())
    cars = listings(gm_cars().test)[:3]

    for price, explained in zip(model.price(cars), model.explain(cars), strict=True):
        assert price.lower <= price.price <= price.upper
        assert model.base + sum(explained.values()) == pytest.approx(price.price)


def test_a_model_that_is_no_better_than_the_mean_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [*adverts(120), *adverts(120, slope=0.1)])  # what is learnt is wrong in the test part

    refused = train(tmp_path, "--data", ".", "--max-trees", "30")

    assert refused.returncode == 2
    assert "no better than none" in refused.stderr
    assert "\n  fix: " in refused.stderr
    assert not (tmp_path / "bentoml/models/vehicle_price").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--leaves", "1"], "leaves must be at least 2"),
        (["--learning-rate", "0"], "learning_rate must be above 0"),
    ],
)
def test_what_a_person_can_mend_is_two_lines_and_exit_code_2(tmp_path: Path, options: list[str], problem: str) -> None:
    done = train(tmp_path, *options)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bentoml").exists()
