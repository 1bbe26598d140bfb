"""Probabilities that mean what they say: calibrated, cut where mistakes cost least, and measured.

Calibrated: of all rows that get 0.3, three in ten are positive. Sources: Platt 1999 (the line), Lin, Lin & Weng 2007
(why his targets are not quite 0 and 1), Elkan 2001 (thresholds from costs), Naeini et al. 2015 (calibration error),
Kumar, Liang & Ma 2019 (what chance adds to it, taken off).
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

BINS = 10  # of the calibration errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Calibrated log-odds are slope * margin + offset: a line, so that what adds up to a margin still adds up."""

    slope: float
    offset: float

    def __call__(self, margins: Floats) -> Floats:
        """The calibrated log-odds."""
        return self.slope * margins + self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How well the probabilities of being positive fit the truth of held-out rows.

    auc                              chance that a positive row gets more than a negative one
    accuracy, f1, precision, recall  of "positive from the threshold on"
    log_loss                         mean negative log-likelihood in nats
    brier                            mean squared error
    calibration_error                mean distance of probability from share of positives, over bins of equal width
    calibration_by_chance            what the calibration error is expected to be if every probability is exactly right,
                                     because so many rows never match theirs exactly
    calibration_error_debiased       root mean squared distance of probability from share of positives, without what
                                     chance adds
    """

    auc: float
    accuracy: float
    f1: float
    precision: float
    recall: float
    log_loss: float
    brier: float
    calibration_error: float
    calibration_by_chance: float
    calibration_error_debiased: float


def logistic(log_odds: Floats) -> Floats:
    """The probabilities of log-odds. Never overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * log_odds)


def platt(margins: Floats, positive: Truths) -> Line:
    """The line that turns margins into log-odds. They must be margins of rows that the model has not seen.

    His targets, a little inside of 0 and 1, keep the slope finite where the margins separate the classes.
    """
    from scipy.optimize import minimize  # here: serving has no SciPy

    positives = int(positive.sum())
    targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (len(positive) - positives + 2))

    def loss(line: Floats) -> tuple[float, Floats]:
        log_odds = line[0] * margins + line[1]
        error = logistic(log_odds) - targets
        value = np.mean(np.logaddexp(0, log_odds) - targets * log_odds)
        return float(value), np.array([np.mean(error * margins), np.mean(error)])

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return Line(slope=float(slope), offset=float(offset))


def threshold_by_cost(probabilities: Floats, positive: Truths, *, missed: float) -> float:
    """From where on to act, in hundredths, when a missed positive costs `missed` and a needless act costs 1.

    For exact probabilities it is 1 / (1 + missed). Where several are as cheap on these rows, it is the nearest to that.
    """
    exact = 1 / (1 + missed)

    def cost(threshold: float) -> tuple[float, float]:
        acts = probabilities >= threshold
        return float(np.sum(acts & ~positive) + missed * np.sum(~acts & positive)), abs(threshold - exact)

    return min((step / 100 for step in range(1, 100)), key=cost)


def calibration_error(probabilities: Floats, positive: Truths) -> float:
    """Expected calibration error: of each bin |sum of probabilities - number of positives|, together per row."""
    gaps = np.bincount(_bins(probabilities), probabilities - positive, BINS)
    return float(np.abs(gaps).sum() / len(probabilities))


def calibration_by_chance(probabilities: Floats) -> float:
    """The calibration error of exact probabilities: a bin's gap is then normal, and E|N(0, s)| = s sqrt(2 / pi)."""
    variances = np.bincount(_bins(probabilities), probabilities * (1 - probabilities), BINS)
    return float(sqrt(2 / pi) * np.sqrt(variances).sum() / len(probabilities))


def calibration_error_debiased(probabilities: Floats, positive: Truths) -> float:
    """The debiased estimate of Kumar, Liang & Ma (2019) over bins of equally many rows; 0 where chance explains all.

    Of few rows the plain error tells mostly how few they are. A gap's square is expected to be too large by the
    variance of the bin's share, which is estimated and taken off. As a root mean square it is, but for that, never
    less than the mean distance over the same bins.
    """
    bins = np.array_split(np.argsort(probabilities, kind="stable"), max(1, min(BINS, len(probabilities) // 2)))
    squares = 0.0
    for rows in bins:
        share = positive[rows].mean()
        gap = probabilities[rows].mean() - share
        squares += len(rows) * (gap**2 - share * (1 - share) / (len(rows) - 1))
    return float(sqrt(max(0.0, squares / len(probabilities))))


def _bins(probabilities: Floats) -> npt.NDArray[np.intp]:
    return np.minimum((probabilities * BINS).astype(np.intp), BINS - 1)


def evaluate(probabilities: Floats, positive: Truths, *, threshold: float) -> Metrics:
    """Compare the probabilities of n rows with their truth; both classes must occur."""
    from sklearn import metrics

    truth, acts = positive.astype(int), (probabilities >= threshold).astype(int)
    return Metrics(
        auc=float(metrics.roc_auc_score(truth, probabilities)),
        accuracy=float(np.mean(truth == acts)),
        f1=float(metrics.f1_score(truth, acts, zero_division=0.0)),
        precision=float(metrics.precision_score(truth, acts, zero_division=0.0)),
        recall=float(metrics.recall_score(truth, acts, zero_division=0.0)),
        log_loss=float(metrics.log_loss(truth, probabilities)),
        brier=float(np.mean((probabilities - truth) ** 2)),
        calibration_error=calibration_error(probabilities, positive),
        calibration_by_chance=calibration_by_chance(probabilities),
        calibration_error_debiased=calibration_error_debiased(probabilities, positive),
    )
