"""The ASGI application of a service: the common requests by ourselves, everything else by BentoML's own code.

BentoML's application factory stays in charge of hooks, health checks, documentation, large files, streams,
tasks and mounted applications. Replaced are its middlewares (edge.py), its batching (batching.py), its
threads (threads.py) and, for JSON, forms and files that are not large, its endpoints (endpoint.py, form.py).
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from _bentoml_impl.server.app import ContextMiddleware, ServiceAppFactory
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import trace_context
from bentoml._internal.utils import get_original_func
from bentoml._internal.utils.uri import join_paths
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response

from noren_serve import body, lean
from noren_serve.access_log import AccessLog
from noren_serve.answers import retry_after
from noren_serve.batching import Batcher, Overloaded
from noren_serve.edge import Edge, Limits
from noren_serve.endpoint import Endpoint, Json, chosen, is_common, reads_json
from noren_serve.form import Form, Upload
from noren_serve.metrics import BatchMetrics, Traffic, batch_families
from noren_serve.rows import PayloadRows
from noren_serve.threads import Threads


class Application(ServiceAppFactory):
    """BentoML's application factory with quicker parts."""

    service: Any

    def __init__(self, service: Any, *, instance: Any = None) -> None:
        super().__init__(service, is_main=True)
        self._loaded = instance
        self._threads = Threads(int(service.config.get("threads") or 1))
        self.batchers: dict[str, Batcher] = {}
        self._traffic: Traffic | None = None
        self.log: AccessLog | None = None

    def asgi(self, *, max_body: int, max_concurrency: int, finished: Callable[[], None] | None = None) -> Any:
        """The whole application.

        max_body         bytes of a request's body; 0: no limit
        max_concurrency  requests in flight; 0: no limit
        finished         called after each request
        """
        access = BentoMLContainer.api_server_config.logging.access
        skip = [*access.skip_paths.get(), *self._health_paths()]
        traffic = self._traffic = Traffic(skip) if self.enable_metrics else None
        self.log = AccessLog(skip) if access.enabled.get() else None
        self._make_batchers()
        starlette = self()
        endpoints = self._endpoints(starlette)
        app: Any = starlette
        outer = self._outer_middlewares()
        if outer:
            app = _Router(starlette, endpoints)
            for middleware in reversed(outer):
                app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        if traffic:
            traffic.families.app = app  # counts websockets
        edge = Edge(
            app,
            # Behind a service's own middleware nothing may be answered before it has seen the request.
            endpoints={} if outer else endpoints,
            admit={path: self.batchers[name].admit for name, path in self._paths().items() if name in self.batchers},
            limits=Limits(
                timeout_s=self.timeout,
                max_body=max_body,
                max_concurrency=max_concurrency,
                traffic_concurrency=self.max_concurrency,
                free_paths=frozenset(["/metrics", "/healthz", "/livez", "/readyz", *self._health_paths()]),
            ),
            traffic=traffic,
            log=self.log,
            finished=finished,
            traced=_tracing_wanted(),
        )
        return _traced(edge, self) if _tracing_wanted() else edge

    @property
    def middlewares(self) -> list[Middleware]:
        """Only what BentoML's own endpoints need; the rest is the edge's."""
        return [Middleware(ContextMiddleware, context=self.service.context)]

    async def create_instance(self, app: Any) -> None:
        """See ServiceAppFactory; takes the instance that was made before the workers were forked, if there is one."""
        lean.late_sessions()
        service = self.service
        if self._loaded is not None:
            self.service = _Ready(service, self._loaded)
        try:
            await super().create_instance(app)
        finally:
            self.service = service

    async def batch_infer(self, name: str, input_args: tuple[Any, ...], input_kwargs: dict[str, Any]) -> Any:
        """See ServiceAppFactory."""
        return await self._batched(name)(input_args, input_kwargs, None)

    async def api_endpoint(self, name: str, request: Any) -> Response:
        """See ServiceAppFactory."""
        try:
            response: Response = await super().api_endpoint(name, request)
            return response
        except Overloaded as error:
            headers = {key.decode(): value.decode() for key, value in retry_after(error.retry_after_s)}
            return JSONResponse({"error": str(error)}, status_code=503, headers=headers)

    async def _to_thread(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._threads.run(functools.partial(func, *args, **kwargs))

    async def destroy_instance(self, app: Any) -> None:
        """See ServiceAppFactory."""
        for batcher in self.batchers.values():
            batcher.close()
        if self._traffic:
            self._traffic.write()  # what was counted since the last time outlives this worker
        await super().destroy_instance(app)

    # Endpoints

    def _paths(self) -> dict[str, str]:
        return {name: join_paths(self.service.path_prefix, api.route) for name, api in self.service.apis.items()}

    def _health_paths(self) -> list[str]:
        endpoints = self.service.config.get("endpoints", {})
        return [endpoints.get("livez", "/health"), *([endpoints["readyz"]] if endpoints.get("readyz") else [])]

    def _endpoints(self, app: Any) -> dict[str, tuple[Endpoint, ...]]:
        server = f"BentoML Service/{self.service.name}".encode()
        paths = self._paths()
        return {
            paths[name]: tuple(
                kind(method, self._caller(name, method), self.service.context, server, app)
                for kind in ((Json, Form) if reads_json(method) else (Upload,))
            )
            for name, method in self.service.apis.items()
            if is_common(method)
        }

    def _caller(self, name: str, method: Any) -> Callable[..., Any]:
        """How the method is run: (args, kwargs, gone) -> result."""
        function = method.func
        if method.batchable:
            return self._batched(name)
        if _is_async(function):
            return lambda args, kwargs, _: function(self._service_instance, *args, **kwargs)

        async def threaded(args: tuple[Any, ...], kwargs: dict[str, Any], _: object) -> Any:
            return await self._threads.run(functools.partial(function, self._service_instance, *args, **kwargs))

        return threaded

    # Batching

    def _batched(self, name: str) -> Callable[..., Any]:
        context, submit = self.service.apis[name].ctx_param, self.batchers[name].submit

        def call(args: tuple[Any, ...], kwargs: dict[str, Any], gone: Any) -> Any:
            if context in kwargs:
                kwargs = {key: value for key, value in kwargs.items() if key != context}
            values = [*args, *kwargs.values()]
            if len(values) != 1:
                raise TypeError("Batch inference function only accept one argument")
            return submit(values[0], gone)

        return call

    def _make_batchers(self) -> None:
        methods = {name: method for name, method in self.service.apis.items() if method.batchable}
        if not methods:
            return
        families = batch_families() if self.enable_metrics else None
        for name, method in methods.items():
            metrics = BatchMetrics(self.adaptive_batch_size_hist, *families, method=name) if families else None
            if metrics and self._traffic:
                self._traffic.batches.append(metrics)
            self.batchers[name] = Batcher(
                self._batch_call(method),
                inputs=PayloadRows(method.batch_dim[0]),
                outputs=PayloadRows(method.batch_dim[1]),
                max_rows=method.max_batch_size,
                max_latency=method.max_latency_ms / 1000,
                observed=metrics.observe if metrics else None,
                refused=metrics.refuse if metrics else None,
            )

    def _batch_call(self, method: Any) -> Callable[[Any], Any]:
        extra = {method.ctx_param: self.service.context} if method.ctx_param else {}
        if _is_async(method.func):
            return lambda batch: method.func(self._service_instance, batch, **extra)
        return lambda batch: self._threads.call(functools.partial(method.func, self._service_instance, batch, **extra))

    def _outer_middlewares(self) -> list[Middleware]:
        middlewares = [Middleware(cls, **options) for cls, options in self.service.middlewares]
        if self.enable_access_control:
            from starlette.middleware.cors import CORSMiddleware

            middlewares.append(Middleware(CORSMiddleware, **self.access_control_options))
        return middlewares


class _Router:
    """Behind the service's own middlewares: our endpoints, and BentoML's application for everything else."""

    def __init__(self, app: Any, endpoints: dict[str, tuple[Endpoint, ...]]) -> None:
        self._app, self._endpoints = app, endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        endpoints = self._endpoints.get(scope["path"], ()) if scope.get("method") == "POST" else ()
        endpoint = chosen(endpoints, *_body_of(scope)) if endpoints else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        try:
            data = await body.read(receive, 0)  # the edge has its eye on the length
        except body.HungUp:
            return
        await endpoint(scope, receive, send, data, b"%016x" % (trace_context.request_id or 0))


class _Ready:
    """A service whose instance has been made: calling it gives that one."""

    def __init__(self, service: Any, instance: Any) -> None:
        self._service, self._instance = service, instance

    def __call__(self) -> Any:
        return self._instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


def _body_of(scope: Any) -> tuple[bytes, int]:
    """Its type, and its bytes as far as they are told: of one that a middleware has unpacked nobody knows."""
    headers = dict(reversed(scope["headers"]))  # of several of a name, the first: as Starlette reads them
    length = b"" if b"content-encoding" in headers else headers.get(b"content-length", b"")
    return headers.get(b"content-type") or b"application/json", int(length) if length.isdigit() else 0


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(get_original_func(function))


def _tracing_wanted() -> bool:
    config = BentoMLContainer.api_server_config
    exporter = BentoMLContainer.config.get().get("tracing", {}).get("exporter_type")
    return bool(exporter or config.http.response.trace_id.get())


def _traced(app: Any, application: Application) -> Any:
    """`app` in OpenTelemetry's middleware, as BentoML always has it; here only when someone collects the traces."""
    found = [m for m in ServiceAppFactory.middlewares.fget(application) if "OpenTelemetry" in m.cls.__name__]
    return found[0].cls(app, *found[0].args, **found[0].kwargs) if found else app
