"""What others would say of the same measurement."""

import numpy as np
from scipy import stats

from noren.gates.duet import Measured
from noren.gates.judgement import blocks, cut


def ratio_of_p99(measured: Measured, duration_s: float) -> bool:
    """Whether "p99 more than 10 % slower" fails it, as a script around Locust's statistics would."""
    green, blue = (measured.arms[name].until(duration_s).quantile_ms(0.99) for name in ("green", "blue"))
    return bool(green > 1.1 * blue)


def mann_whitney(measured: Measured, duration_s: float) -> bool:
    """Whether Kayenta's rule fails it: Mann-Whitney on the p99 of each block, 98 %, tolerance a quarter of the shift.

    Kayenta's MannWhitney.scala and MannWhitneyClassifier: "High" when the interval of the location shift lies above
    0.25 times the estimate.
    """
    parts = blocks(duration_s)
    green, blue = (
        [float(np.quantile(b, 0.99)) for b in cut(measured.arms[name].until(duration_s), duration_s, parts) if b.size]
        for name in ("green", "blue")
    )
    shifts = np.sort(np.subtract.outer(green, blue).ravel())
    count = len(green) * len(blue)
    spread = np.sqrt(count * (len(green) + len(blue) + 1) / 12)
    outside = max(0, int(np.floor(count / 2 + stats.norm.ppf(0.01) * spread)))
    return bool(shifts[outside] > 0.25 * abs(float(np.median(shifts))))
