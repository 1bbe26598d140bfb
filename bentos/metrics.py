"""What every service counts; shown at /metrics beside the server's own figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

_OUTCOMES = ("hit", "shared", "miss")
_made: dict[str, Any] = {}  # metric by name, in this process


class ServiceMetrics:
    """Prometheus metrics of one worker process, all of them named `<service>_...`.

    Create it inside the service: the server sets up the multi-process mode of prometheus-client first. A service that
    is made twice in a process goes on counting in the same metrics.
    """

    def __init__(self, service: str, *, model_version: str) -> None:
        from prometheus_client import Counter, Gauge

        self._service = service
        answers = _once(Counter, f"{service}_cache", "Answers by where they came from.", ["outcome"])
        self._cache = {outcome: answers.labels(outcome) for outcome in _OUTCOMES}
        self._dropped = _once(
            Counter, f"{service}_inference_log_dropped", "Records of the inference log that were lost."
        )
        # Not an Info: that type does not exist in multi-process mode.
        info = _once(Gauge, f"{service}_model_info", "Always 1; the label tells.", ["version"], multiprocess_mode="max")
        info.labels(model_version).set(1)

    def histogram(self, name: str, text: str, edges: Sequence[float]) -> "Histogram":
        """A distribution of predictions or inputs: its `observe(value)` counts one."""
        from prometheus_client import Histogram

        made: Histogram = _once(Histogram, f"{self._service}_{name}", text, buckets=list(edges))
        return made

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> "Counter":
        """A count, by label."""
        from prometheus_client import Counter

        made: Counter = _once(Counter, f"{self._service}_{name}", text, list(labels))
        return made

    def cache(self, outcome: str) -> None:
        """Count an answer that was a "hit", "shared" or a "miss"."""
        self._cache[outcome].inc()

    def dropped(self, count: int) -> None:
        """Count lost records of the inference log."""
        self._dropped.inc(count)


def _once(kind: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """The metric of this name; prometheus-client refuses to make it again."""
    if name not in _made:
        _made[name] = kind(name, *arguments, **options)
    return _made[name]
