"""How many requests a second one core of the generator sustains, before the gate itself says that it is too much.

`noren.gates.trust` refuses a measurement in which the generator was busy for more than three quarters of its core, or
late. So no number here needs to be believed: the first rate beyond it ends INVALID, and that is counted too.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from benchmarks.gate.duets import judged
from benchmarks.gate.ledger import Run
from benchmarks.gate.scenarios import QUICK, Ramp
from benchmarks.gate.serving import Placement, echo, serving
from noren.domain.deployment import Margins, Slo
from noren.gates import standalone
from noren.gates.duet import read_measured, read_plan
from noren.gates.trust import distrust

RATES = (50, 100, 150, 200, 300, 400, 500, 600, 800, 1000, 1200, 1600, 2000, 2400, 3200)
STEP_S = 8.0
_WARM_UP_S = 1.0
_OF_THE_GENERATOR = "the load generator"  # how trust.py begins to say that it is at fault
# Nothing is decided before a step is over: no number of answers proves an error rate of one in a million, and equal
# arms do not differ by a factor of ten.
_UNDECIDABLE = Slo(error_rate=1e-6)
_WIDE = Margins(p50=9, p95=9, p99=9, errors=1)


def run(ramp: Ramp, where: Placement) -> Run:
    """Ask ever faster, until a step is not trusted."""
    steps: list[Run] = []
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(echo(), where)) for _ in range(ramp.arms)]
        for rate in RATES:
            steps.append(_step(ramp, urls, rate))
            print(f"{ramp.name}: {_words(steps[-1])}", flush=True)
            if steps[-1]["distrust"] or steps[-1]["outcome"] in ("FAIL", "INVALID"):
                break
    return {"scenario": ramp.name, "steps": steps}


def sustained(steps: Sequence[Run]) -> int:
    """The highest rate that was trusted; 0 when none was."""
    return max((step["rate"] for step in steps if _trusted(step)), default=0)


def refused(steps: Sequence[Run]) -> bool:
    """Whether the next rate ended INVALID, and because of the generator."""
    last = steps[-1]
    return bool(last["outcome"] == "INVALID" and (last["distrust"] or "").startswith(_OF_THE_GENERATOR))


def _trusted(step: Run) -> bool:
    return not step["distrust"] and step["outcome"] not in ("FAIL", "INVALID")


def _step(ramp: Ramp, urls: Sequence[str], rate: int) -> Run:
    gate = replace(
        QUICK,
        rate=float(rate),
        warmup=timedelta(seconds=_WARM_UP_S),
        duration=timedelta(seconds=STEP_S),
        margins=_WIDE,
    )
    question = standalone.Question(
        candidate=urls[0],
        baseline=urls[1] if ramp.arms == 2 else None,
        locustfile=Path(__file__).with_name(ramp.users),
        gate=gate,
        slo=_UNDECIDABLE,
    )
    with tempfile.TemporaryDirectory(prefix="noren-gate-") as name:
        folder = Path(name)
        verdict = judged(question, folder)
        measured, plan = read_measured(folder), read_plan(folder)
    if measured is None:
        raise SystemExit(f"the generator did not begin: {verdict.reason}")
    arms = {name: samples.until(STEP_S) for name, samples in measured.arms.items()}
    return {
        "rate": rate,
        "outcome": verdict.outcome.value,
        "distrust": distrust(measured, plan, arms),
        "cpu": measured.generator_cpu,
        "lag_ms": measured.dispatch_lag_p99_ms,
    }


def _words(step: Run) -> str:
    said = step["distrust"] or "trusted"
    return f"{step['rate']}/s: {step['cpu']:.0%} of a core, {step['lag_ms']:.1f} ms late: {step['outcome']}, {said}"
