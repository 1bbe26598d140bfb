"""Small models of every service of the shop, saved into the BentoML store: `python tests/serve/small_models.py`."""

from datetime import date

import numpy as np
import pandas as pd

from models import blur, churn, classifier, forecast, recommend, sentiment, smoothing, telecom_plan, vehicle_price
from training.store import save

chance = np.random.default_rng(42)
FEW_TREES = [classifier.Parameters(trees=5, depth=2)]


def of_sentiment() -> bytes:
    texts = ["good great fun", "bad awful dull", "great film, great fun!", "dull bad film"] * 3
    return sentiment.fit(texts, [True, False, True, False] * 3, sentiment.Parameters(min_df=1)).to_bytes()


def of_blur() -> bytes:
    return blur.BlurModel(measures=("tenengrad",), weights=(1.0,), intercept=3.0, threshold=-0.5).to_bytes()


def of_churn(rows: int = 300) -> bytes:
    table = pd.DataFrame(
        {
            "credit_score": chance.integers(350, 851, rows),
            "geography": chance.choice(["France", "Germany", "Spain"], rows),
            "gender": chance.choice(["Female", "Male"], rows),
            "age": chance.integers(18, 93, rows),
            "tenure": chance.integers(0, 11, rows),
            "balance": chance.uniform(0, 200_000, rows),
            "num_of_products": chance.integers(1, 5, rows),
            "has_cr_card": chance.integers(0, 2, rows),
            "is_active_member": chance.integers(0, 2, rows),
            "estimated_salary": chance.uniform(0, 200_000, rows),
        }
    )
    left = chance.random(rows) < table["age"].to_numpy() / 100
    return churn.ChurnModel(churn.fit(table, left, missed=2.0, settings=FEW_TREES).classifier).to_bytes()


def of_telecom_plan(rows: int = 300) -> bytes:
    calls, mb_used = chance.poisson(63, rows), chance.uniform(0, 40_000, rows)
    table = pd.DataFrame(
        {"calls": calls, "minutes": calls * 7.0, "messages": chance.poisson(38, rows), "mb_used": mb_used}
    )
    ultra = chance.random(rows) < mb_used / 40_000
    return telecom_plan.TelecomPlanModel(telecom_plan.fit(table, ultra, settings=FEW_TREES).classifier).to_bytes()


def of_vehicle_price(rows: int = 300) -> bytes:
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
        for _ in range(rows)
    ]
    prices = [30_000 - 0.1 * (car.odometer or 0) + 100 * float(chance.standard_normal()) for car in listings]
    small = vehicle_price.Parameters(max_trees=10, learning_rate=0.2, leaves=4, folds=2)
    return vehicle_price.fit(listings, prices, small).model.to_bytes()


def of_recommend() -> bytes:
    user, item = np.nonzero(chance.random((30, 20)) < np.linspace(0.6, 0.2, 20))
    users, items = tuple(f"u{number}" for number in range(30)), tuple(map(str, range(20)))
    ratings = recommend.Ratings(users=users, items=items, user=user, item=item)
    return recommend.fit(ratings, recommend.Parameters(penalty=2.0), {"0": "Zero", "1": "One"}).to_bytes()


def of_forecast() -> bytes:
    quantiles = tuple(float(number) for number in range(1, len(forecast.LEVELS) + 1))
    equal = forecast.Settings(weights=(1.0,) * len(smoothing.CANDIDATES), power=2.0, growth=0.5, quantiles=quantiles)
    return forecast.ForecastModel({forecast.ANY: equal, forecast.OTHER: equal}).to_bytes()


if __name__ == "__main__":
    for made in (of_sentiment, of_blur, of_churn, of_telecom_plan, of_vehicle_price, of_recommend, of_forecast):
        name = made.__name__.removeprefix("of_")
        file = "model.json" if name in ("blur", "forecast") else "model.npz"
        save(name, {file: made()}, labels={}, metadata={})
