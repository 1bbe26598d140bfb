"""Is a photo blurred? Focus measures of a small grey copy, and a logistic regression on their logarithms.

In logarithms a ratio of two measures is a difference, so that the regression itself finds what to normalise by what:
the variance of the Laplacian by that of the light, say, or by its own at half the size. It has a handful of weights,
so NumPy scores it, and serving needs no scikit-learn.

Sources: Pech-Pacheco et al. 2000 (variance of the Laplacian), Krotkov 1988 (Tenengrad), Crete et al. 2007 (blurring
once more), Pertuz et al. 2013 (what such measures are worth), Mavridaki & Mezaris 2014 (the CERTH photos).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.pictures import Grey
from models.probability import Floats, Truths, calibration_error, logistic

LONG_SIDE = 600  # pixels; CERTH's features, too, come from images of 600 x 400

# What the CERTH features are: tables of them exist where the photos do not.
LAPLACIAN = ("laplacian_variance", "laplacian_max")
MEASURES = (*LAPLACIAN, "laplacian_variance_half", "tenengrad", "contrast", "reblur")

_GRAIN = 1.0  # pixels, the standard deviation of what smooths it
_FLOOR = 1e-6  # an image of one colour measures 0, which has no logarithm; photos measure 1e-4 and more
_FORMAT = 2  # of to_bytes(); raise it when what is stored, or what a measure means, changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is chosen before fitting.

    measures   which ones the regression sees
    C          inverse strength of the L2 penalty on the weights of the standardised logarithms

    Raises ValueError when a value cannot work.
    """

    measures: tuple[str, ...] = MEASURES
    C: float = 1.0

    def __post_init__(self) -> None:
        _see_known(self.measures)
        if not 0 < self.C < float("inf"):
            raise ValueError(f"C must be a positive number, not {self.C}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the model thinks of one photo.

    sharpness    log-odds of being sharp: higher is sharper, and it is blurred below the model's threshold
    confidence   probability that the verdict is right
    """

    blurred: bool
    sharpness: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How well n judgements fit the truth.

    accuracy            share of right verdicts
    auc                 chance that a sharp photo is sharper than a blurred one
    log_loss            mean negative log-likelihood in nats; punishes confident mistakes
    calibration_error   mean distance of the probability from the share of sharp photos, over ten bins
    """

    accuracy: float
    auc: float
    log_loss: float
    calibration_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlurModel:
    """A fitted model. Immutable; safe to share between threads.

    measures    which ones it uses, and so which tables it can be trained on
    weights     of the logarithm of each
    threshold   sharpness below it is blurred

    Raises ValueError when they do not fit together.
    """

    measures: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    threshold: float

    def __post_init__(self) -> None:
        _see_known(self.measures)
        numbers = (*self.weights, self.intercept, self.threshold)
        if len(self.weights) != len(self.measures) or not np.isfinite(numbers).all():
            raise ValueError("it takes one finite weight for each measure, and a finite intercept and threshold")

    def judge(self, measured: Mapping[str, float]) -> Judgement:
        """The verdict on what `measure` found in a photo."""
        (sharpness,) = self.sharpness(np.array([[measured[name] for name in self.measures]])).tolist()
        blurred = sharpness < self.threshold
        (confidence,) = logistic(np.array([-sharpness if blurred else sharpness])).tolist()
        return Judgement(blurred=blurred, sharpness=sharpness, confidence=confidence)

    def sharpness(self, rows: Floats) -> Floats:
        """Log-odds of being sharp, of n rows of this model's measures [n, F]: [n]."""
        found: Floats = logarithms(rows) @ np.array(self.weights) + self.intercept
        return found

    def to_bytes(self) -> bytes:
        """The model as JSON: a few numbers that anyone may read."""
        stored = {"kind": "blur", "format": _FORMAT, "long_side": LONG_SIDE, **asdict(self)}
        return json.dumps(stored, indent=2).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "BlurModel":
        """The inverse of `to_bytes`. Raises ValueError when `data` is something else."""
        try:
            stored: dict[str, Any] = json.loads(data)
            known = stored["kind"], stored["format"], stored["long_side"]
            model = cls(
                measures=tuple(stored["measures"]),
                weights=tuple(float(weight) for weight in stored["weights"]),
                intercept=float(stored["intercept"]),
                threshold=float(stored["threshold"]),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is not a stored blur model: {error}") from error
        if known != ("blur", _FORMAT, LONG_SIDE):
            raise ValueError(f"this is not a stored blur model that this code reads ({known}): train again")
        return model


def measure(grey: Grey) -> dict[str, float]:
    """Every one of MEASURES of a grey image [height, width], its sides no longer than LONG_SIDE; light is 0 to 1.

    laplacian_variance       how much the light bends from pixel to pixel (four neighbours)
    laplacian_max            where it bends most, towards the bright
    laplacian_variance_half  the first, at half the size: blur takes from the finest detail, and less from this
    tenengrad                mean squared gradient (Sobel)
    contrast                 variance of the light itself: fog and dusk are no blur
    reblur                   see _reblur
    """
    light: npt.NDArray[np.float32] = grey.astype(np.float32) / np.float32(255)
    laplacian = cv2.Laplacian(light, cv2.CV_32F)
    half = cv2.Laplacian(cv2.resize(light, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), cv2.CV_32F)
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    return {
        "laplacian_variance": _variance(laplacian),
        "laplacian_max": float(laplacian.max()),
        "laplacian_variance_half": _variance(half),
        "tenengrad": float(np.mean(across**2 + down**2, dtype=np.float64)),
        "contrast": _variance(light),
        "reblur": _reblur(light),
    }


def fit(rows: Floats, blurred: Truths, parameters: Parameters) -> BlurModel:
    """Fit on n rows of the parameters' measures [n, F] and their n labels. Deterministic.

    The threshold is that with the most right verdicts on these rows. Raises ValueError when only one class is present.
    """
    # Imported here: serving imports this module and has no scikit-learn.
    from sklearn.linear_model import LogisticRegression

    logs = logarithms(rows)
    centre, spread = logs.mean(axis=0), logs.std(axis=0)
    spread[spread == 0] = 1
    regression = LogisticRegression(C=parameters.C, max_iter=1_000)
    regression.fit((logs - centre) / spread, ~blurred)
    weights: Floats = regression.coef_[0] / spread
    model = BlurModel(
        measures=parameters.measures,
        weights=tuple(weights.tolist()),
        intercept=float(regression.intercept_[0] - weights @ centre),
        threshold=0.0,
    )
    return replace(model, threshold=best_threshold(model.sharpness(rows), blurred))


def best_threshold(sharpness: Floats, blurred: Truths) -> float:
    """Where to cut for the most right verdicts, blurred below; of several cuts the nearest to 0, which is even odds."""
    order = np.argsort(sharpness)
    values, truth = sharpness[order], blurred[order]
    # right[k]: right verdicts when the k least sharp ones are called blurred
    right = np.concatenate([[0], np.cumsum(truth)]) + np.concatenate([np.cumsum(~truth[::-1])[::-1], [0]])
    cuts = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    right[1:-1][values[:-1] == values[1:]] = -1  # nothing comes between equals
    best = cuts[right == right.max()]
    return float(best[np.argmin(np.abs(best))])


def evaluate(sharpness: Floats, verdicts: Truths, blurred: Truths) -> Metrics:
    """Compare n log-odds of being sharp and n verdicts (blurred) with the truth; both classes must occur."""
    from sklearn.metrics import log_loss, roc_auc_score

    probabilities = logistic(sharpness)
    return Metrics(
        accuracy=float(np.mean(verdicts == blurred)),
        auc=float(roc_auc_score(~blurred, sharpness)),
        log_loss=float(log_loss(~blurred, probabilities)),
        calibration_error=calibration_error(probabilities, ~blurred),
    )


def logarithms(rows: Floats) -> Floats:
    """Of measures; those of an image of one colour, which are 0, count as a very small one."""
    return np.log(np.maximum(rows, _FLOOR))


def _see_known(measures: Sequence[str]) -> None:
    if not measures or set(measures) - set(MEASURES) or len(set(measures)) < len(measures):
        known, given = ", ".join(MEASURES), ", ".join(measures) or "none"
        raise ValueError(f"measures must be some of {known}, each once, not {given}")


def _variance(values: npt.NDArray[Any]) -> float:
    return float(np.var(values, dtype=np.float64))


def _reblur(light: npt.NDArray[np.float32]) -> float:
    """Share of the differences between neighbours that a further blur takes away (Crete et al. 2007): little is left
    to take where it was blurred before. Of the two directions the one with less, because motion blurs only one. Grain
    is smoothed first, which a blurred photo may have, too, and which any blur takes away.
    """
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), _GRAIN), dtype=np.float32)
    shares = []
    for axis, box in ((0, (1, 9)), (1, (9, 1))):  # OpenCV wants the width first
        before = np.abs(np.diff(light, axis=axis))
        after = np.abs(np.diff(cv2.blur(light, box), axis=axis))
        if total := float(before.sum(dtype=np.float64)):
            shares.append(float(np.maximum(before - after, 0).sum(dtype=np.float64)) / total)
    return min(shares, default=0.0)
