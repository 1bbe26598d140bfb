"""The blur model: measures that fall with blur, and scores that are those of the fitted scikit-learn pair."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.blur import LAPLACIAN, MEASURES, BlurModel, Parameters, best_threshold, evaluate, fit, measure
from models.pictures import Grey
from models.probability import Floats, Truths


def scene(seed: int) -> Grey:
    """Discs and squares of all tones, one above the other."""
    chance = np.random.default_rng(seed)
    grey = np.full((300, 400), 128, dtype=np.uint8)
    for _ in range(150):
        x, y, size = (int(chance.integers(high)) for high in (400, 300, 40))
        tone = int(chance.integers(256))
        if chance.random() < 0.5:
            cv2.circle(grey, (x, y), size + 2, tone, -1)
        else:
            cv2.rectangle(grey, (x, y), (x + size, y + size), tone, -1)
    return grey


def defocused(grey: Grey, radius: float) -> Grey:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), radius), dtype=np.uint8)


def moved(grey: Grey, length: int) -> Grey:
    return np.asarray(cv2.blur(grey, (length, 1)), dtype=np.uint8)


def rows_of(images: list[Grey], measures: tuple[str, ...] = MEASURES) -> Floats:
    return np.array([[measured[name] for name in measures] for measured in map(measure, images)])


@pytest.fixture(scope="module")
def samples() -> tuple[Floats, Truths]:
    scenes = [scene(seed) for seed in range(20)]
    out_of_focus = [defocused(grey, 1.5 + number / 5) for number, grey in enumerate(scenes[:10])]
    shaken = [moved(grey, 9 + number) for number, grey in enumerate(scenes[10:])]
    images = [*scenes, *out_of_focus, *shaken]
    return rows_of(images), np.arange(40) >= 20


@pytest.fixture(scope="module")
def model(samples: tuple[Floats, Truths]) -> BlurModel:
    return fit(*samples, Parameters())


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in ("laplacian_max", "contrast")])
@pytest.mark.parametrize("seed", range(3))
def test_a_measure_falls_with_blur(name: str, seed: int) -> None:
    found = [measure(defocused(scene(seed), radius))[name] for radius in (0.6, 1, 2, 4)]

    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_blur_of_one_direction_is_noticed() -> None:
    assert measure(moved(scene(1), 15))["reblur"] < 0.6 * measure(scene(1))["reblur"]


def test_a_dim_photo_is_as_sharp_as_a_bright_one() -> None:
    bright = scene(1)
    dim = (64 + bright // 2).astype(np.uint8)
    one, other = measure(bright), measure(dim)

    assert other["reblur"] == pytest.approx(one["reblur"], rel=0.03)
    assert other["laplacian_variance"] / other["contrast"] == pytest.approx(
        one["laplacian_variance"] / one["contrast"], rel=0.05
    )


def test_the_laplacian_is_measured_as_in_the_tables_of_certh() -> None:
    grey = scene(1)
    laplacian = cv2.Laplacian(grey / 255.0, cv2.CV_64F)
    found = measure(grey)

    assert found["laplacian_variance"] == pytest.approx(laplacian.var(), rel=1e-5)
    assert found["laplacian_max"] == pytest.approx(laplacian.max(), rel=1e-5)


def test_an_image_of_one_colour_is_judged_too(model: BlurModel) -> None:
    judged = model.judge(measure(np.full((40, 40), 77, dtype=np.uint8)))

    assert 0 <= judged.confidence <= 1
    assert np.isfinite(judged.sharpness)


@pytest.mark.parametrize("measures", [LAPLACIAN, MEASURES])
def test_scores_equal_those_of_scikit_learn(samples: tuple[Floats, Truths], measures: tuple[str, ...]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, blurred = samples
    rows = rows[:, [MEASURES.index(name) for name in measures]]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(np.log(rows), ~blurred)

    ours = fit(rows, blurred, Parameters(measures=measures)).sharpness(rows)

    assert ours == pytest.approx(pipeline.decision_function(np.log(rows)), abs=1e-6)


def test_nearly_all_scenes_that_it_has_not_seen_are_judged_right(model: BlurModel) -> None:
    scenes = [scene(seed) for seed in range(100, 110)]
    truth = [
        *((grey, False) for grey in scenes),
        *((defocused(grey, 3), True) for grey in scenes),
        *((moved(grey, 15), True) for grey in scenes),
    ]

    assert sum(model.judge(measure(grey)).blurred == blurred for grey, blurred in truth) >= 27


def test_blurred_is_below_the_threshold_and_confidence_is_of_the_verdict() -> None:
    model = BlurModel(measures=("tenengrad",), weights=(1.0,), intercept=0.0, threshold=-1.0)

    def judged(log_odds: float) -> tuple[bool, float]:
        found = model.judge({"tenengrad": float(np.exp(log_odds)), "contrast": 1.0})
        assert found.sharpness == pytest.approx(log_odds)
        return found.blurred, found.confidence

    assert judged(np.log(4)) == pytest.approx((False, 0.8))
    assert judged(-np.log(4)) == pytest.approx((True, 0.8))
    assert judged(-0.5) == pytest.approx((False, 1 / (1 + np.exp(0.5))))  # the threshold knows better than the odds


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=30))
def test_no_other_threshold_has_more_right_verdicts(values: list[tuple[int, bool]]) -> None:
    sharpness = np.array([float(value) for value, _ in values])
    blurred = np.array([truth for _, truth in values])

    def right(cut: float) -> int:
        return int(np.sum((sharpness < cut) == blurred))

    assert right(best_threshold(sharpness, blurred)) == max(right(cut) for cut in np.arange(-6.5, 7))


def test_of_equally_good_thresholds_the_one_nearest_to_even_odds_is_taken() -> None:
    assert best_threshold(np.array([-3.0, -1.0, 2.0, 5.0]), np.array([True, False, True, False])) == -2.0


def test_a_model_that_learned_its_samples_scores_well(samples: tuple[Floats, Truths], model: BlurModel) -> None:
    rows, blurred = samples
    sharpness = model.sharpness(rows)

    metrics = evaluate(sharpness, sharpness < model.threshold, blurred)

    assert metrics.accuracy > 0.9
    assert metrics.auc > 0.95
    assert 0 <= metrics.calibration_error < 0.3


def test_fitting_twice_gives_the_same_bytes(samples: tuple[Floats, Truths], model: BlurModel) -> None:
    assert fit(*samples, Parameters()).to_bytes() == model.to_bytes()


def test_a_stored_model_is_the_same_model(model: BlurModel) -> None:
    assert BlurModel.from_bytes(model.to_bytes()) == model


GOOD = BlurModel(measures=LAPLACIAN, weights=(1.0, 2.0), intercept=3.0, threshold=0.5).to_bytes().decode()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "[]",
        "7",
        "\0\1",
        GOOD[: len(GOOD) // 2],
        GOOD.replace('"blur"', '"churn"'),
        GOOD.replace('"format": 2', '"format": 99'),
        GOOD.replace("600", "640"),
        GOOD.replace("laplacian_max", "beauty"),
        GOOD.replace("laplacian_max", "laplacian_variance"),
        GOOD.replace("2.0", "NaN"),
        GOOD.replace("2.0", '"x"'),
        GOOD.replace("2.0", "1.0, 2.0"),
        GOOD.replace('"threshold"', '"other"'),
    ],
)
def test_something_else_than_a_model_is_refused(damaged: str) -> None:
    assert damaged != GOOD
    with pytest.raises(ValueError, match="not a stored blur model"):
        BlurModel.from_bytes(damaged.encode())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"C": 0.0}, "C must be"),
        ({"C": float("nan")}, "C must be"),
        ({"measures": ()}, "measures must be"),
        ({"measures": ("beauty",)}, "beauty"),
        ({"measures": ("contrast", "contrast")}, "each once"),
    ],
)
def test_parameters_that_cannot_work_are_refused(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Parameters(**values)  # type: ignore[arg-type]


def test_serving_does_not_import_scikit_learn() -> None:
    check = "import sys, models.blur; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
