"""The vehicle price service: its schema, and the service itself in this process with a small model."""

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from bentos.batch import Job
from bentos.batch import main as run_batch
from bentos.vehicle_price.pricer import Pricer
from bentos.vehicle_price.schema import (
    MAX_LISTINGS,
    Listing,
    PredictBatchRequest,
    Prediction,
    PredictRequest,
)
from models import vehicle_price
from models.vehicle_price import Parameters, fit

CAR: dict[str, Any] = {
    "model": "ford f-150",
    "model_year": 2011,
    "odometer": 145_000,
    "condition": "good",
    "fuel": "gas",
    "transmission": "automatic",
    "type": "pickup",
}


class Tag(BaseModel):
    version: str = "v1"


class Stored:
    """What the service asks of a model in the BentoML store."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.tag = folder, Tag()

    def path_of(self, name: str) -> str:
        return str(self._folder / name)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    chance = np.random.default_rng(1)
    listings = [
        vehicle_price.Listing(
            model=str(chance.choice(["ford f-150", "toyota camry"])),
            model_year=int(chance.integers(2000, 2019)),
            odometer=float(chance.integers(1_000, 200_000)),
            condition=str(chance.choice(["fair", "good", "excellent"])),
            fuel="gas",
            transmission="automatic",
            type=str(chance.choice(["pickup", "sedan"])),
            date_posted=date(2018, int(chance.integers(5, 13)), 1),
        )
        for _ in range(300)
    ]
    prices = [30_000 - 0.1 * (car.odometer or 0) + 100 * float(chance.standard_normal()) for car in listings]
    folder = tmp_path_factory.mktemp("model")
    small = Parameters(max_trees=40, learning_rate=0.2, leaves=6, folds=2)
    (folder / "model.npz").write_bytes(fit(listings, prices, small).model.to_bytes())
    return Stored(folder)


@pytest.fixture(scope="module")
def service(stored: Stored, log: Path) -> Iterator[Any]:
    """One instance: prometheus-client allows a metric of a name once in a process."""
    from bentos.vehicle_price.service import VehiclePrice

    made: Any = VehiclePrice  # the decorator made it a Service; `inner` is the class
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.inner, "stored", stored)
        patch.setenv("INFERENCE_LOG", f"file:{log}")
        yield made.inner()


def predict(service: Any, **changed: Any) -> Prediction:
    answer: Prediction = asyncio.run(service.predict(PredictRequest(**CAR | changed)))
    return answer


def metric(name: str, **labels: str) -> float:
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_car_gets_its_price_with_an_interval_and_the_version(service: Any) -> None:
    answer = predict(service)

    assert 0 < answer.lower < answer.price < answer.upper
    assert (answer.level, answer.model_version, answer.unseen) == (0.9, "v1", [])
    assert answer.as_of.year == 2018


def test_the_inference_log_holds_every_answer_and_no_car(service: Any, log: Path) -> None:
    batch = [Listing(**CAR | {"model_year": year}) for year in (2001, 2002)]

    answers = [predict(service, odometer=77_777), *service.predict_batch(batch)]

    service._log.flush()
    (file,) = log.iterdir()
    lines = file.read_text().splitlines()[-3:]
    assert [json.loads(line)["output"] for line in lines] == [answer.model_dump(mode="json") for answer in answers]
    assert "ford" not in file.read_text()


def test_contributions_add_up_to_the_price_and_the_largest_is_first(service: Any) -> None:
    answer = predict(service)

    assert answer.base + sum(answer.contributions.values()) == pytest.approx(answer.price, abs=0.2)
    sizes = [abs(dollars) for dollars in answer.contributions.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert next(iter(answer.contributions)) == "odometer"


def test_a_price_is_the_same_without_its_explanation(service: Any) -> None:
    plain = predict(service, explain=False)

    assert plain.contributions == {}
    assert plain.price == predict(service).price


def test_an_unknown_model_is_priced_and_said_to_be_unseen(service: Any) -> None:
    answer = predict(service, model="Reliant Robin")

    assert answer.unseen == ["model"]
    assert answer.price > 0


def test_a_batch_is_answered_in_order_and_as_single_cars_are(service: Any) -> None:
    models = ["ford f-150", "toyota camry", "reliant robin"]
    cars = [Listing(**CAR | {"model": model, "explain": model == "toyota camry"}) for model in models]

    answers = service.predict_batch(cars)

    assert [answer.price for answer in answers] == [predict(service, model=model).price for model in models]
    assert [bool(answer.contributions) for answer in answers] == [False, True, False]


def test_a_repeated_request_comes_from_the_cache_and_is_counted_all_the_same(service: Any) -> None:
    first = predict(service, odometer=77_777)
    hits = metric("vehicle_price_cache_total", outcome="hit")
    count = metric("vehicle_price_dollars_count")

    assert predict(service, odometer=77_777) == first
    assert metric("vehicle_price_cache_total", outcome="hit") == hits + 1
    assert metric("vehicle_price_dollars_count") == count + 1


def test_what_is_unseen_is_counted_by_field(service: Any) -> None:
    before = metric("vehicle_price_unseen_total", field="fuel")
    predict(service, fuel="hybrid")

    assert metric("vehicle_price_unseen_total", field="fuel") == before + 1
    assert metric("vehicle_price_model_info", version="v1") == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": "  "}, "model"),
    ({"model": "x" * 61}, "model"),
    ({"model": 5}, "model"),
    ({"model": None}, "model"),
    ({"model_year": 1899}, "model_year"),
    ({"model_year": 2011.5}, "model_year"),
    ({"model_year": "old"}, "model_year"),
    ({"model_year": None}, "model_year"),
    ({"odometer": -1}, "odometer"),
    ({"odometer": 1e7}, "odometer"),
    ({"odometer": float("nan")}, "odometer"),
    ({"odometer": float("inf")}, "odometer"),
    ({"odometer": None}, "odometer"),
    ({"condition": "great"}, "condition"),
    ({"fuel": "steam"}, "fuel"),
    ({"transmission": ""}, "transmission"),
    ({"type": "boat"}, "type"),
    ({"cylinders": 0}, "cylinders"),
    ({"paint_color": "beige"}, "paint_color"),
    ({"is_4wd": "maybe"}, "is_4wd"),
    ({"date_posted": "soon"}, "date_posted"),
    ({"date_posted": "2009-06-01"}, "date_posted"),
    ({"explain": 7}, "explain"),
    ({"price": 1}, "price"),
]


@pytest.mark.parametrize(("changed", "field"), BAD)
def test_a_bad_field_is_named_and_its_value_is_not_repeated(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate_json(json.dumps(CAR | changed))

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]
    assert "input_value" not in str(refused.value)


@pytest.mark.parametrize("field", CAR)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate({name: value for name, value in CAR.items() if name != field})

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize("listings", [[], [CAR] * (MAX_LISTINGS + 1), "car", [CAR, 5]])
def test_a_batch_that_is_none_is_refused(listings: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        PredictBatchRequest.model_validate({"listings": listings})

    assert all(error["loc"][0] == "listings" for error in refused.value.errors())


def test_the_model_is_read_in_lower_case() -> None:
    assert PredictRequest(**CAR | {"model": " Ford F-150 "}).model == "ford f-150"


def test_a_car_of_next_year_may_be_advertised() -> None:
    assert PredictRequest(**CAR | {"date_posted": "2010-09-01"}).date_posted == date(2010, 9, 1)


@pytest.mark.parametrize("request_type", [PredictRequest, PredictBatchRequest])
def test_every_field_has_a_description_and_an_example_and_the_examples_are_accepted(
    request_type: type[BaseModel],
) -> None:
    fields = request_type.model_json_schema()["properties"]

    assert all(field["description"] and field["examples"] for field in fields.values())
    request_type.model_validate({name: field["examples"][0] for name, field in fields.items()})


def test_the_routes_take_a_car_and_a_list_of_cars() -> None:
    from bentos.vehicle_price.service import VehiclePrice

    made: Any = VehiclePrice
    inputs = {name: api.schema()["input"] for name, api in made.apis.items()}

    assert inputs.keys() == {"predict", "predict_batch"}
    assert set(inputs["predict"]["required"]) == set(CAR)
    assert inputs["predict_batch"]["required"] == ["listings"]


def test_a_file_is_priced_row_by_row_and_bad_rows_are_told(stored: Stored, tmp_path: Path) -> None:
    header = "model,model_year,odometer,condition,fuel,transmission,type,cylinders,date_posted,explain"
    rows = [
        "Ford F-150,2011,145000,good,gas,automatic,pickup,,2018-06-23,",
        "toyota camry,2015,79212,great,gas,automatic,sedan,4,,",
        "toyota camry,2015,79212,good,gas,automatic,sedan,4,,true",
    ]
    (tmp_path / "cars.csv").write_text("\n".join([header, *rows]) + "\n")
    pricer = Pricer(stored)

    code = run_batch(
        Job(row=Listing, load=lambda: (pricer.version, pricer.answers)),
        ["batch", str(tmp_path / "cars.csv"), str(tmp_path / "prices.jsonl")],
    )

    answers = [json.loads(line) for line in (tmp_path / "prices.jsonl").read_text().splitlines()]
    (rejected,) = (tmp_path / "prices.jsonl.rejects.jsonl").read_text().splitlines()
    assert code == 0
    assert [answer["row"] for answer in answers] == [1, 3]
    assert [bool(answer["contributions"]) for answer in answers] == [False, True]
    assert json.loads(rejected)["reasons"][0]["field"] == "condition"


def test_prices_without_contributions_fit_into_a_parquet_file(stored: Stored, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    pricer = Pricer(stored)
    cars = [CAR, CAR | {"explain": True}]
    for name, rows in {"plain": cars[:1], "explained": cars}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(car) + "\n" for car in rows))
        job = Job(row=Listing, load=lambda: (pricer.version, pricer.answers))
        assert run_batch(job, ["batch", str(tmp_path / f"{name}.jsonl"), str(tmp_path / f"{name}.parquet")]) == 0

    (plain,) = pyarrow.read_table(tmp_path / "plain.parquet").to_pylist()
    first, second = pyarrow.read_table(tmp_path / "explained.parquet").to_pylist()
    assert plain == first
    assert (first["contributions"], first["unseen"]) == ("{}", [])
    assert json.loads(second["contributions"]).keys() >= {"model", "odometer"}
