"""What a user may want next: a linear model over what the user has rated already.

A user's scores are the sum of one row of an item-item matrix for each item that the user has rated. There are two ways
to that matrix; training compares them and stores the better one:

ease   ridge regression of each item on all others (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data"),
       with dropout of the inputs in closed form (Steck 2020, "Autoencoders that don't overfit towards the Identity")
svd    projection on the first right singular vectors of the user-item matrix (Cremonesi et al. 2010, PureSVD), whose
       columns may be scaled before (Nikolakopoulos et al. 2019, EigenRec)

What counts is that something was rated, not with how many stars. Fitting and serving need NumPy alone.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Method = Literal["ease", "svd"]

NEIGHBOURS = 100  # similar items that are kept of each item
_FORMAT = 1  # of to_bytes(); raise it when the stored arrays change
_NOISE = 1e-6  # scores below it are rounding


class UnknownItemError(ValueError):
    """Items that the model has never heard of: `items`."""

    def __init__(self, items: Sequence[str]) -> None:
        super().__init__(f"unknown items: {', '.join(items[:3])}")
        self.items = tuple(items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is chosen before fitting. docs/services/recommend.md tells how.

    penalty   ease: the L2 penalty, in the unit of the diagonal of the Gram matrix: ratings
    dropout   ease: share of a user's ratings that are hidden while the others predict them; 0 is plain EASE
    factors   svd: singular vectors that are kept
    scale     svd: the norm of an item's column is raised to this power first; 1 is PureSVD, less helps rare items

    Raises ValueError when a value cannot work.
    """

    method: Method = "ease"
    penalty: float = 200.0
    dropout: float = 0.0
    factors: int = 20
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.penalty < float("inf"):
            raise ValueError(f"penalty must be a positive number, not {self.penalty}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {self.dropout}")
        if self.factors < 1:
            raise ValueError(f"factors must be at least 1, not {self.factors}")
        if not 0 <= self.scale <= 1:
            raise ValueError(f"scale must be from 0 to 1, not {self.scale}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ratings:
    """Who rated what; no pair occurs twice.

    user, item   [n] positions in `users` and `items`; there may be users and items without ratings
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: Array
    item: Array

    def __len__(self) -> int:
        return len(self.user)

    def part(self, chosen: Array) -> "Ratings":
        """The ratings for which `chosen` [n] is true, of the same users and items."""
        return replace(self, user=self.user[chosen], item=self.item[chosen])

    def matrix(self) -> Array:
        """1 where a user rated an item, else 0: [users, items]."""
        matrix = np.zeros((len(self.users), len(self.items)), dtype=np.float32)
        matrix[self.user, self.item] = 1
        return matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """An item with its score, which can be compared within one answer only."""

    id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Items, the best first. `cold_start`: nothing is known of the user, so these are what most people rated."""

    items: tuple[Scored, ...]
    cold_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How well the first k recommendations of each user meet what the user rated.

    ndcg        normalized discounted cumulative gain, mean over the users
    precision   share of the recommendations that were rated
    recall      share of the rated items that were recommended, mean over the users
    coverage    share of all items that were recommended to somebody
    """

    ndcg: float
    precision: float
    recall: float
    coverage: float


class RecommendModel:
    """A fitted model. Immutable; safe to share between threads."""

    def __init__(
        self,
        *,
        items: Sequence[str],
        titles: Sequence[str],
        weights: Array,
        popularity: Array,
        near: Array,
        nearness: Array,
        users: Sequence[str],
        starts: Array,
        rated: Array,
    ) -> None:
        """Take what fitting found, for n items and u users.

        weights         [n, n] what having rated the row's item adds to the score of the column's item
        popularity      [n] share of the users who rated the item
        near, nearness  [n, m] positions of the most similar items with their cosines, the most similar first
        starts, rated   items of user i, by position: rated[starts[i]:starts[i + 1]]
        """
        self._items, self._titles, self._users = tuple(items), tuple(titles), tuple(users)
        self._weights, self._popularity = weights, popularity
        self._near, self._nearness = near, nearness
        self._starts, self._rated = starts, rated
        self._item_at = {item: position for position, item in enumerate(self._items)}
        self._user_at = {user: position for position, user in enumerate(self._users)}

    @property
    def items(self) -> tuple[str, ...]:
        """Ids of all items."""
        return self._items

    @property
    def users(self) -> tuple[str, ...]:
        """Ids of all users."""
        return self._users

    def for_user(self, user: str, *, k: int, exclude_seen: bool = True) -> Ranked:
        """The k best items of a user; a stranger gets the most popular ones."""
        at = self._user_at.get(user)
        rows = self._rated[:0] if at is None else self._rated[self._starts[at] : self._starts[at + 1]]
        return self._ranked(rows, k, exclude_seen=exclude_seen)

    def for_items(self, liked: Sequence[str], *, k: int, exclude_seen: bool = True) -> Ranked:
        """The k best items of somebody who likes these. Raises UnknownItemError."""
        return self._ranked(self._positions(liked), k, exclude_seen=exclude_seen)

    def similar(self, item: str, *, k: int) -> tuple[Scored, ...]:
        """Up to k (at most NEIGHBOURS) items that the same people rated, with the cosine. Raises UnknownItemError."""
        row = int(self._positions([item])[0])
        cosines = self._nearness[row, :k]
        return self._scored(self._near[row, :k][cosines > 0], cosines[cosines > 0])

    def title(self, item: str) -> str:
        """What people call the item. Raises UnknownItemError."""
        return self._titles[int(self._positions([item])[0])]

    def to_bytes(self) -> bytes:
        """The model as a compressed NumPy archive. Loading it runs no code, unlike a pickle."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            format=_FORMAT,
            items=_from_lines(self._items),
            titles=_from_lines(self._titles),
            users=_from_lines(self._users),
            weights=self._weights,
            popularity=self._popularity,
            near=self._near,
            nearness=self._nearness,
            starts=self._starts,
            rated=self._rated,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "RecommendModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError("this is not a stored recommend model: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = dict(stored)
            found = int(arrays.pop("format"))
            model = cls._from_arrays(arrays) if found == _FORMAT else None
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
            raise ValueError(f"this is not a stored recommend model: {error}") from error
        if model is None:
            raise ValueError(f"this model has format {found}; this code reads {_FORMAT}: train again")
        return model

    @classmethod
    def _from_arrays(cls, stored: dict[str, Any]) -> "RecommendModel":
        names: dict[str, Any] = {name: _to_lines(stored.pop(name)) for name in ("items", "titles", "users")}
        n, u = len(names["items"]), len(names["users"])
        fits = (
            len(names["titles"]) == n
            and stored["weights"].shape == (n, n)
            and stored["popularity"].shape == (n,)
            and stored["near"].shape == stored["nearness"].shape
            and stored["near"].shape[:-1] == (n,)
            and stored["starts"].shape == (u + 1,)
            and stored["rated"].shape == (stored["starts"][-1],)
        )
        if not fits:
            raise ValueError("its parts do not fit together")
        return cls(**names, **stored)

    def _positions(self, items: Sequence[str]) -> Array:
        """Of each item, once."""
        unknown = [item for item in dict.fromkeys(items) if item not in self._item_at]
        if unknown:
            raise UnknownItemError(unknown)
        return np.array(sorted({self._item_at[item] for item in items}), dtype=np.intp)

    def _ranked(self, rows: Array, k: int, *, exclude_seen: bool) -> Ranked:
        scores = self._weights[rows].sum(axis=0)
        cold = bool(tells_nothing(scores))
        if cold:
            scores = self._popularity.copy()
        if exclude_seen:
            scores[rows] = -np.inf
        best = top(scores, k)
        best = best[np.isfinite(scores[best])]
        return Ranked(items=self._scored(best, scores[best]), cold_start=cold)

    def _scored(self, positions: Array, scores: Array) -> tuple[Scored, ...]:
        return tuple(
            Scored(id=self._items[at], title=self._titles[at], score=score)
            for at, score in zip(positions.tolist(), scores.tolist(), strict=True)
        )


def fit(ratings: Ratings, parameters: Parameters, titles: Mapping[str, str]) -> RecommendModel:
    """Fit on n ratings. Deterministic. An item without a title is called by its id.

    Raises ValueError when there are no two items, or no ratings.
    """
    if len(ratings.items) < 2 or not len(ratings):
        raise ValueError("a recommender needs at least two items, and ratings")
    gram = co_ratings(ratings.matrix())
    near, nearness = _neighbours(gram)
    by_user = np.lexsort((ratings.item, ratings.user))
    counts = np.bincount(ratings.user, minlength=len(ratings.users))
    return RecommendModel(
        items=ratings.items,
        titles=[" ".join(titles.get(item, item).split()) for item in ratings.items],
        weights=item_weights(gram, parameters).astype(np.float32),
        popularity=(np.diag(gram) / len(ratings.users)).astype(np.float32),
        near=near,
        nearness=nearness,
        users=ratings.users,
        starts=np.concatenate(([0], np.cumsum(counts))),
        rated=ratings.item[by_user].astype(np.int32),
    )


def co_ratings(matrix: Array) -> Array:
    """The Gram matrix [n, n] of a user-item matrix [u, n]: how many users rated both items."""
    gram: Array = matrix.T @ matrix
    return gram.astype(np.float64)


def item_weights(gram: Array, parameters: Parameters) -> Array:
    """The item-item matrix [n, n] of a Gram matrix [n, n]."""
    if parameters.method == "ease":
        return ease(gram, penalty=parameters.penalty, dropout=parameters.dropout)
    return projection(directions(gram, scale=parameters.scale), factors=parameters.factors)


def ease(gram: Array, *, penalty: float, dropout: float) -> Array:
    """B = I - P diag(1 / P) with P = (G + penalty I + dropout / (1 - dropout) diag(G))^-1."""
    inverse = np.linalg.inv(gram + np.diag(penalty + dropout / (1 - dropout) * np.diag(gram)))
    weights: Array = inverse / -np.diag(inverse)  # divides columns
    np.fill_diagonal(weights, 0.0)
    return weights


def directions(gram: Array, *, scale: float) -> Array:
    """The right singular vectors [n, n] of the user-item matrix with scaled columns, the most important first."""
    factor = np.maximum(np.sqrt(np.diag(gram)), 1.0) ** (scale - 1)  # an item without ratings is zero anyway
    _, vectors = np.linalg.eigh(gram * np.outer(factor, factor))
    return vectors[:, ::-1]


def projection(vectors: Array, *, factors: int) -> Array:
    """The matrix [n, n] that projects on the first of the singular vectors [n, n]."""
    kept = vectors[:, :factors]
    weights: Array = kept @ kept.T
    return weights


def tells_nothing(scores: Array) -> Array:
    """Whether the scores along the last axis are all zero: of no items, or of such as nobody rated with others."""
    nothing: Array = np.abs(scores).max(axis=-1) < _NOISE
    return nothing


def top(scores: Array, k: int) -> Array:
    """Positions of the k highest scores along the last axis, the highest first."""
    k = min(k, scores.shape[-1])
    chosen = np.argpartition(-scores, k - 1, axis=-1)[..., :k]
    order = np.lexsort((chosen, -np.take_along_axis(scores, chosen, axis=-1)))
    best: Array = np.take_along_axis(chosen, order, axis=-1)
    return best


def evaluate(scores: Array, *, seen: Array, wanted: Array, k: int = 10) -> Metrics:
    """Hold the k best unseen items of each user against those that the user rated.

    scores   [users, items], or [items] when all users have the same
    seen     [users, items] bool: what is not recommended
    wanted   [users, items] bool; users without any are left out

    As Microsoft's recommenders do (python_evaluation.py, ndcg_at_k): whatever the user rated is relevant, with any
    number of stars; a hit gains 1; the ideal has min(k, wanted) hits.
    """
    judged = wanted.any(axis=1)
    scores, wanted = np.where(seen, -np.inf, scores)[judged], wanted[judged]
    best = top(scores, k)
    hits = np.take_along_axis(wanted, best, axis=1)
    discounts = 1 / np.log2(np.arange(best.shape[1]) + 2)
    sizes = wanted.sum(axis=1)
    ideal = np.cumsum(discounts)[np.minimum(sizes, best.shape[1]) - 1]
    return Metrics(
        ndcg=float((hits @ discounts / ideal).mean()),
        precision=float(hits.mean()),
        recall=float((hits.sum(axis=1) / sizes).mean()),
        coverage=len(np.unique(best)) / scores.shape[1],
    )


def _neighbours(gram: Array) -> tuple[Array, Array]:
    """The most similar other items of each, by the cosine of their columns in the user-item matrix."""
    norms = np.maximum(np.sqrt(np.diag(gram)), 1.0)  # an item without ratings has cosine 0 with all
    cosines = gram / np.outer(norms, norms)
    np.fill_diagonal(cosines, -1.0)
    near = top(cosines, min(NEIGHBOURS, len(gram) - 1))
    return near.astype(np.int32), np.take_along_axis(cosines, near, axis=1).astype(np.float32)


def _from_lines(texts: Sequence[str]) -> Array:
    return np.frombuffer("\n".join(texts).encode(), dtype=np.uint8)


def _to_lines(array: Array) -> list[str]:
    return array.tobytes().decode().split("\n")
