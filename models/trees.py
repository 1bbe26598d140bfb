"""An ensemble of regression trees with exact SHAP values, in NumPy alone.

scikit-learn fits (HistGradientBoosting); this scores and explains, so that serving needs no scikit-learn. To score, all
rows walk down all trees at the same time. To explain, every leaf is one row of the arrays below: its value, and the
conditions on the way to it, merged into one per feature. A row of data reaches the leaves whose conditions all hold.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_FORMAT = 3  # of to_bytes(); raise it when the stored arrays change
_CELLS = 50_000  # rows x conditions handled at a time: what they touch stays in the cache of the processor
_WALKERS = 50_000  # rows x trees that walk at a time: likewise
_STEPS = 3  # that are taken before those that have arrived are sorted out
_NODES = "nodes_"  # what the names of their arrays begin with in an archive
_LOWEST, _HIGHEST = np.finfo(np.float64).min, np.finfo(np.float64).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no single truth to compare by
class Nodes:
    """N nodes of T trees. A node asks one question, and the way goes right where the answer is above its threshold.

    root       [T] number of a node
    question   [N] column of `_answers`
    threshold  [N]
    child      [2 N] the nodes to the left and to the right of each; a leaf is its own child
    leaf       [N] number of a row of the leaves, or -1: it is no leaf
    asked      [C] column of the row that a question about categories is about
    right      [C, K + 1] whether the category 0 .. K-1 goes right, and in the last place, what is none of these
    """

    root: npt.NDArray[np.intp]
    question: npt.NDArray[np.intp]
    threshold: Floats
    child: npt.NDArray[np.intp]
    leaf: npt.NDArray[np.intp]
    asked: npt.NDArray[np.intp]
    right: npt.NDArray[np.bool_]

    def reached(self, rows: Floats) -> npt.NDArray[np.intp]:
        """[n, T]: the leaf that each of n rows reaches in each tree."""
        answers = self._answers(rows)
        at = np.tile(self.root, len(rows))
        row = np.repeat(np.arange(len(rows)) * answers.shape[1], len(self.root))
        walker, found = np.arange(at.size), np.empty(at.size, np.intp)
        while walker.size:
            for _ in range(_STEPS):
                answer = answers.ravel().take(row + self.question.take(at))
                at = self.child.take(2 * at + (answer > self.threshold.take(at)))
            leaf = self.leaf.take(at)
            found[walker] = leaf
            (walking,) = np.nonzero(leaf < 0)
            at, row, walker = at.take(walking), row.take(walking), walker.take(walking)
        return found.reshape(len(rows), len(self.root))

    def parts(self, rows: Floats) -> list[Floats]:
        """The rows, as many at a time as walk together."""
        return _parts(rows, _WALKERS // (len(self.root) + len(self.asked) + 1))

    def _answers(self, rows: Floats) -> Floats:
        """[n, 2 F + C]: the row with what is missing to the left, the same to the right, then where categories go."""
        missing, numbers = np.isnan(rows), np.clip(rows, _LOWEST, _HIGHEST)  # so that what is missing lies beyond all
        known = self.right.shape[1] - 1
        category = np.where((rows >= 0) & (rows < known), rows, known).astype(np.intp)
        category[(category != rows) | missing] = known  # no whole number
        return np.hstack(
            [
                np.where(missing, -np.inf, numbers),
                np.where(missing, np.inf, numbers),
                self.right.ravel().take(category[:, self.asked] + np.arange(len(self.asked)) * (known + 1)),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays have no single truth to compare by
class Trees:
    """L leaves with up to D conditions each, on rows of F numbers; unused conditions hold always, with w = 1.

    value      [L] what a leaf adds
    feature    [D, L] column of the row
    above, upto  [D, L] the condition is above < x <= upto ...
    missing    [D, L] ... or x is NaN and this is true
    allowed    [D, L] number of a row of `categories`, or -1: no condition of this kind
    categories [C, K] whether the category 0 .. K-1 is allowed; a number that is none of these counts as missing
    share      [D, L] w above
    nodes      where the leaves hang
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
    nodes: Nodes
    start: float
    n_features: int

    def scores(self, rows: Floats) -> Floats:
        """The sum of the leaves that each of n rows [n, F] reaches: [n]."""
        parts = self.nodes.parts(self._checked(rows))
        sums = [self.value.take(self.nodes.reached(part)).sum(axis=1) for part in parts]
        return self.start + np.concatenate(sums) if sums else np.empty(0)

    def contributions(self, rows: Floats) -> Floats:
        """SHAP values [n, F] of n rows [n, F]: what each feature adds to `expected`. Rows sum up to `scores`."""
        parts = [self._explained(part) for part in _parts(self._checked(rows), _CELLS // max(1, self.feature.size))]
        return np.concatenate(parts) if parts else np.empty((0, self.n_features))

    @property
    def expected(self) -> float:
        """The mean score over the training rows, as the trees saw them."""
        return self.start + float(self.value @ self.share.prod(axis=0))

    def _checked(self, rows: Floats) -> Floats:
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"rows must have the shape [n, {self.n_features}], not {list(rows.shape)}")
        return rows

    def _holds(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """[n, D, L]: whether each condition holds."""
        x = np.maximum(rows, _LOWEST)[:, self.feature]  # even -inf lies above "no lower bound", which is -inf
        holds = (x > self.above) & (x <= self.upto) | np.isnan(x) & self.missing
        if self.categories.size:
            place, leaf = np.nonzero(self.allowed >= 0)
            holds[:, place, leaf] = self._permits(x[:, place, leaf], place, leaf)
        return holds

    def _permits(self, x: Floats, place: npt.NDArray[np.intp], leaf: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """[n, m]: whether the categories x are among those that m conditions allow."""
        known = self.categories.shape[1]
        number = np.where((x >= 0) & (x < known), x, 0).astype(np.intp)
        return np.where(number == x, self.categories[self.allowed[place, leaf], number], self.missing[place, leaf])

    def _explained(self, rows: Floats) -> Floats:
        holds = self._holds(rows).astype(np.float64)
        nodes, weights = _quadrature(len(self.feature))
        sums = np.zeros_like(holds)
        for t, weight in zip(nodes, weights, strict=True):
            factors = t * holds
            factors += (1 - t) * self.share  # never 0: every share is above 0, and t below 1
            sums += np.divide(weight * factors.prod(axis=1, keepdims=True), factors, out=factors)
        added = self.value * (holds - self.share) * sums
        return np.stack([np.bincount(self.feature.ravel(), one.ravel(), self.n_features) for one in added])

    def to_bytes(self) -> bytes:
        """The arrays as a compressed NumPy archive. Loading it runs no code, unlike a pickle."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _names(Trees) if name != "nodes"}
        nodes: dict[str, Any] = {_NODES + name: getattr(self.nodes, name) for name in _names(Nodes)}
        np.savez_compressed(buffer, format=_FORMAT, **arrays, **nodes)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Trees":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError("these are not stored trees: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                return cls._from_arrays(stored)
        except (OSError, EOFError, KeyError, ValueError, NotImplementedError, BadZipFile, zlib.error) as error:
            raise ValueError(f"these are not stored trees: {error}") from error

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, Any]) -> "Trees":
        if int(stored["format"]) != _FORMAT:
            raise ValueError(f"they have format {stored['format']}; this code reads {_FORMAT}: train again")
        arrays: dict[str, Any] = {name: stored[name] for name in _names(cls) if name != "nodes"}
        arrays |= {"start": float(arrays["start"]), "n_features": int(arrays["n_features"])}
        return cls(**arrays, nodes=Nodes(**{name: stored[_NODES + name] for name in _names(Nodes)}))


def _names(kind: type[Nodes] | type[Trees]) -> list[str]:
    return [field.name for field in fields(kind)]


def _parts(rows: Floats, step: int) -> list[Floats]:
    step = max(1, step)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


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


_Leaf = tuple[float, Mapping[int, _Condition]]


def from_boosting(model: Any) -> Trees:
    """The trees of a fitted HistGradientBoostingRegressor, or -Classifier of two classes.

    Scores are those before the link: log-odds of a classifier, a logarithm for loss="poisson" and "gamma". Categorical
    columns hold whole numbers from 0 on, as an OrdinalEncoder gives them; NaN is missing, and so is any number that the
    model was not fitted with. Raises ValueError for a model of more classes, or of categories that are no such numbers.
    """
    if any(len(of_classes) != 1 for of_classes in model._predictors):
        raise ValueError("a model of more than two classes has no single score")
    trees = [tree for (tree,) in model._predictors]
    columns = _columns(model)
    leaves = [leaf for tree in trees for leaf in _leaves(tree, 0, {}, columns)]
    start = float(np.ravel(model._baseline_prediction)[0])
    return from_leaves(leaves, nodes=_nodes(trees, columns), start=start, n_features=len(columns))


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


def _leaves(tree: Any, number: int, path: Mapping[int, _Condition], columns: Sequence[_Column]) -> Iterator[_Leaf]:
    """Those below a node, from left to right: in the order of their numbers, as scikit-learn lays nodes out."""
    node = tree.nodes[number]
    if node["is_leaf"]:
        yield float(node["value"]), path
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
            here = _allowed(column, tree, node, left=left)
            after = replace(after, allowed=here if before.allowed is None else before.allowed & here)
        elif left:
            after = replace(after, upto=min(before.upto, threshold))
        else:
            after = replace(after, above=max(before.above, threshold))
        yield from _leaves(tree, child, {**path, column.place: after}, columns)


def _nodes(trees: Sequence[Any], columns: Sequence[_Column]) -> Nodes:
    """The nodes of all trees in one table."""
    sizes = [len(tree.nodes) for tree in trees]
    root = np.cumsum([0, *sizes])[:-1]
    nodes, own = np.concatenate([tree.nodes for tree in trees]), np.arange(sum(sizes))
    leaf = nodes["is_leaf"] == 1
    child = np.stack([nodes["left"], nodes["right"]], axis=1) + np.repeat(root, sizes)[:, None]
    question = np.array([column.place for column in columns])[nodes["feature_idx"]]
    question += len(columns) * (nodes["missing_go_to_left"] == 0)
    about = (nodes["is_categorical"] == 1) & ~leaf
    question[about] = 2 * len(columns) + np.arange(about.sum())
    question[leaf] = 0
    return Nodes(
        root=root,
        question=question,
        threshold=np.where(about, 0.5, np.minimum(nodes["num_threshold"], _HIGHEST)),
        child=np.where(leaf[:, None], own[:, None], child).astype(np.intp).ravel(),
        leaf=np.where(leaf, np.cumsum(leaf) - 1, -1),
        asked=np.array([columns[place].place for place in nodes["feature_idx"][about]], np.intp),
        right=_rights(trees, columns),
    )


def _rights(trees: Sequence[Any], columns: Sequence[_Column]) -> npt.NDArray[np.bool_]:
    """Which categories go right, one row for each node that asks for them, then where what is missing goes."""
    rows = [
        (not node["missing_go_to_left"], _allowed(columns[int(node["feature_idx"])], tree, node, left=False))
        for tree in trees
        for node in tree.nodes[(tree.nodes["is_categorical"] == 1) & (tree.nodes["is_leaf"] == 0)]
    ]
    return _laid_out(rows, more=1)


def _allowed(column: _Column, tree: Any, node: Any, *, left: bool) -> npt.NDArray[np.bool_]:
    """Which categories go this way; those that were not seen go the way of what is missing."""
    assert column.categories is not None
    allowed = np.full(int(column.categories.max(initial=-1)) + 1, bool(node["missing_go_to_left"]) == left)
    goes_left = _bits(tree.raw_left_cat_bitsets[int(node["bitset_idx"])])
    allowed[column.categories] = goes_left[: len(column.categories)] == left
    return allowed


def _bits(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """A bit set of 8 words as 256 truths."""
    return np.unpackbits(np.asarray(words, dtype="<u4").view(np.uint8), bitorder="little").astype(np.bool_)


def from_leaves(leaves: Sequence[_Leaf], *, nodes: Nodes, start: float, n_features: int) -> Trees:
    """Lay leaves out as arrays, in the order in which the nodes number them."""
    depth = max((len(conditions) for _, conditions in leaves), default=1) or 1
    shape = (depth, len(leaves))
    feature, allowed = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    above, upto, share = np.full(shape, -np.inf), np.full(shape, np.inf), np.ones(shape)
    missing = np.ones(shape, np.bool_)
    named: list[tuple[bool, npt.NDArray[np.bool_]]] = []
    for leaf, (_, conditions) in enumerate(leaves):
        for row, (place, condition) in enumerate(conditions.items()):
            at = row, leaf
            feature[at], above[at], upto[at] = place, condition.above, condition.upto
            missing[at], share[at] = condition.missing, condition.share
            if condition.allowed is not None:
                allowed[at] = len(named)
                named.append((condition.missing, condition.allowed))
    return Trees(
        value=np.array([value for value, _ in leaves], dtype=np.float64),
        feature=feature,
        above=above,
        upto=upto,
        missing=missing,
        allowed=allowed,
        categories=_laid_out(named),
        share=share,
        nodes=nodes,
        start=start,
        n_features=n_features,
    )


def _laid_out(rows: Sequence[tuple[bool, npt.NDArray[np.bool_]]], *, more: int = 0) -> npt.NDArray[np.bool_]:
    """[C, K + more] what is true of each category, for C of what is missing and of the categories 0, 1, ..."""
    known = max((len(allowed) for _, allowed in rows), default=0)
    found = np.zeros((len(rows), known + more), np.bool_)
    for number, (missing, allowed) in enumerate(rows):
        found[number] = missing
        found[number, : len(allowed)] = allowed
    return found
