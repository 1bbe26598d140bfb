"""One worker: a process with the service loaded, and an HTTP server around it."""

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from noren_serve import lean
from noren_serve.options import Options

logger = logging.getLogger("bentoml.serve")
_COLLECT = (50_000, 20, 20)  # new objects, and how many collections of one generation make one of the next
_LINGER_S = 1.0  # how long connections on which nothing happens stay open at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the service wants to be found, and in how many processes, when the command line does not say."""

    host: str
    port: int
    workers: int


class Unsupported(Exception):  # noqa: N818
    """The service needs something that this server does not do."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def load(options: Options) -> Any:
    """Import the service, its configuration injected. Raises Unsupported, and what its module raises."""
    lean.defer()
    from _bentoml_impl.loader import load as load_service
    from bentoml._internal.context import server_context
    from bentoml._internal.log import configure_server_logging
    from bentoml._internal.utils.args import set_arguments
    from bentoml._internal.utils.uri import join_paths

    from noren_serve import unsupported

    configure_server_logging()  # type: ignore[no-untyped-call]
    target = os.path.expanduser(options.target)  # noqa: PTH111  a tag or an import string is no path
    working_dir = options.working_dir or (target if os.path.isdir(target) else ".")  # noqa: PTH112
    if sys.path[0] != working_dir:
        sys.path.insert(0, working_dir)
    if options.arguments:
        set_arguments(options.arguments)
    server_context.worker_index = 1  # `bentoml.importing()` may not skip what a server needs
    service = load_service(target, working_dir=working_dir, standalone_load=True)
    if reasons := unsupported.reasons(service):
        raise Unsupported(reasons)
    _set_environment(service)
    service.inject_config()
    server_context.service_type, server_context.service_name = "entry_service", service.name
    server_context.service_routes = [join_paths(service.path_prefix, api.route) for api in service.apis.values()]
    server_context.bento_name = service.bento.tag.name if service.bento else service.name
    server_context.bento_version = (service.bento and service.bento.tag.version) or "not available"
    return service


def listen(service: Any) -> Listen:
    """What the service's own configuration says."""
    from _bentoml_impl.server.allocator import ResourceAllocator
    from bentoml._internal.configuration.containers import BentoMLContainer

    config = (service.config.get("http") or {}) | (
        BentoMLContainer.config.get().get("api_server", {}).get("http") or {}
    )
    workers, _ = ResourceAllocator().get_worker_env(service)
    # BentoML's own default listens everywhere; here whoever wants that says so.
    host = (service.config.get("http") or {}).get("host") or "127.0.0.1"
    return Listen(host=host, port=int(config.get("port") or 3000), workers=workers)


def deploy(service: Any) -> None:
    """What happens once for a deployment: models are resolved, `on_deployment` hooks run, the task store is made."""
    from _bentoml_impl.server.serving import server_on_deployment

    server_on_deployment(service)


def warm() -> None:
    """Import what workers need besides the service, so that forked ones share it."""
    import uvicorn.lifespan.on
    import uvicorn.loops.uvloop
    import uvicorn.protocols.http.httptools_impl  # noqa: F401

    import noren_serve.app  # noqa: F401


def serve(
    service: Any,
    instance: Any,
    listener: socket.socket,
    options: Options,
    *,
    index: int,
    channel: socket.socket,
    ready: Callable[[], None],
    retire: Callable[[], None],
) -> int:
    """Serve until SIGTERM, then drain. Returns the exit code.

    index    1 for the first worker
    channel  to the supervisor; when it ends, so do we
    ready    called when the service answers
    retire   called when the worker has served as many requests as it may: it goes on until it is replaced
    """
    import uvicorn
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.context import server_context

    from noren_serve.app import Application

    server_context.worker_index = index
    client = BentoMLContainer.metrics_client.get()
    if client._pid is not None:
        client._pid = os.getpid()  # made before the fork; the values themselves follow the process
    if instance is not None:
        _reseed()
    count = _counter(options, retire)
    application = Application(service, instance=instance)
    app = application.asgi(max_body=options.max_body, max_concurrency=options.max_concurrency, finished=count)
    config = uvicorn.Config(
        app=app,
        backlog=options.backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=options.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(options.drain_s)),
        lifespan="on",
    )
    logging.getLogger("uvicorn.access").handlers.clear()
    server = _server(config, channel, ready)
    # uvicorn drains on SIGTERM and then raises it again; we end by ourselves, in order. One that comes before uvicorn
    # listens to it is not lost.
    signal.signal(signal.SIGTERM, server.handle_exit)
    server.run(sockets=[listener])
    if application.log:
        application.log.flush()
    return 0 if server.started else 1


def _server(config: Any, channel: socket.socket, ready: Callable[[], None]) -> Any:
    """uvicorn's server, which tells when it answers, and leaves the heap alone from then on."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            asyncio.get_running_loop().add_reader(channel.fileno(), self._orphaned)
            # What is loaded now lives as long as the process. Unfrozen, every full collection walks all of
            # it, and holds up every request for up to 100 ms.
            gc.collect()
            gc.freeze()
            # By default 700 new objects are a reason to collect, and whatever is in flight is walked with it: with
            # thousands of open requests that takes a good part of the time, just when there is least of it.
            gc.set_threshold(*_COLLECT)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            for listener in sockets or []:
                listener.close()
            # uvicorn cuts idle connections off at once, into requests that are on their way. Give these a moment.
            until = asyncio.get_running_loop().time() + _LINGER_S
            while self.server_state.connections and asyncio.get_running_loop().time() < until and not self.force_exit:
                for connection in self.server_state.connections:
                    _close_after_answer(connection)
                await asyncio.sleep(0.02)
            await super().shutdown(sockets)

        def _orphaned(self) -> None:
            """The supervisor was killed: end in order, rather than hold its port for ever."""
            asyncio.get_running_loop().remove_reader(channel.fileno())
            self.should_exit = True

    return Server(config)


def _close_after_answer(connection: Any) -> None:
    """Have an HTTP connection answer what it is asked next, or is answering now, and then no more."""
    if isinstance(connection.app, _Closing) or not hasattr(connection, "cycle"):  # a websocket has none
        return
    connection.app = _Closing(connection.app)
    if connection.cycle is not None and not connection.cycle.response_complete:
        connection.shutdown()


class _Closing:
    """Tells the client with its answer that the connection ends (RFC 9112, 9.6)."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, closing)


def _set_environment(service: Any) -> None:
    """The service's own `envs`, as `bentoml serve` sets them for its workers."""
    for variable in service.envs:
        if variable.stage == "build" or variable.name in os.environ:
            continue
        if not variable.value:
            raise SystemExit(
                f"noren-serve: the service needs the environment variable {variable.name}, which is not set\n"
                f"  fix: export {variable.name}=..., or give it a value in the service's `envs`"
            )
        os.environ[variable.name] = str(variable.value)


def _counter(options: Options, retire: Callable[[], None]) -> Callable[[], None] | None:
    if not options.max_requests:
        return None
    left = options.max_requests + random.randint(0, options.max_requests_jitter)  # noqa: S311  not a secret

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            retire()

    return count


def _reseed() -> None:
    """Forked workers must not draw the same numbers. (`random` does this by itself.)"""
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
