"""An ensemble of regression trees with exact SHAP values, in NumPy alone.

scikit-learn fits (HistGradientBoosting); this scores and explains, so that serving needs no scikit-learn. Every leaf is
one row of the arrays below: the conditions on the way to it, merged into one per feature, and its value. A row of data
reaches the leaf whose conditions all hold.

SHAP values are those of "tree_path_dependent" TreeSHAP (Lundberg et al. 2020). To a coalition S of the D features on
the way to it, a leaf is worth value * product over S of o_i * product over the others of w_i, with o_i whether
condition i holds and w_i the share of the training rows that pass it on the way. Shapley's weights
|S|! (D - |S| - 1)! / D! are integrals of t^|S| (1 - t)^(D - |S| - 1), so that the sum over all coalitions without j
becomes a product under an integral:

    phi_j = value (o_j - w_j) * integral over t in [0, 1] of  product over i != j of (t o_i + (1 - t) w_i)

The integrand is a polynomial of degree D - 1, so Gauss-Legendre quadrature with D / 2 nodes, rounded up, is exact.
(Linear TreeSHAP, Yu et al. 2022, works with the same polynomials.)
"""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_FORMAT = 1  # of to_bytes(); raise it when the stored arrays change
_CELLS = 250_000  # rows x conditions handled at a time: 2 MB of floats for each of a few arrays
_LOWEST = np.finfo(np.float64).min


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no single truth to compare by
class Trees:
    """L leaves with up to D conditions each, on rows of F numbers; unused conditions hold always, with w = 1.

    value      [L] what a leaf adds
    feature    [L, D] column of the row
    above, upto  [L, D] the condition is above < x <= upto ...
    missing    [L, D] ... or x is NaN and this is true
    allowed    [L, D] number of a row of `categories`, or -1: no condition of this kind
    categories [C, K] whether the category 0 .. K-1 is allowed; a number that is none of these counts as missing
    share      [L, D] w above
    start      what all rows begin with
    """

    value: Floats
    feature: npt.NDArray[np.int32]
    above: Floats
    upto: Floats
    missing: npt.NDArray[np.bool_]
    allowed: npt.NDArray[np.int32]
    categories: npt.NDArray[np.bool_]
    share: Floats
    start: float
    n_features: int

    def scores(self, rows: Floats) -> Floats:
        """The sum of the leaves that each of n rows [n, F] reaches: [n]."""
        parts = [self._holds(part).all(axis=2) @ self.value for part in self._parts(rows)]
        return self.start + np.concatenate(parts) if parts else np.empty(0)

    def contributions(self, rows: Floats) -> Floats:
        """SHAP values [n, F] of n rows [n, F]: what each feature adds to `expected`. Rows sum up to `scores`."""
        parts = [self._explained(part) for part in self._parts(rows)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_features))

    @property
    def expected(self) -> float:
        """The mean score over the training rows, as the trees saw them."""
        return self.start + float(self.value @ self.share.prod(axis=1))

    def _parts(self, rows: Floats) -> list[Floats]:
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"rows must have the shape [n, {self.n_features}], not {list(rows.shape)}")
        step = max(1, _CELLS // max(1, self.feature.size))
        return [rows[start : start + step] for start in range(0, len(rows), step)]

    def _holds(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """[n, L, D]: whether each condition holds."""
        x = np.maximum(rows, _LOWEST)[:, self.feature]  # even -inf lies above "no lower bound", which is -inf
        holds = (x > self.above) & (x <= self.upto)
        if self.categories.size:
            leaf, place = np.nonzero(self.allowed >= 0)
            holds[:, leaf, place] = self._permits(x[:, leaf, place], leaf, place)
        return np.where(np.isnan(x), self.missing, holds)

    def _permits(self, x: Floats, leaf: npt.NDArray[np.intp], place: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """[n, m]: whether the categories x are among those that m conditions allow."""
        known = self.categories.shape[1]
        number = np.where((x >= 0) & (x < known), x, 0).astype(np.intp)
        return np.where(number == x, self.categories[self.allowed[leaf, place], number], self.missing[leaf, place])

    def _explained(self, rows: Floats) -> Floats:
        holds = self._holds(rows).astype(np.float64)
        nodes, weights = _quadrature(self.feature.shape[1])
        sums = np.zeros_like(holds)
        for t, weight in zip(nodes, weights, strict=True):
            factors = t * holds + (1 - t) * self.share  # never 0: every share is above 0, and t below 1
            sums += weight * factors.prod(axis=2, keepdims=True) / factors
        added = self.value[:, None] * (holds - self.share) * sums
        return np.stack([np.bincount(self.feature.ravel(), one.ravel(), self.n_features) for one in added])

    def to_bytes(self) -> bytes:
        """The arrays as a compressed NumPy archive. Loading it runs no code, unlike a pickle."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        np.savez_compressed(buffer, format=_FORMAT, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Trees":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError("these are not stored trees: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays: dict[str, Any] = {name: stored[name] for name in ("format", *cls.__dataclass_fields__)}
        except (OSError, EOFError, KeyError, ValueError, NotImplementedError, BadZipFile, zlib.error) as error:
            raise ValueError(f"these are not stored trees: {error}") from error
        found = arrays.pop("format")
        if found != _FORMAT:
            raise ValueError(f"these trees have format {found}; this code reads {_FORMAT}: train again")
        return cls(**arrays | {"start": float(arrays["start"]), "n_features": int(arrays["n_features"])})


def _quadrature(degree: int) -> tuple[Floats, Floats]:
    """Nodes and weights on [0, 1] that are exact for polynomials below `degree`."""
    nodes, weights = np.polynomial.legendre.leggauss(max(1, (degree + 1) // 2))
    return (nodes + 1) / 2, weights / 2


@dataclass(frozen=True, slots=True)
class _Condition:
    """What a path asks of one feature, all of its splits together."""

    above: float = -np.inf
    upto: float = np.inf
    missing: bool = True
    allowed: npt.NDArray[np.bool_] | None = None  # of the categories 0, 1, ...; those beyond it count as missing
    share: float = 1.0


_Leaf = tuple[float, dict[int, _Condition]]


def from_boosting(model: Any) -> Trees:
    """The trees of a fitted HistGradientBoostingRegressor, or -Classifier of two classes.

    Scores are those before the link: log-odds of a classifier, a logarithm for loss="poisson" and "gamma". Categorical
    columns hold whole numbers from 0 on, as an OrdinalEncoder gives them; NaN is missing, and so is any number that the
    model was not fitted with. Raises ValueError for a model of more classes, or of categories that are no such numbers.
    """
    columns = _columns(model)
    leaves: list[_Leaf] = []
    for trees in model._predictors:
        if len(trees) != 1:
            raise ValueError("a model of more than two classes has no single score")
        _collect(trees[0], 0, {}, columns, leaves)
    start = float(np.ravel(model._baseline_prediction)[0])
    return from_leaves(leaves, start=start, n_features=int(model.n_features_in_))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as the trees know it: its place in the data, and which category each of its own numbers stands for."""

    place: int
    categories: npt.NDArray[np.intp] | None = None


def _columns(model: Any) -> list[_Column]:
    """scikit-learn puts the categorical columns first, and numbers the categories that it has seen anew."""
    if model.is_categorical_ is None:
        return [_Column(place) for place in range(int(model.n_features_in_))]
    seen = model._preprocessor.named_transformers_["encoder"].categories_
    first = zip(np.flatnonzero(model.is_categorical_), seen, strict=True)
    then = np.flatnonzero(~model.is_categorical_)
    return [*(_Column(int(place), _whole(found)) for place, found in first), *(_Column(int(place)) for place in then)]


def _whole(categories: Any) -> npt.NDArray[np.intp]:
    try:
        numbers = np.asarray(categories, dtype=np.float64)
    except ValueError as error:
        raise ValueError("categories must be numbers: fit on the codes of an OrdinalEncoder") from error
    numbers = numbers[~np.isnan(numbers)]
    whole = numbers.astype(np.intp)
    if (whole != numbers).any() or (whole < 0).any():
        raise ValueError("categories must be whole numbers from 0 on: fit on the codes of an OrdinalEncoder")
    return whole


def _collect(
    tree: Any, number: int, path: dict[int, _Condition], columns: Sequence[_Column], leaves: list[_Leaf]
) -> None:
    node = tree.nodes[number]
    if node["is_leaf"]:
        leaves.append((float(node["value"]), path))
        return
    column = columns[int(node["feature_idx"])]
    before = path.get(column.place, _Condition())
    for left in (True, False):
        child = int(node["left"] if left else node["right"])
        missing = bool(node["missing_go_to_left"]) == left
        share = int(tree.nodes[child]["count"]) / int(node["count"])
        after = replace(before, missing=before.missing and missing, share=before.share * share)
        threshold = float(node["num_threshold"])
        if node["is_categorical"]:
            here = _allowed(column, tree.raw_left_cat_bitsets[int(node["bitset_idx"])], left=left, missing=missing)
            after = replace(after, allowed=here if before.allowed is None else before.allowed & here)
        elif left:
            after = replace(after, upto=min(before.upto, threshold))
        else:
            after = replace(after, above=max(before.above, threshold))
        _collect(tree, child, {**path, column.place: after}, columns, leaves)


def _allowed(column: _Column, words: npt.NDArray[np.uint32], *, left: bool, missing: bool) -> npt.NDArray[np.bool_]:
    """Which categories go this way; those that were not seen go the way of what is missing."""
    assert column.categories is not None
    allowed = np.full(int(column.categories.max(initial=-1)) + 1, missing)
    allowed[column.categories] = _bits(words)[: len(column.categories)] == left
    return allowed


def _bits(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """A bit set of 8 words as 256 truths."""
    return np.unpackbits(np.asarray(words, dtype="<u4").view(np.uint8), bitorder="little").astype(np.bool_)


def from_leaves(leaves: Sequence[_Leaf], *, start: float, n_features: int) -> Trees:
    """Lay leaves out as arrays."""
    depth = max((len(conditions) for _, conditions in leaves), default=1) or 1
    shape = (len(leaves), depth)
    feature, allowed = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    above, upto, share = np.full(shape, -np.inf), np.full(shape, np.inf), np.ones(shape)
    missing = np.ones(shape, np.bool_)
    named: list[_Condition] = []
    for row, (_, conditions) in enumerate(leaves):
        for column, (place, condition) in enumerate(conditions.items()):
            at = row, column
            feature[at], above[at], upto[at] = place, condition.above, condition.upto
            missing[at], share[at] = condition.missing, condition.share
            if condition.allowed is not None:
                allowed[at] = len(named)
                named.append(condition)
    return Trees(
        value=np.array([value for value, _ in leaves], dtype=np.float64),
        feature=feature,
        above=above,
        upto=upto,
        missing=missing,
        allowed=allowed,
        categories=_laid_out(named),
        share=share,
        start=start,
        n_features=n_features,
    )


def _laid_out(named: Sequence[_Condition]) -> npt.NDArray[np.bool_]:
    """The categories that conditions allow, one row for each, all equally long."""
    rows = [(condition.missing, condition.allowed) for condition in named if condition.allowed is not None]
    known = max((len(allowed) for _, allowed in rows), default=0)
    categories = np.zeros((len(rows), known), np.bool_)
    for number, (missing, allowed) in enumerate(rows):
        categories[number] = missing
        categories[number, : len(allowed)] = allowed
    return categories
