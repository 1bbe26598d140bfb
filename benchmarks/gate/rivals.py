"""What others would say: of the same measurement, or of the same services by their own."""

import csv
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.gate.scenarios import QUICK
from noren.gates.duet import Measured
from noren.gates.judgement import blocks, cut

USER = Path(__file__).with_name("user.py")
MEAN_WAIT_S = 0.2  # of user.py between two requests
USERS = round(QUICK.rate * MEAN_WAIT_S)  # about the gate's rate, as long as answers are quick
SECONDS = round((QUICK.warmup + QUICK.duration).total_seconds() / 2)  # for each, so that both take as long as the gate
ALLOWED = 1.1


def ratio_of_p99(measured: Measured, duration_s: float) -> bool:
    """Whether "p99 more than 10 % slower" fails it, as a script around Locust's statistics would."""
    green, blue = (measured.arms[name].until(duration_s).quantile_ms(0.99) for name in ("green", "blue"))
    return bool(green > ALLOWED * blue)


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


def one_after_the_other(blue: str, green: str) -> bool:
    """Whether Locust's own p99 of green is more than 10 % above that of blue, measured before: a common CI script."""
    before_ms, after_ms = _by_locust(blue), _by_locust(green)
    return after_ms > ALLOWED * before_ms


def locust_argv(url: str, prefix: Path) -> list[str]:
    """Locust without its web page: users who ask, are answered, wait, and ask again."""
    load = ("--users", str(USERS), "--spawn-rate", str(USERS), "--run-time", f"{SECONDS}s")
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(USER), "--headless", "--host", url),
        *(*load, "--csv", str(prefix), "--exit-code-on-error", "0"),
    ]


def p99_ms(statistics: str) -> float:
    """Of all requests together, as Locust's *_stats.csv tells it. Raises LookupError when nobody was answered."""
    for row in csv.DictReader(io.StringIO(statistics)):
        if row["Name"] == "Aggregated" and row["99%"] != "N/A":
            return float(row["99%"])
    raise LookupError("Locust counted no request")


def _by_locust(url: str) -> float:
    with tempfile.TemporaryDirectory(prefix="noren-locust-") as folder:
        prefix = Path(folder) / "run"
        subprocess.run(locust_argv(url, prefix), check=True, capture_output=True, timeout=SECONDS + 60)
        return p99_ms(prefix.with_name("run_stats.csv").read_text())
