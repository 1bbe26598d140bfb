"""BentoML's own metric families, counted in plain Python and written to them twice a second.

prometheus_client's multi-process values ask the kernel for the process id, take a lock and write to a mapped
file at each of a request's seven changes. That costs more than the rest of this server; counting does not.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

from noren_serve import metric_files

OTHER = "(other)"  # whoever asks for ever new paths must not fill the memory with their names
_MAX_PATHS = 200
_EVERY_S = 0.5


class Tally:
    """Observations of one histogram since the last writing."""

    __slots__ = ("_bounds", "_child", "counts", "total")

    def __init__(self, child: Any) -> None:
        self._child, self._bounds = child, child._upper_bounds
        self.counts, self.total = [0] * len(self._bounds), 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def write(self) -> int:
        """Add what was counted to the histogram; returns how many that were."""
        counts, total = self.counts, self.total
        self.counts, self.total = [0] * len(counts), 0.0
        for bucket, count in zip(self._child._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._child._sum.inc(total)
        return sum(counts)


class Traffic:
    """Counts requests: total, duration, in progress, time of the last one."""

    def __init__(self, skip_paths: Sequence[str]) -> None:
        namespace = BentoMLContainer.api_server_config.metrics.namespace.get()
        self.families = RunnerTrafficMetricsMiddleware(app=_nothing, namespace=namespace, skip_paths=skip_paths)
        self.families._setup()
        self._skip = tuple(skip_paths)
        # A worker that counts on what another one has counted has no more room for new paths than that one had.
        self._in_progress = dict.fromkeys(metric_files.endpoints(), 0)
        self._ends: dict[tuple[str, int], tuple[Tally, Any]] = {}  # path, status -> durations, counter
        self._last = 0.0
        self.batches: list[BatchMetrics] = []  # written together with these
        self._due = False

    def begin(self, path: str) -> str:
        """A request has come; returns the name under which it is counted."""
        if path not in self._in_progress:
            path = self._new(path)
        self._in_progress[path] += 1
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_EVERY_S, self.write)
        return path

    def end(self, name: str, status: int, seconds: float) -> None:
        """It was answered."""
        self._in_progress[name] -= 1
        (self._ends.get((name, status)) or self._end(name, status))[0].observe(seconds)
        if not name.startswith(self._skip):
            self._last = time.time()

    def write(self) -> None:
        """Write to the families what was counted since the last time."""
        self._due = False
        for durations, counter in self._ends.values():
            if count := durations.write():
                counter.inc(count)
        for name, count in self._in_progress.items():
            self.families.metrics_request_in_progress.labels(endpoint=name, **_labels()).set(count)
            if count and not self._due:  # still open: look again
                self._due = True
                asyncio.get_running_loop().call_later(_EVERY_S, self.write)
        for batch in self.batches:
            batch.write()
        if self._last:
            self.families.metrics_last_request_timestamp.labels(**_labels()).set(self._last)

    def _new(self, path: str) -> str:
        known = len(self._in_progress) < _MAX_PATHS or path in server_context.service_routes
        name = path if known else OTHER
        self._in_progress.setdefault(name, 0)
        return name

    def _end(self, name: str, status: int) -> tuple[Tally, Any]:
        labels = {"endpoint": name, "http_response_code": status, **_labels()}
        durations = Tally(self.families.metrics_request_duration.labels(**labels))
        entry = self._ends[name, status] = durations, self.families.metrics_request_total.labels(**labels)
        return entry


class BatchMetrics:
    """Size of the batches of one method, how long their oldest request waited, and how many were refused."""

    def __init__(self, sizes: Any, waits: Any, refused: Any, method: str) -> None:
        labels = {
            "method_name": method,
            "service_name": server_context.bento_name,
            "service_version": server_context.bento_version,
        }
        of_worker = {"runner_name": server_context.service_name, "worker_index": server_context.worker_index}
        self._sizes, self._waits = Tally(sizes.labels(**of_worker, **labels)), Tally(waits.labels(**labels))
        self._refused, self._refusals = refused.labels(**labels), 0

    def observe(self, rows: int, waited_s: float) -> None:
        """Note one batch."""
        self._sizes.observe(rows)
        self._waits.observe(waited_s)

    def refuse(self) -> None:
        """Note one request that was refused."""
        self._refusals += 1

    def write(self) -> None:
        """Write to the families what was counted since the last time."""
        self._sizes.write()
        self._waits.write()
        refusals, self._refusals = self._refusals, 0
        self._refused.inc(refusals)


def batch_families() -> tuple[Any, Any]:
    """The families that BentoML does not have: queue time, requests refused because they would be late."""
    client = BentoMLContainer.metrics_client.get()
    labels = ["service_name", "service_version", "method_name"]
    waits = client.Histogram(
        namespace="bentoml_service",
        name="adaptive_batch_queue_seconds",
        documentation="How long the oldest request of a batch waited for it",
        labelnames=labels,
        buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    )
    refused = client.Counter(
        namespace="bentoml_service",
        name="adaptive_batch_refused",
        documentation="Requests answered 503 at once because they would have been late",
        labelnames=labels,
    )
    return waits, refused


def _labels() -> dict[str, Any]:
    return {
        "service_name": server_context.bento_name,
        "service_version": server_context.bento_version,
        "runner_name": server_context.service_name,
    }


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError  # only the families of the middleware are wanted
