"""The forecast service: what it refuses, what it answers, when it is for, what is inside its Bento, and over HTTP."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import ValidationError

from bentos.batch import Job, run
from bentos.forecast import __main__ as offline
from bentos.forecast import dates
from bentos.forecast.answers import answer
from bentos.forecast.schema import AIR_PASSENGERS, MAX_SERIES, PredictBatchRequest, Prediction, PredictRequest
from models.forecast import ANY, LEVELS, OTHER, SEASONS, ForecastModel, Settings
from models.smoothing import CANDIDATES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE: dict[str, Any] = {
    "values": AIR_PASSENGERS,
    "horizon": 12,
    "frequency": "monthly",
    "levels": [0.8, 0.95],
    "start": "1949-01-01",
}


@pytest.fixture(scope="module")
def model() -> ForecastModel:
    quantiles = tuple(float(number) for number in range(1, len(LEVELS) + 1))
    equal = Settings(weights=(1.0,) * len(CANDIDATES), power=2.0, growth=0.5, quantiles=quantiles)
    return ForecastModel({ANY: equal, OTHER: equal, "monthly": equal})


# What it refuses

BAD: list[tuple[dict[str, Any], list[str | int]]] = [
    ({"values": []}, ["values"]),
    ({"values": [1, 2]}, ["values"]),
    ({"values": [1.0] * 10_001}, ["values"]),
    ({"values": ["x"] * 1_000_000}, ["values", 0]),
    ({"values": [1, 2, "3"]}, ["values", 2]),
    ({"values": [1, 2, True]}, ["values", 2]),
    ({"values": [1, 2, 1e16]}, ["values", 2]),
    ({"values": [1, [2], 3]}, ["values", 1]),
    ({"values": [1, 2, None]}, ["values"]),
    ({"values": [1, 2, 3, None, None]}, ["values"]),
    ({"values": "1 2 3"}, ["values"]),
    ({"values": None}, ["values"]),
    ({"horizon": 0}, ["horizon"]),
    ({"horizon": 1_001}, ["horizon"]),
    ({"horizon": 2.5}, ["horizon"]),
    ({"horizon": "12"}, ["horizon"]),
    ({"frequency": "lunar"}, ["frequency"]),
    ({"levels": []}, ["levels"]),
    ({"levels": [0.8, 1.0]}, ["levels", 1]),
    ({"levels": [0.0]}, ["levels", 0]),
    ({"levels": [0.5] * 6}, ["levels"]),
    ({"start": "yesterday"}, ["start"]),
    ({"start": "9999-01-01"}, ["start"]),
    ({"start": "9999-12-30", "frequency": "daily"}, ["start"]),
    ({"start": 5}, ["start"]),
    ({"colour": "red"}, ["colour"]),
]


@pytest.mark.parametrize(("changed", "place"), BAD)
def test_a_bad_field_is_named_once_and_its_value_is_not_told(changed: dict[str, Any], place: list[str | int]) -> None:
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate_json(json.dumps({**EXAMPLE, **changed}))

    assert [list(error["loc"]) for error in refused.value.errors()] == [place]
    assert "input_value" not in str(refused.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PredictRequest.model_validate_json(f'{{"values": [1, {word}, 3], "horizon": 1}}')

    assert refused.value.errors()[0]["loc"] == ("values", 1)


def test_only_values_and_horizon_are_required() -> None:
    request = PredictRequest.model_validate_json('{"values": [1, 2, 3], "horizon": 1}')

    assert (request.frequency, request.levels, request.start) == (None, [0.8, 0.95], None)


def test_levels_are_sorted_and_told_once() -> None:
    assert PredictRequest(values=[1, 2, 3], horizon=1, levels=[0.9, 0.5, 0.9]).levels == [0.5, 0.9]


@pytest.mark.parametrize("count", [0, MAX_SERIES + 1])
def test_a_batch_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValidationError, match="series"):
        PredictBatchRequest.model_validate({"series": [EXAMPLE] * count})


def test_the_frequencies_are_those_that_the_model_has_seasons_for() -> None:
    assert set(get_args(dates.Frequency)) == {"yearly", *SEASONS}


# When it is for


@pytest.mark.parametrize(
    ("start", "frequency", "count", "expected"),
    [
        ("2020-01-15", "monthly", 11, ["2020-12-15", "2021-01-15"]),
        ("2020-01-31", "monthly", 1, ["2020-02-29", "2020-03-31"]),
        ("2020-04-30", "monthly", 1, ["2020-05-31", "2020-06-30"]),  # the end of a month stays the end
        ("2020-01-30", "monthly", 1, ["2020-02-29", "2020-03-30"]),
        ("2019-11-01", "quarterly", 1, ["2020-02-01", "2020-05-01"]),
        ("2020-02-29", "yearly", 1, ["2021-02-28", "2022-02-28"]),
        ("2020-02-24", "weekly", 1, ["2020-03-02", "2020-03-09"]),
        ("2020-02-28", "daily", 1, ["2020-02-29", "2020-03-01"]),
        ("2020-02-28T22:00", "hourly", 1, ["2020-02-28T23:00:00", "2020-02-29T00:00:00"]),
        ("2020-02-28T06:30", "daily", 1, ["2020-02-29T06:30:00", "2020-03-01T06:30:00"]),
        ("2020-02-28T00:00+01:00", "hourly", 1, ["2020-02-28T01:00:00+01:00", "2020-02-28T02:00:00+01:00"]),
    ],
)
def test_forecasts_are_dated_after_the_values(start: str, frequency: Any, count: int, expected: list[str]) -> None:
    assert dates.following(datetime.fromisoformat(start), frequency, count, 2) == expected


# What it answers


@pytest.fixture(scope="module")
def service(model: ForecastModel, worker: Callable[..., Any]) -> Any:
    from bentos.forecast.service import Forecast

    return worker(Forecast, **{"model.json": model.to_bytes()})


def ask(service: Any, **changed: Any) -> Prediction:
    found: Prediction = service.predict(**dict(PredictRequest.model_validate({**EXAMPLE, **changed})))
    return found


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_series_gets_points_dates_and_intervals(service: Any) -> None:
    found = ask(service)

    assert len(found.points) == 12
    assert found.dates
    assert (found.dates[0], found.dates[-1]) == ("1953-01-01", "1953-12-01")
    assert [one.level for one in found.intervals] == [0.8, 0.95]
    for inner, outer in zip(found.intervals[0].lower, found.intervals[1].lower, strict=True):
        assert outer < inner
    assert found.seasonal
    assert found.points.index(max(found.points)) in (6, 7)  # people fly in summer
    assert found.backtest
    assert found.backtest.mae < found.backtest.naive_mae
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.model in found.shares
    assert (found.warnings, found.model_version) == ([], "v1")


def test_a_start_without_frequency_gives_a_warning_and_no_dates(service: Any) -> None:
    found = ask(service, frequency=None)

    assert found.dates is None
    assert "start without frequency gives no dates" in found.warnings
    assert not found.seasonal


def test_missing_values_are_filled_and_told(service: Any) -> None:
    values = [None if place in (5, 20) else value for place, value in enumerate(AIR_PASSENGERS)]
    found, whole = ask(service, values=values), ask(service)

    assert "2 missing values were put on the line between their neighbours" in found.warnings
    assert found.points == pytest.approx(whole.points, rel=0.1)


@pytest.mark.parametrize(
    "values", [[7, 7, 7], [0, 0, 0, 0, 0, 0, 0], [1, None, 3, 2], [-1e15, 1e15, -1e15, 1e15, 0, 5e-324, 1e-300]]
)
def test_strange_series_get_numbers_and_a_word_of_warning(service: Any, values: list[float | None]) -> None:
    found = ask(service, values=values, horizon=5, start=None)

    numbers = [*found.points, *(number for one in found.intervals for number in (*one.lower, *one.upper))]
    assert all(map(isfinite, numbers))
    assert found.warnings


def test_the_longest_series_with_the_longest_horizon_is_answered(service: Any) -> None:
    values = [float(number * 7_919 % 1_009) for number in range(10_000)]
    found = ask(service, values=values, horizon=1_000, frequency="hourly", start=None)

    assert len(found.points) == len(found.intervals[1].upper) == 1_000
    assert any("only the last 1,000 values" in warning for warning in found.warnings)


def test_a_batch_is_answered_in_order_and_as_single_series_are(service: Any) -> None:
    requests = [PredictRequest.model_validate({**EXAMPLE, "horizon": horizon}) for horizon in (3, 1, 2)]

    together = service.predict_batch(series=requests)

    assert [len(one.points) for one in together] == [3, 1, 2]
    assert together == [ask(service, horizon=horizon) for horizon in (3, 1, 2)]


def test_a_repeated_series_is_answered_from_the_cache_and_a_very_long_answer_is_not_kept(service: Any) -> None:
    before = count("forecast_cache_total", outcome="hit")
    first = ask(service, horizon=7)

    assert ask(service, horizon=7) == first
    assert count("forecast_cache_total", outcome="hit") == before + 1
    assert ask(service, horizon=121) == ask(service, horizon=121)
    assert count("forecast_cache_total", outcome="hit") == before + 1


def test_series_and_forecasts_are_counted(service: Any) -> None:
    names = ("forecast_series_length_count", "forecast_horizon_count", "forecast_backtest_smape_count")
    before = [count(name) for name in names], count("forecast_warned_total")

    found = ask(service, horizon=5, frequency=None)

    assert [count(name) for name in names] == [number + 1 for number in before[0]]
    assert count("forecast_warned_total") == before[1] + 1
    assert count("forecast_methods_total", method=found.model) >= 1
    assert count("forecast_model_info", version="v1") == 1


def test_the_inference_log_holds_the_points_and_not_the_series(service: Any, log: Path) -> None:
    found = ask(service, values=[54321.25, 1, 2, 3, 4, 5, 6, 7])
    service._log.flush()

    (file,) = log.iterdir()
    line = json.loads(file.read_text().splitlines()[-1])
    assert line["output"]["points"] == found.points
    assert line["version"] == "v1"
    assert "54321.25" not in file.read_text()


@pytest.mark.quiet
def test_a_new_monthly_series_takes_less_than_150_ms(model: ForecastModel) -> None:
    took = []
    for number in range(21):
        request = PredictRequest.model_validate({**EXAMPLE, "values": [*AIR_PASSENGERS * 3, number], "horizon": 18})
        began = time.perf_counter()
        answer(model, request, version="v1")
        took.append(time.perf_counter() - began)

    assert sorted(took)[10] < 0.150


# Offline


def test_a_file_is_forecast_offline_and_bad_rows_are_put_aside(model: ForecastModel, tmp_path: Path) -> None:
    def answers(rows: Sequence[PredictRequest]) -> list[Prediction]:
        return [answer(model, row, version="v1") for row in rows]

    (tmp_path / "in.csv").write_text(
        "values,horizon,frequency,levels\n1 2 3 4 null 6 7 8,3,yearly,0.5 0.9\n1 2 x,3,,\n1 2 3,many,,\n4 4 4.5,1,,\n"
    )
    job: Job[PredictRequest] = Job(row=PredictRequest, load=lambda: ("v1", answers), read=offline.read)

    done = run(job, tmp_path / "in.csv", tmp_path / "out.jsonl")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    rejects = [json.loads(line) for line in (tmp_path / "out.jsonl.rejects.jsonl").read_text().splitlines()]
    assert (done.rows, done.rejected) == (4, 2)
    assert [(line["row"], len(line["points"])) for line in lines] == [(1, 3), (4, 1)]
    assert [one["level"] for one in lines[0]["intervals"]] == [0.5, 0.9]
    assert [(one["row"], one["reasons"][0]["field"]) for one in rejects] == [(2, "values"), (3, "horizon")]


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (date(2020, 1, 31), "2020-05-31"),
        (datetime(2020, 1, 31), "2020-05-31"),  # noqa: DTZ001 - as Parquet has it
        (datetime(2020, 1, 31, 12, tzinfo=UTC), "2020-05-31T12:00:00+00:00"),
        ("2020-01-31", "2020-05-31"),
    ],
)
def test_the_start_may_have_a_type_of_its_own_in_a_parquet_file(
    model: ForecastModel, tmp_path: Path, start: Any, first: str
) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    row = {"values": [1.0, 2.0, 3.0, 4.0], "horizon": 1, "frequency": "monthly", "start": start}
    pyarrow.write_table(pytest.importorskip("pyarrow").Table.from_pylist([row]), tmp_path / "in.parquet")
    job: Job[PredictRequest] = Job(
        row=PredictRequest,
        load=lambda: ("v1", lambda rows: [answer(model, row, version="v1") for row in rows]),
        read=offline.read,
    )

    assert run(job, tmp_path / "in.parquet", tmp_path / "out.jsonl").rejected == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["dates"] == [first]


# Over HTTP


@pytest.fixture(scope="module")
def client(shop: Any, model: ForecastModel) -> Iterator[httpx.Client]:
    with shop.client("bentos.forecast.service:Forecast", "forecast", **{"model.json": model.to_bytes()}) as opened:
        yield opened


@pytest.mark.e2e
def test_the_examples_of_the_openapi_document_work(client: httpx.Client, service: Any) -> None:
    paths = client.get("/docs.json").json()["paths"]
    answers = {}
    for path in ("/predict", "/predict_batch"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        body = {name: field["examples"][0] for name, field in content["schema"]["properties"].items()}
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
        answers[path] = response.json()

    assert answers["/predict"]["points"] == pytest.approx(ask(service).points)
    assert [len(one["points"]) for one in answers["/predict_batch"]] == [2, 1]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/predict", '{"values": [1, 2, "secret"], "horizon": 1}', ["values", 2]),
        ("/predict", '{"values": [1, NaN, 3], "horizon": 1}', ["values", 1]),
        ("/predict", '{"values": [1, 2, 3]}', ["horizon"]),
        ("/predict", json.dumps({"values": [1.5] * 1_000_000, "horizon": 1}), ["values"]),
        ("/predict", json.dumps({"values": ["x"] * 1_000_000, "horizon": 1}), ["values", 0]),
        ("/predict_batch", json.dumps({"series": [EXAMPLE, EXAMPLE | {"horizon": 0}]}), ["series", 1, "horizon"]),
        ("/predict_batch", json.dumps({"series": [EXAMPLE] * 33}), ["series"]),
    ],
)  # fmt: skip
def test_what_is_bad_is_refused_with_its_place_and_is_not_logged(
    client: httpx.Client, shop: Any, path: str, body: str, place: list[str | int]
) -> None:
    response = client.post(path, content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert response.json()["detail"][0]["loc"] == place
    assert len(response.content) < 2_000
    assert "secret" not in "".join(log.read_text() for log in shop.root.glob("serve-*.log"))


@pytest.mark.e2e
def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    body = b'{"values": [' + b"1," * 9_000_000 + b"1]}"

    assert client.post("/predict", content=body, headers={"content-type": "application/json"}).status_code == 413


@pytest.mark.e2e
def test_it_is_ready_and_shows_its_metrics(client: httpx.Client) -> None:
    client.post("/predict", json=EXAMPLE)

    shown = client.get("/metrics").text
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    assert "forecast_series_length_count" in shown
    assert 'forecast_cache_total{outcome="miss"}' in shown
