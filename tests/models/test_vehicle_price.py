"""The vehicle price model: the stored trees are the fitted scikit-learn ones, and twins do not leak."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from models.vehicle_price import (
    FLOOR,
    LEAST_PRICE,
    MAX_CATEGORIES,
    Encoder,
    Fit,
    Listing,
    Parameters,
    Price,
    VehiclePriceModel,
    coverage,
    errors,
    fit,
    folds,
    implausible,
)

SMALL = Parameters(learning_rate=0.2, leaves=8, min_leaf=5, max_trees=60, folds=3)
WORTH = {"ford f-150": 34_000, "ford focus": 18_000, "toyota camry": 24_000, "bmw x5": 42_000}


def adverts(count: int, *, seed: int = 1) -> tuple[list[Listing], list[float]]:
    """Made-up adverts: prices fall with age and miles, and scatter more for dearer cars."""
    chance = np.random.default_rng(seed)
    listings: list[Listing] = []
    prices: list[float] = []
    for _ in range(count):
        model = str(chance.choice(list(WORTH)))
        posted = date(2018, 5, 1) + timedelta(days=int(chance.integers(0, 350)))
        year = int(chance.integers(2000, 2019))
        miles = float(chance.integers(5_000, 15_000)) * (2019.5 - year)
        listings.append(
            Listing(
                model=model,
                model_year=year,
                odometer=miles,
                condition=str(chance.choice(["fair", "good", "excellent"])),
                cylinders=None if chance.random() < 0.1 else 4.0 + 2.0 * float(chance.integers(0, 3)),
                fuel="gas",
                transmission=str(chance.choice(["automatic", "manual"])),
                type="sedan" if model == "toyota camry" else "other",
                is_4wd=bool(chance.random() < 0.3),
                date_posted=posted,
            )
        )
        worth = WORTH[model] * 0.9 ** (2019 - year) * (1 - miles / 600_000)
        prices.append(max(1_000.0, worth * float(1 + 0.1 * chance.standard_normal())))
    return listings, prices


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(*adverts(600), SMALL)


@pytest.fixture(scope="module")
def model(fitted: Fit) -> VehiclePriceModel:
    return fitted.model


def amounts(prices: Sequence[Price]) -> list[float]:
    return [price.price for price in prices]


STRANGE = Listing(
    model="reliant robin", model_year=1880, odometer=9e6, fuel="electric", date_posted=date(2030, 1, 1), is_4wd=True
)
BARE = Listing(model="ford f-150")


def test_prices_equal_those_of_scikit_learn(fitted: Fit) -> None:
    listings = [*adverts(200, seed=2)[0], STRANGE, BARE]

    theirs = fitted.estimator.predict(fitted.model.encoder.rows(listings))

    floor = min(adverts(600)[1])
    assert amounts(fitted.model.price(listings)) == pytest.approx(np.maximum(theirs, floor).tolist(), rel=1e-6)


def test_contributions_add_up_to_the_price(model: VehiclePriceModel) -> None:
    listings = [*adverts(50, seed=3)[0], STRANGE, BARE]

    together = [model.base + sum(explained.values()) for explained in model.explain(listings)]

    assert together == pytest.approx(amounts(model.price(listings)), rel=1e-9)


def test_contributions_are_told_by_field_and_not_by_feature(model: VehiclePriceModel) -> None:
    (explained,) = model.explain([adverts(1)[0][0]])

    assert explained.keys() - {FLOOR} == {
        "model", "type", "fuel", "transmission", "paint_color", "model_year", "odometer", "condition", "cylinders",
        "is_4wd",
    }  # fmt: skip


def test_no_price_is_below_the_least_of_training_and_the_difference_is_told(fitted: Fit) -> None:
    model = fitted.model
    high = VehiclePriceModel(
        encoder=model.encoder, price=model._price, spread=model._spread, factor=1.0, level=0.9, floor=1e6
    )

    (price,), (explained,) = high.price([BARE]), high.explain([BARE])

    assert price.price == price.lower == 1e6 < price.upper
    assert high.base + sum(explained.values()) == pytest.approx(1e6)
    assert explained[FLOOR] > 0


def test_it_learns_what_cars_cost(model: VehiclePriceModel) -> None:
    listings, prices = adverts(300, seed=4)

    assert errors(amounts(model.price(listings)), prices).r2 > 0.8


def test_intervals_hold_as_many_new_prices_as_they_promise_and_are_wider_for_dearer_cars(
    model: VehiclePriceModel,
) -> None:
    listings, prices = adverts(1_000, seed=5)

    found = model.price(listings)

    assert coverage(found, prices, level=0.9).coverage == pytest.approx(0.9, abs=0.06)
    widths = np.array([price.upper - price.lower for price in found])
    dear = np.array(prices) > np.median(prices)
    assert np.median(widths[dear]) > np.median(widths[~dear])
    assert all(price.lower <= price.price <= price.upper for price in found)


def test_what_training_did_not_hold_is_named_and_priced_all_the_same(model: VehiclePriceModel) -> None:
    strange, bare, known = model.price([STRANGE, BARE, adverts(1)[0][0]])

    assert set(strange.unseen) == {"model", "fuel", "model_year", "odometer", "date_posted"}
    assert bare.unseen == known.unseen == ()
    assert all(np.isfinite(price.price) for price in (strange, bare, known))


def test_an_unknown_model_of_a_known_make_keeps_its_make(model: VehiclePriceModel) -> None:
    rows = model.encoder.rows([Listing(model="ford galaxy"), Listing(model="ford focus"), Listing(model="saab 900")])

    make, name = rows[:, 0], rows[:, 1]
    assert make[0] == make[1]
    assert np.isnan([name[0], name[2], make[2]]).all()


def test_the_age_counts_in_months_from_the_day_of_the_advert_or_else_from_the_last_day_of_training() -> None:
    first = Listing(model="a b", model_year=2010, odometer=10_000, date_posted=date(2015, 7, 9))
    encoder = Encoder.of([first, replace(first, date_posted=date(2016, 1, 31))])

    ages = encoder.rows([first, replace(first, date_posted=None)])[:, 6]

    assert ages.tolist() == [5.5, 6.0]


def test_miles_per_year_of_a_new_car_are_those_of_half_a_year() -> None:
    new = Listing(model="a b", model_year=2016, odometer=1_000, date_posted=date(2015, 12, 1))

    assert Encoder.of([new]).rows([new])[0, 9] == 2_000


def test_of_too_many_models_the_most_frequent_are_known() -> None:
    seldom = [Listing(model=f"make {number:03}", date_posted=date(2018, 1, 1)) for number in range(300)]
    often = Listing(model="make 299", date_posted=date(2018, 1, 1))

    encoder = Encoder.of([*seldom, often])

    assert len(encoder.categories["model"]) == MAX_CATEGORIES
    assert "make 299" in encoder.categories["model"]
    assert np.nanmax(encoder.rows(seldom)[:, 1]) == MAX_CATEGORIES - 1


def test_a_column_that_nobody_states_does_not_stop_the_fit() -> None:
    listings, prices = adverts(200)
    bare = [replace(listing, fuel=None, condition=None, cylinders=None, type=None) for listing in listings]

    model = fit(bare, prices, SMALL).model

    assert "condition" in model.price(listings)[0].unseen


def test_adverts_of_a_car_are_in_the_same_fold_whenever_they_were_posted() -> None:
    listings, _ = adverts(90)
    again = [replace(listing, date_posted=date(2019, 4, 1)) for listing in listings]

    found = folds([*listings, *again], 3)

    assert found[:90].tolist() == found[90:].tolist()
    assert np.bincount(found).tolist() == [60, 60, 60]


def test_only_implausible_rows_are_left_out_and_no_price_is_too_high() -> None:
    car = Listing(model="a b", odometer=100_000, date_posted=date(2018, 6, 1))
    rows: list[tuple[Listing, float, bool]] = [
        (car, 5_000, False),
        (car, LEAST_PRICE, False),
        (car, LEAST_PRICE - 1, True),
        (replace(car, odometer=600_000), 5_000, True),
        (replace(car, odometer=None), 5_000, False),
        (car, 189_000, False),
    ]

    found = implausible([listing for listing, _, _ in rows], [price for _, price, _ in rows])

    assert found.tolist() == [expected for _, _, expected in rows]


def test_absurd_prices_are_counted_and_do_not_spoil_the_fit(fitted: Fit) -> None:
    listings, prices = adverts(600)
    absurd = [replace(listing, odometer=float(number)) for number, listing in enumerate(listings[:20])]

    found = fit([*listings, *absurd], [*prices, *[1.0] * 20], SMALL)

    assert found.left_out == 20
    assert found.rmse_out_of_fold < 1.5 * fitted.rmse_out_of_fold


def test_fitting_twice_gives_the_same_prices(model: VehiclePriceModel) -> None:
    listings, _ = adverts(50, seed=6)

    again = fit(*adverts(600), SMALL).model

    assert amounts(again.price(listings)) == pytest.approx(amounts(model.price(listings)), rel=1e-9)


def test_a_stored_model_gives_the_same_answers(model: VehiclePriceModel) -> None:
    listings = [*adverts(20, seed=7)[0], STRANGE, BARE]

    stored = VehiclePriceModel.from_bytes(model.to_bytes())

    assert stored.price(listings) == model.price(listings)
    assert stored.explain(listings) == model.explain(listings)
    assert (stored.level, stored.last_posted) == (model.level, model.last_posted)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04broken"])
def test_something_else_than_a_model_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored vehicle price model"):
        VehiclePriceModel.from_bytes(damage)


def test_half_a_file_is_refused(model: VehiclePriceModel) -> None:
    data = model.to_bytes()

    with pytest.raises(ValueError, match="not a stored vehicle price model"):
        VehiclePriceModel.from_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", 0), ("learning_rate", 1.5), ("leaves", 1), ("min_leaf", 0), ("max_trees", 9), ("folds", 1),
     ("max_features", 0), ("l2", -1), ("level", 1), ("level", 0), ("learning_rate", float("nan"))],
)  # fmt: skip
def test_parameters_that_cannot_work_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Parameters(**{name: value})


def test_too_few_cars_are_refused() -> None:
    listings, prices = adverts(2)

    with pytest.raises(ValueError, match="2 different cars are too few for 3 folds"):
        fit(listings, prices, SMALL)


def test_errors_are_those_of_the_textbook() -> None:
    found = errors([1_000, 3_000], [2_000, 3_000])

    assert found.rmse == pytest.approx(500_000**0.5)
    assert found.mae == 500
    assert (found.r2, found.mape) == (-1, 0.25)


def test_serving_does_not_import_scikit_learn() -> None:
    check = "import sys, models.vehicle_price; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
