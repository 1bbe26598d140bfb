"""The quality check: is green's model as good as blue's, by the metric that training stored with each?"""

from collections.abc import Mapping

from noren.control.ports import GateRun
from noren.domain.deployment import QualityGate
from noren.domain.verdict import Check, Outcome

_NAME = "quality"


def check(run: GateRun, asked: QualityGate) -> Check:
    """Hold green's metric against blue's. What is not stored is not guessed: HOLD."""
    green = _find(run.metrics.get("green", {}), asked)
    if isinstance(green, str):
        return _hold(f"{run.green.bento} {green}")
    figures = {"green": green, "margin": asked.margin}
    if run.blue is None:
        detail = f"{asked.metric} {green:.4g}; there is no blue to compare with"
        return Check(name=_NAME, outcome=Outcome.PASS, detail=detail, figures=figures)
    blue = _find(run.metrics.get("blue", {}), asked)
    if isinstance(blue, str):
        return _hold(f"{run.blue.bento} {blue}")
    worse = (blue - green) if asked.higher_is_better else (green - blue)
    detail = f"{asked.metric} {green:.4g} against blue's {blue:.4g} (at most {asked.margin:g} worse)"
    outcome = Outcome.FAIL if worse > asked.margin else Outcome.PASS
    return Check(name=_NAME, outcome=outcome, detail=detail, figures={**figures, "blue": blue, "worse": worse})


def _find(metrics: Mapping[str, Mapping[str, float]], asked: QualityGate) -> float | str:
    """The value, or why there is none. `metrics`: model -> metric -> value."""
    models = {name: found for name, found in metrics.items() if asked.model in (None, name)}
    having = [name for name, found in models.items() if asked.metric in found]
    if len(having) == 1:
        return models[having[0]][asked.metric]
    if having:
        return f"has {asked.metric!r} in several models ({', '.join(sorted(having))}): say which by gates.quality.model"
    known = sorted({metric for found in models.values() for metric in found})
    where = f"the model {asked.model!r}" if asked.model else "a model"
    return f"has no metric {asked.metric!r} stored with {where} (there are: {', '.join(known) or 'none'})"


def _hold(why: str) -> Check:
    return Check(name=_NAME, outcome=Outcome.HOLD, detail=f"{why}; train it again, or leave gates.quality out")
