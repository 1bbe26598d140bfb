"""Sentiment of an English review: TF-IDF over words and word pairs, then logistic regression.

scikit-learn fits; plain Python scores. For one text at a time about 95 % of scikit-learn's time is
validation and sparse plumbing, so the fitted arithmetic is kept as one look-up table: the same
probabilities (tested to 1e-9), several times faster, and serving needs no scikit-learn.

Sources: Maas et al. 2011 (the IMDb benchmark), Wang & Manning 2012 (word pairs for sentiment).
"""

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log, sqrt
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

Label = Literal["negative", "positive"]

MAX_CHARACTERS = 20_000  # of a text that the service takes
_PIECE = 256  # characters
_WORD = re.compile(r"\w+|[!?]")  # exclamation and question marks carry sentiment, other punctuation does not
_FORMAT = 1  # of to_bytes(); raise it when the stored arrays change


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is chosen before fitting. docs/services/sentiment.md tells how the defaults were chosen.

    max_features   keep at most this many terms, the most frequent ones
    ngram_max      longest run of words that counts as one term
    min_df         a term must occur in at least this many training texts
    C              inverse strength of the L2 penalty; larger fits the training data more closely

    Raises ValueError when a value cannot work.
    """

    max_features: int = 200_000
    ngram_max: int = 2
    min_df: int = 2
    C: float = 4.0

    def __post_init__(self) -> None:
        for name in ("max_features", "ngram_max", "min_df"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.ngram_max > 5:
            raise ValueError(f"ngram_max must be at most 5, not {self.ngram_max}")
        if not 0 < self.C < float("inf"):
            raise ValueError(f"C must be a positive number, not {self.C}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How well the scores fit the true labels of a test set.

    accuracy   share of texts on the right side of 0.5
    auc        area under the ROC curve: chance that a positive text outscores a negative one
    log_loss   mean negative log-likelihood in nats; punishes confident mistakes
    """

    accuracy: float
    auc: float
    log_loss: float


class SentimentModel:
    """A fitted model. Immutable; safe to share between threads."""

    def __init__(self, *, terms: Mapping[str, tuple[float, float]], intercept: float, ngram_max: int) -> None:
        """Take what fitting found.

        terms       term -> (inverse document frequency, coefficient of the regression)
        intercept   of the regression, in logits
        """
        self._terms = terms
        self._intercept = intercept
        self._ngram_max = ngram_max

    @property
    def n_terms(self) -> int:
        """Number of terms that have a weight."""
        return len(self._terms)

    def score(self, text: str) -> float:
        """Probability in [0, 1] that `text` is positive. A text without known terms gets the prior."""
        dot = norm = 0.0
        look_up = self._terms.get
        for term, count in Counter(features(text, ngram_max=self._ngram_max)).items():
            if known := look_up(term):
                idf, coefficient = known
                value = idf if count == 1 else idf * (1.0 + log(count))
                dot += value * coefficient
                norm += value * value
        return _logistic(self._intercept + (dot / sqrt(norm) if norm else 0.0))

    def scores(self, texts: Sequence[str]) -> list[float]:
        """`score` of each text, in order."""
        return [self.score(text) for text in texts]

    def to_bytes(self) -> bytes:
        """The model as a compressed NumPy archive. Loading it runs no code, unlike a pickle."""
        values = np.array(list(self._terms.values()), dtype=np.float64).reshape(-1, 2)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            format=_FORMAT,
            terms=np.frombuffer("\n".join(self._terms).encode(), dtype=np.uint8),
            idf=values[:, 0],
            coefficient=values[:, 1],
            intercept=self._intercept,
            ngram_max=self._ngram_max,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "SentimentModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        if not data.startswith(b"PK"):  # NumPy would suggest to unpickle it
            raise ValueError("this is not a stored sentiment model: it is no NumPy archive")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                return cls._from_arrays(stored)
        except (OSError, EOFError, KeyError, UnicodeDecodeError, BadZipFile) as error:
            raise ValueError(f"this is not a stored sentiment model: {error}") from error

    @classmethod
    def _from_arrays(cls, stored: Mapping[str, Any]) -> "SentimentModel":
        if int(stored["format"]) != _FORMAT:
            raise ValueError(f"this model has format {stored['format']}; this code reads {_FORMAT}: train again")
        terms = stored["terms"].tobytes().decode().split("\n")
        values = zip(stored["idf"].tolist(), stored["coefficient"].tolist(), strict=True)
        return cls(
            terms=dict(zip(terms, values, strict=True)),
            intercept=float(stored["intercept"]),
            ngram_max=int(stored["ngram_max"]),
        )


def features(text: str, *, ngram_max: int) -> list[str]:
    """The terms of a text: lower-case words without accents, then runs of 2..ngram_max of them."""
    words = _WORD.findall(_plain(text))
    terms = list(words)
    for length in range(2, ngram_max + 1):
        terms += map(" ".join, zip(*(words[start:] for start in range(length)), strict=False))
    return terms


def fit(texts: Sequence[str], positive: Sequence[bool], parameters: Parameters) -> SentimentModel:
    """Fit on n texts and their n labels. Deterministic.

    Raises ValueError when only one class is present or when no term is frequent enough.
    """
    vectorizer, regression = fit_estimators(texts, positive, parameters)
    names = vectorizer.get_feature_names_out().tolist()
    values = zip(vectorizer.idf_.tolist(), regression.coef_[0].tolist(), strict=True)
    return SentimentModel(
        terms=dict(zip(names, values, strict=True)),
        intercept=float(regression.intercept_[0]),
        ngram_max=parameters.ngram_max,
    )


def fit_estimators(texts: Sequence[str], positive: Sequence[bool], parameters: Parameters) -> tuple[Any, Any]:
    """The fitted scikit-learn pair (TfidfVectorizer, LogisticRegression) behind `fit`."""
    # Imported here: serving imports this module and has no scikit-learn.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(
        analyzer=partial(features, ngram_max=parameters.ngram_max),
        max_features=parameters.max_features,
        min_df=parameters.min_df,
        sublinear_tf=True,
    )
    regression = LogisticRegression(C=parameters.C, max_iter=500)
    regression.fit(vectorizer.fit_transform(texts), np.asarray(positive, dtype=bool))
    return vectorizer, regression


def predict(score: float) -> Label:
    """The label that a probability of being positive stands for."""
    return "positive" if score >= 0.5 else "negative"


def evaluate(model: SentimentModel, texts: Sequence[str], positive: Sequence[bool]) -> Metrics:
    """Score n texts and compare with their n true labels; both classes must occur."""
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    scores = np.array(model.scores(texts))
    return Metrics(
        accuracy=float(accuracy_score(positive, scores >= 0.5)),
        auc=float(roc_auc_score(positive, scores)),
        log_loss=float(log_loss(positive, scores)),
    )


def _plain(text: str) -> str:
    """Lower case, without accents (é -> e), and cut where that makes it longer than the longest text may be."""
    if text.isascii():  # most English texts; six times faster
        return text.lower()
    lower, limit = text.lower(), max(len(text), MAX_CHARACTERS)  # a character may become eighteen
    # In pieces, because accents are put in order by a sort that takes the square of how many follow each other. The
    # result is that of the whole: characters are decomposed one by one, and the accents are left out.
    plain = ""
    for start in range(0, len(lower), _PIECE):
        decomposed = unicodedata.normalize("NFKD", lower[start : start + _PIECE])
        plain += "".join(c for c in decomposed if not unicodedata.combining(c))
        if len(plain) > limit:
            break
    return plain[:limit]


def _logistic(logit: float) -> float:
    # Two forms, because exp() overflows for large arguments.
    if logit >= 0:
        return 1.0 / (1.0 + exp(-logit))
    return exp(logit) / (1.0 + exp(logit))
