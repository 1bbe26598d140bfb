"""What is done, what is left, and how long it takes."""

import statistics
from collections.abc import Sequence

from benchmarks.gate import ramp, rivals
from benchmarks.gate.duets import PILOT_S
from benchmarks.gate.ledger import Run
from benchmarks.gate.scenarios import Experiment, Ramp

_START_S = 5.0  # two services and a generator, and the report of what they did
_USUAL_STEPS = 8  # of a ramp

Runs = Sequence[tuple[Experiment, Sequence[Run]]]


def overview(found: Runs) -> str:
    """A line for each experiment, and one for all."""
    lines = [
        f"{len(runs):3d} of {e.runs:3d} runs, {_minutes(e, runs):5.1f} minutes left  {e.name}" for e, runs in found
    ]
    return "\n".join([*lines, f"{minutes_left(found):.0f} minutes left in all"])


def minutes_left(found: Runs) -> float:
    """Of all of them together."""
    return sum(_minutes(experiment, runs) for experiment, runs in found)


def _minutes(experiment: Experiment, runs: Sequence[Run]) -> float:
    return sum(_expected_s(experiment, number, runs) for number in range(len(runs), experiment.runs)) / 60


def _expected_s(experiment: Experiment, number: int, runs: Sequence[Run]) -> float:
    """As the runs before took; before the first of them as long as it can take."""
    took = [run["took_s"] - _rival_s(experiment, before) for before, run in enumerate(runs) if "took_s" in run]
    alone_s = statistics.median(took) if took else _longest_s(experiment)
    return alone_s + _rival_s(experiment, number)


def _rival_s(experiment: Experiment, number: int) -> float:
    """Locust alone is asked after some of the runs only."""
    asked = not isinstance(experiment, Ramp) and number < experiment.sequential
    return 2 * (rivals.SECONDS + _START_S / 2) if asked else 0.0


def _longest_s(experiment: Experiment) -> float:
    if isinstance(experiment, Ramp):
        return _USUAL_STEPS * (ramp.STEP_S + _START_S)
    pilot_s = PILOT_S + _START_S if callable(experiment.injection) else 0.0
    return pilot_s + (experiment.gate.warmup + experiment.gate.duration).total_seconds() + _START_S
