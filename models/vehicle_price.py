"""What a used car is asked for: gradient-boosted trees on the price itself, an interval, and what each field adds.

scikit-learn fits; `trees` scores and explains with the same result. The trees are fitted to dollars and not to their
logarithm, so that contributions are dollars too and add up to the price.

The interval is normalised conformal prediction (Papadopoulos et al. 2002; Lei et al. 2018): small trees say how far off
the price of a car like this one tends to be, and one factor makes of it a margin that held for `level` of the training
rows. Every row is judged by trees that did not see its car (cross-conformal: Vovk 2015).
"""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from models import trees
from models.trees import Floats, Trees

Truths = npt.NDArray[np.bool_]

CONDITIONS = ("salvage", "fair", "good", "excellent", "like new", "new")  # from the worst to the best
# The categorical ones first: scikit-learn puts them there, so the columns are the same on both sides.
CATEGORICAL = ("make", "model", "type", "fuel", "transmission", "paint_color")
NUMERIC = ("age", "model_year", "odometer", "miles_per_year", "condition", "cylinders", "is_4wd")
FEATURES = (*CATEGORICAL, *NUMERIC)
FLOOR = "floor"  # the contribution that lifts a price to the least that training held
MAX_CATEGORIES = 255  # what scikit-learn takes

LEAST_PRICE = 500.0  # dollars; below it: 1 for "make an offer", a rate, a deposit
MOST_MILES = 500_000.0

_FIELDS = {"make": "model", "age": "model_year", "miles_per_year": "odometer"}  # what a feature is derived from
_HALF_A_YEAR = 0.5
_EVERY = 10  # sizes of the ensemble that are compared
_SEED = 42
_FORMAT = 1  # of to_bytes(); raise it when what is stored changes
_SPREAD = {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A car that is advertised. None: not stated.

    model         make and model in lower case: "ford f-150"
    odometer      miles
    date_posted   None: the day of the last advert in training, so that the price is of then
    """

    model: str
    model_year: float | None = None
    odometer: float | None = None
    condition: str | None = None
    cylinders: float | None = None
    fuel: str | None = None
    transmission: str | None = None
    type: str | None = None
    paint_color: str | None = None
    is_4wd: bool = False
    date_posted: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars. `unseen` names the fields whose values lie outside of what training held."""

    price: float
    lower: float
    upper: float
    unseen: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is chosen before fitting. docs/services/vehicle_price.md tells how the defaults were chosen.

    learning_rate   share of each tree's correction that is taken
    leaves          most leaves of a tree
    min_leaf        fewest training rows in a leaf; small, because dealers advertise the same car again and again
    max_trees       how many trees are tried; how many are kept is found out on cars that were held out
    max_features    share of the features among which each split chooses
    l2              penalty of large leaves
    folds           parts of the training rows, each held out once
    level           share of prices that the interval is to hold

    Raises ValueError when a value cannot work.
    """

    learning_rate: float = 0.06
    leaves: int = 31
    min_leaf: int = 4
    max_trees: int = 800
    max_features: float = 0.5
    l2: float = 1.0
    folds: int = 5
    level: float = 0.9

    def __post_init__(self) -> None:
        for name, least in {"leaves": 2, "min_leaf": 1, "max_trees": _EVERY, "folds": 2, "l2": 0}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("learning_rate", "max_features"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {self.level}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How far off prices are: dollars, and `mape` as a share of the price that was asked."""

    rmse: float
    mae: float
    r2: float
    mape: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How the intervals did: share of prices inside, its distance from the level, median width in dollars."""

    coverage: float
    coverage_error: float
    interval_dollars: float


class Encoder:
    """Makes a row of numbers of a listing, and knows what the training rows held."""

    def __init__(
        self,
        *,
        categories: Mapping[str, Sequence[str]],
        ranges: Mapping[str, tuple[float, float]],
        first: date,
        last: date,
    ) -> None:
        """Take what the training rows held.

        categories    values of each categorical feature; the place of a value is its ordinal
        ranges        least and largest value of each numeric feature; those that were never stated are absent
        first, last   days of the adverts
        """
        self.categories, self.ranges, self.first, self.last = categories, ranges, first, last
        self._ordinals: dict[str, dict[str | None, float]] = {
            name: {value: float(place) for place, value in enumerate(values)} for name, values in categories.items()
        }
        self._never_stated = [not categories.get(name) and name not in ranges for name in FEATURES]

    @classmethod
    def of(cls, listings: Sequence[Listing]) -> "Encoder":
        """For these training rows. Raises ValueError when none of them says when it was posted."""
        days = [listing.date_posted for listing in listings if listing.date_posted]
        if not days:
            raise ValueError("no listing says when it was posted")
        words = [_words(listing) for listing in listings]
        numbers = np.array([_numbers(listing, max(days)) for listing in listings])
        return cls(
            categories={name: _most_frequent(row[name] for row in words) for name in CATEGORICAL},
            ranges={
                name: (float(np.nanmin(column)), float(np.nanmax(column)))
                for name, column in zip(NUMERIC, numbers.T, strict=True)
                if not np.isnan(column).all()
            },
            first=min(days),
            last=max(days),
        )

    def rows(self, listings: Sequence[Listing]) -> Floats:
        """[n, FEATURES]; NaN where a value is not stated, or is a category that training did not hold."""
        rows = np.array([self._row(listing) for listing in listings], dtype=np.float64).reshape(-1, len(FEATURES))
        rows[:, self._never_stated] = 0.0  # a column of NaN alone cannot be fitted, and splits nothing as zeros
        return rows

    def unseen(self, listing: Listing) -> tuple[str, ...]:
        """Fields that lie outside of what training held."""
        found = [name for name, word in _words(listing).items() if word and word not in self._ordinals[name]]
        numbers = zip(NUMERIC, _numbers(listing, self.last), strict=True)
        found += [name for name, number in numbers if not (math.isnan(number) or self._in_range(name, number))]
        if listing.date_posted and not self.first <= listing.date_posted <= self.last:
            found.append("date_posted")
        return tuple(dict.fromkeys(_FIELDS.get(name, name) for name in found))

    def _row(self, listing: Listing) -> list[float]:
        ordinals = [self._ordinals[name].get(word, math.nan) for name, word in _words(listing).items()]
        return [*ordinals, *_numbers(listing, self.last)]

    def _in_range(self, name: str, number: float) -> bool:
        low, high = self.ranges.get(name, (math.inf, -math.inf))
        return low <= number <= high


class VehiclePriceModel:
    """A fitted model. Immutable; safe to share between threads."""

    def __init__(
        self, *, encoder: Encoder, price: Trees, spread: Trees, factor: float, level: float, floor: float
    ) -> None:
        """Take what fitting found.

        price    trees that score dollars
        spread   trees that score the logarithm of the usual error in dollars
        factor   by which the usual error is multiplied for the margin
        level    share of prices that lie within the margin
        floor    no price is below it; trees may overshoot
        """
        self.encoder, self._price, self._spread = encoder, price, spread
        self._factor, self._floor = factor, floor
        self.base = price.expected  # the mean price in training, as the trees see it
        self.level = level

    @property
    def last_posted(self) -> date:
        """Day of the last advert in training: prices are of then."""
        return self.encoder.last

    @property
    def n_leaves(self) -> int:
        """Of all trees that score the price; what a price costs grows with it."""
        return len(self._price.value)

    def price(self, listings: Sequence[Listing]) -> list[Price]:
        """The price of each listing with its interval, in order."""
        rows = self.encoder.rows(listings)
        prices = np.maximum(self._price.scores(rows), self._floor)
        margins = self._factor * np.exp(self._spread.scores(rows))
        return [
            Price(
                price=price,
                lower=max(price - margin, self._floor),
                upper=price + margin,
                unseen=self.encoder.unseen(listing),
            )
            for listing, price, margin in zip(listings, prices.tolist(), margins.tolist(), strict=True)
        ]

    def explain(self, listings: Sequence[Listing]) -> list[dict[str, float]]:
        """What each field adds to `base` for each listing (SHAP values, in dollars); together that is the price.

        Several times the work of `price`.
        """
        contributions = self._price.contributions(self.encoder.rows(listings))
        return [self._by_field(values) for values in contributions.tolist()]

    def _by_field(self, values: Sequence[float]) -> dict[str, float]:
        # A field with several features gets their sum, so that it all still adds up.
        by_field: dict[str, float] = {}
        for name, value in zip(FEATURES, values, strict=True):
            field = _FIELDS.get(name, name)
            by_field[field] = by_field.get(field, 0.0) + value
        missing = self._floor - (self.base + sum(values))
        return by_field | ({FLOOR: missing} if missing > 0 else {})

    def to_bytes(self) -> bytes:
        """The model as a NumPy archive. Loading it runs no code, unlike a pickle."""
        about = {
            "categories": self.encoder.categories,
            "ranges": self.encoder.ranges,
            "first": self.encoder.first.isoformat(),
            "last": self.encoder.last.isoformat(),
            "factor": self._factor,
            "level": self.level,
            "floor": self._floor,
        }
        parts = {"about": json.dumps(about).encode()}
        parts |= {"price": self._price.to_bytes(), "spread": self._spread.to_bytes()}
        arrays: dict[str, Any] = {name: np.frombuffer(part, np.uint8) for name, part in parts.items()}
        buffer = io.BytesIO()
        np.savez(buffer, format=_FORMAT, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "VehiclePriceModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError("this is not a stored vehicle price model: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                return cls._from_arrays(stored)
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ValueError(f"this is not a stored vehicle price model: {error}") from error

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, Any]) -> "VehiclePriceModel":
        if int(stored["format"]) != _FORMAT:
            raise ValueError(f"it has format {stored['format']}; this code reads {_FORMAT}: train again")
        about = json.loads(stored["about"].tobytes())
        encoder = Encoder(
            categories=about["categories"],
            ranges={name: (low, high) for name, (low, high) in about["ranges"].items()},
            first=date.fromisoformat(about["first"]),
            last=date.fromisoformat(about["last"]),
        )
        return cls(
            encoder=encoder,
            price=Trees.from_bytes(stored["price"].tobytes()),
            spread=Trees.from_bytes(stored["spread"].tobytes()),
            factor=about["factor"],
            level=about["level"],
            floor=about["floor"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What fitting found.

    model              what is stored
    trees              how many trees score the price
    left_out           training rows that were not plausible
    rmse_out_of_fold   in dollars, over the plausible training rows, each priced without its car
    estimator          the fitted scikit-learn regressor behind the prices
    """

    model: VehiclePriceModel
    trees: int
    left_out: int
    rmse_out_of_fold: float
    estimator: Any


def fit(listings: Sequence[Listing], prices: Sequence[float], parameters: Parameters) -> Fit:
    """Fit on n listings and their n prices in dollars. Deterministic.

    Raises ValueError when there are too few different cars, or too few with a plausible price.
    """
    asked, used = np.asarray(prices, np.float64), ~implausible(listings, prices)
    fold = folds(listings, parameters.folds)
    if used.sum() < 2 * parameters.min_leaf:
        raise ValueError(f"{used.sum()} listings with a plausible price are too few")
    staged = _out_of_fold(listings, asked, used, fold, parameters)
    errors_by_size = np.sqrt(np.mean((staged[:, used] - asked[used]) ** 2, axis=1))
    best = int(errors_by_size.argmin())
    size = (best + 1) * _EVERY

    encoder = Encoder.of(_those(listings, used))
    rows = encoder.rows(listings)
    estimator = _booster(parameters, max_iter=size).fit(rows[used], asked[used])
    # All rows, the implausible ones too: what is asked of the interval is to hold whatever is advertised.
    spread, factor = _margins(rows, np.abs(asked - staged[best]), fold, parameters.level)
    model = VehiclePriceModel(
        encoder=encoder,
        price=trees.from_boosting(estimator),
        spread=trees.from_boosting(spread),
        factor=factor,
        level=parameters.level,
        floor=float(asked[used].min()),
    )
    return Fit(
        model=model,
        trees=size,
        left_out=int((~used).sum()),
        rmse_out_of_fold=float(errors_by_size[best]),
        estimator=estimator,
    )


def implausible(listings: Sequence[Listing], prices: Sequence[float]) -> Truths:
    """Of each training row, whether it is left out of the fit. Rows that are scored are never left out.

    Left out are prices below LEAST_PRICE and odometers above MOST_MILES. No price is too high: see
    docs/services/vehicle_price.md.
    """
    adverts = zip(listings, prices, strict=True)
    return np.array(
        [price < LEAST_PRICE or (listing.odometer or 0) > MOST_MILES for listing, price in adverts], dtype=np.bool_
    )


def folds(listings: Sequence[Listing], count: int) -> npt.NDArray[np.intp]:
    """A fold 0 .. count-1 for each listing; all adverts of a car are in the same one, whenever they were posted.

    Raises ValueError when there are fewer cars than folds.
    """
    numbers: dict[Listing, int] = {}
    cars = [numbers.setdefault(_car(listing), len(numbers)) for listing in listings]
    if len(numbers) < count:
        raise ValueError(f"{len(numbers)} different cars are too few for {count} folds")
    of_cars: npt.NDArray[np.intp] = np.random.default_rng(_SEED).permutation(np.arange(len(numbers)) % count)
    found: npt.NDArray[np.intp] = of_cars[np.array(cars)]
    return found


def errors(priced: Sequence[float] | Floats, asked: Sequence[float] | Floats) -> Errors:
    """Compare n prices with the n that were asked; all above 0, and not all the same."""
    found, true = np.asarray(priced, np.float64), np.asarray(asked, np.float64)
    squares = (found - true) ** 2
    return Errors(
        rmse=float(np.sqrt(squares.mean())),
        mae=float(np.abs(found - true).mean()),
        r2=float(1 - squares.sum() / ((true - true.mean()) ** 2).sum()),
        mape=float((np.abs(found - true) / true).mean()),
    )


def coverage(priced: Sequence[Price], asked: Sequence[float] | Floats, *, level: float) -> Coverage:
    """Compare n intervals with the n prices that were asked."""
    lower, upper = np.array([price.lower for price in priced]), np.array([price.upper for price in priced])
    true = np.asarray(asked, np.float64)
    inside = float(((lower <= true) & (true <= upper)).mean())
    return Coverage(
        coverage=inside, coverage_error=abs(inside - level), interval_dollars=float(np.median(upper - lower))
    )


def _words(listing: Listing) -> dict[str, str | None]:
    """The categorical features by name, in the order of CATEGORICAL."""
    return {
        "make": listing.model.partition(" ")[0],
        "model": listing.model,
        "type": listing.type,
        "fuel": listing.fuel,
        "transmission": listing.transmission,
        "paint_color": listing.paint_color,
    }


def _numbers(listing: Listing, today: date) -> list[float]:
    """The numeric features in the order of NUMERIC; NaN for what is not stated."""
    year, miles = _or_nan(listing.model_year), _or_nan(listing.odometer)
    posted = listing.date_posted or today
    age = posted.year + (posted.month - 1) / 12 - year  # years since the January of the model year
    return [
        age,
        year,
        miles,
        miles / (_HALF_A_YEAR if age < _HALF_A_YEAR else age),  # NaN stays NaN
        float(CONDITIONS.index(listing.condition)) if listing.condition else math.nan,
        _or_nan(listing.cylinders),
        float(listing.is_4wd),
    ]


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else float(number)


def _most_frequent(words: Iterable[str | None]) -> tuple[str, ...]:
    """The values, in alphabetical order; of too many the most frequent ones, and the rest counts as not stated."""
    counts = Counter(word for word in words if word)
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:MAX_CATEGORIES]
    return tuple(sorted(kept))


def _car(listing: Listing) -> Listing:
    """What the adverts of a car have in common."""
    return replace(listing, date_posted=None)


def _those(listings: Sequence[Listing], chosen: Truths) -> list[Listing]:
    return [listing for listing, wanted in zip(listings, chosen.tolist(), strict=True) if wanted]


def _booster(parameters: Parameters, *, max_iter: int) -> Any:
    return _regressor(
        max_iter=max_iter,
        learning_rate=parameters.learning_rate,
        max_leaf_nodes=parameters.leaves,
        min_samples_leaf=parameters.min_leaf,
        l2_regularization=parameters.l2,
        max_features=parameters.max_features,
    )


def _regressor(**chosen: Any) -> Any:
    # Imported here: serving imports this module and has no scikit-learn.
    from sklearn.ensemble import HistGradientBoostingRegressor

    categorical = list(range(len(CATEGORICAL)))
    return HistGradientBoostingRegressor(
        categorical_features=categorical, early_stopping=False, random_state=_SEED, **chosen
    )


def _out_of_fold(
    listings: Sequence[Listing], asked: Floats, used: Truths, fold: npt.NDArray[np.intp], parameters: Parameters
) -> Floats:
    """[max_trees / EVERY, n]: the price of each row by ensembles of each size that did not see its car."""
    staged = np.empty((parameters.max_trees // _EVERY, len(asked)))
    for number in range(parameters.folds):
        held_out, seen = fold == number, used & (fold != number)
        # Its own encoder: scikit-learn numbers categories anew when some are absent, and so must we.
        encoder = Encoder.of(_those(listings, seen))
        booster = _booster(parameters, max_iter=parameters.max_trees)
        booster.fit(encoder.rows(_those(listings, seen)), asked[seen])
        stages = booster.staged_predict(encoder.rows(_those(listings, held_out)))
        for size, scores in enumerate(stages, start=1):
            if size % _EVERY == 0:
                staged[size // _EVERY - 1, held_out] = scores
    return staged


def _margins(rows: Floats, residuals: Floats, fold: npt.NDArray[np.intp], level: float) -> tuple[Any, float]:
    """A regressor of the logarithm of the usual residual, and the factor that covers `level` of the rows."""
    usual = np.log1p(residuals)  # of the logarithm, or a few absurd prices would be all that it learns
    ratios = np.empty_like(residuals)
    for number in range(int(fold.max()) + 1):
        held_out = fold == number
        fitted = _regressor(**_SPREAD).fit(rows[~held_out], usual[~held_out])
        ratios[held_out] = residuals[held_out] / np.exp(fitted.predict(rows[held_out]))
    return _regressor(**_SPREAD).fit(rows, usual), _conformal_quantile(ratios, level)


def _conformal_quantile(scores: Floats, level: float) -> float:
    """The ceil((n + 1) level)-th smallest score; the largest one where there are too few."""
    rank = min(math.ceil((len(scores) + 1) * level), len(scores))
    return float(np.sort(scores)[rank - 1])
