"""All services of the shop in one process, behind one port: for development, not for guests.

python -m bentos                                    # all that have a model; http://localhost:3000 lists them
python -m bentos sentiment churn --port 8000

A service answers below its name, `POST /sentiment/predict` say, and its documentation is at `/sentiment/`.
"""

import argparse
import html
import importlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

FOLDER = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C. Exit codes: 1 nothing could be served, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="python -m bentos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which services; all by default")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
    parser.add_argument("--port", type=int, default=3000, help="default 3000")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(bundles()):
        parser.error(f"there is no service {', '.join(sorted(unknown))}; name some of {', '.join(bundles())}")
    services = {name: load(name) for name in options.names or bundles()}
    untrained = [name for name, service in services.items() if not _has_models(service)]
    for name in untrained:
        sys.stderr.write(f"{name} has no model yet and is left out: {_command(name)}\n")
    trained = {name: service for name, service in services.items() if name not in untrained}
    if not trained:
        parser.exit(1, "there is nothing to serve: train a model first\n")
    uvicorn.run(application(trained, untrained), host=options.host, port=options.port)


def bundles() -> list[str]:
    """The services that can be built."""
    return sorted(path.parent.name for path in FOLDER.glob("*/bentofile.yaml"))


def load(name: str) -> Any:
    """The service that the bentofile of a bundle names."""
    bentofile = yaml.safe_load((FOLDER / name / "bentofile.yaml").read_text())
    module, _, attribute = bentofile["service"].partition(":")
    return getattr(importlib.import_module(module), attribute)


def application(services: Mapping[str, Any], untrained: Sequence[str] = ()) -> Starlette:
    """Each service below its name; above them a list, their health, and what they count."""
    apps = {name: _asgi(service) for name, service in services.items()}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Starlette neither begins nor ends what is mounted.
        async with AsyncExitStack() as running:
            for app in apps.values():
                await running.enter_async_context(app.router.lifespan_context(app))
            yield

    async def index(_: Request) -> Response:
        return HTMLResponse(_page(services, untrained))

    async def health(request: Request) -> Response:
        found = {name: await _status(app, request.url.path) for name, app in apps.items()}
        return JSONResponse(found, status_code=200 if set(found.values()) == {200} else 503)

    async def metrics(_: Request) -> Response:
        kind = prometheus_client.CONTENT_TYPE_LATEST
        return Response(prometheus_client.generate_latest(), headers={"content-type": kind})

    ours = {"/": index, "/livez": health, "/readyz": health, "/metrics": metrics}
    routes: list[BaseRoute] = [Route(path, endpoint) for path, endpoint in ours.items()]
    routes += [Mount(f"/{name}", app) for name, app in apps.items()]
    return Starlette(routes=routes, lifespan=lifespan)


def _asgi(service: Any) -> Any:
    # BentoML names its own metrics alike in all services, which one process does not allow; theirs are at /metrics.
    service.config["metrics"] = {**service.config.get("metrics", {}), "enabled": False}
    return service.to_asgi()


def _has_models(service: Any) -> bool:
    from bentoml.models import BentoModel

    return all(model.stored is not None for model in service.models if isinstance(model, BentoModel))


async def _status(app: Any, path: str) -> int:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return (await client.get(path)).status_code


def _page(services: Mapping[str, Any], untrained: Sequence[str]) -> str:
    shown = [
        f'<li><a href="{name}/">{name}</a>: {html.escape((service.inner.__doc__ or "").partition(chr(10))[0])}</li>'
        for name, service in services.items()
    ]
    left_out = [f"<li>{name} has no model yet: <code>{_command(name)}</code></li>" for name in untrained]
    lines = ["<!doctype html>", "<title>The shop</title>", "<h1>The shop</h1>", "<ul>", *shown, *left_out, "</ul>"]
    links = [f'<a href="{path}">{path}</a>' for path in ("livez", "readyz", "metrics")]
    return "\n".join([*lines, f"<p>{' '.join(links)}</p>", ""])


def _command(name: str) -> str:
    return f"python -m training.{name}"


if __name__ == "__main__":
    main()
