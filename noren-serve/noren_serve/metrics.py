"""BentoML's own metric families, with their labelled children looked up once instead of for each request."""

from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware

_MAX_PATHS = 200
OTHER = "(other)"  # whoever asks for ever new paths must not fill the memory with their names


class Traffic:
    """Counts requests: total, duration, in progress, time of the last one."""

    def __init__(self, skip_paths: list[str]) -> None:
        namespace = BentoMLContainer.api_server_config.metrics.namespace.get()
        self.families = RunnerTrafficMetricsMiddleware(app=_nothing, namespace=namespace, skip_paths=skip_paths)
        self.families._setup()
        self._skip = tuple(skip_paths)
        self._paths: dict[str, tuple[Any, Any]] = {}  # path -> gauge in progress, gauge of the last request
        self._ends: dict[tuple[str, int], tuple[Any, Any]] = {}  # path, status -> counter, histogram

    def begin(self, path: str) -> None:
        """A request has come."""
        in_progress, last = self._paths.get(path) or self._path(path)
        in_progress.inc()
        if last is not None:
            last.set_to_current_time()

    def end(self, path: str, status: int, seconds: float) -> None:
        """It was answered."""
        self._paths[path if path in self._paths else OTHER][0].dec()
        total, duration = self._ends.get((path, status)) or self._end(path, status)
        total.inc()
        duration.observe(seconds)

    def _path(self, path: str) -> tuple[Any, Any]:
        if path != OTHER and len(self._paths) >= _MAX_PATHS:
            return self._paths.get(OTHER) or self._path(OTHER)
        last = None
        if not path.startswith(self._skip):
            last = self.families.metrics_last_request_timestamp.labels(**_labels())
        children = self.families.metrics_request_in_progress.labels(endpoint=path, **_labels()), last
        self._paths[path] = children
        return children

    def _end(self, path: str, status: int) -> tuple[Any, Any]:
        if path not in self._paths and path != OTHER:
            return self._ends.get((OTHER, status)) or self._end(OTHER, status)
        labels = {"endpoint": path, "http_response_code": status, **_labels()}
        children = (
            self.families.metrics_request_total.labels(**labels),
            self.families.metrics_request_duration.labels(**labels),
        )
        self._ends[path, status] = children
        return children


class BatchMetrics:
    """Size of the batches of one method, how long their oldest request waited, and how many were refused."""

    def __init__(self, sizes: Any, waits: Any, refused: Any, method: str) -> None:
        labels = {"method_name": method, "service_version": server_context.bento_version}
        self._size = sizes.labels(
            runner_name=server_context.service_name,
            worker_index=server_context.worker_index,
            service_name=server_context.bento_name,
            **labels,
        )
        self._wait = waits.labels(service_name=server_context.bento_name, **labels)
        self.refused = refused.labels(service_name=server_context.bento_name, **labels)

    def observe(self, rows: int, waited_s: float, took_s: float) -> None:  # noqa: ARG002  the batcher tells all
        """Note one batch."""
        self._size.observe(rows)
        self._wait.observe(waited_s)


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
    raise NotImplementedError
