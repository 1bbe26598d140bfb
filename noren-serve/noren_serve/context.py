"""BentoML's request context (`bentoml.Context`), made only as far as it is used."""

from typing import Any

from bentoml._internal.context import ServiceContext, _request_var, _response_var
from starlette.requests import Request


class LazyResponse:
    """Stands for a ResponseContext until someone looks at it: few endpoints do, and making one takes a while."""

    __slots__ = ("_real",)

    def __init__(self) -> None:
        object.__setattr__(self, "_real", None)

    @property
    def used(self) -> bool:
        """Whether anyone looked."""
        return self._real is not None

    async def run_background(self) -> None:
        """Run the tasks that the endpoint left for after the answer."""
        await self._made().background()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._made(), name, value)

    def _made(self) -> Any:
        if self._real is None:
            object.__setattr__(self, "_real", ServiceContext.ResponseContext())
        return self._real


class LazyRequest(Request):
    """A request whose body has already been read, set up when someone looks at it: few endpoints do."""

    def __init__(self, scope: Any, receive: Any, body: bytes, app: Any = None) -> None:
        self._late = scope, receive, body, app

    def __getattr__(self, name: str) -> Any:
        """What is not there yet, or not at all. Two threads that look at once both find it."""
        late = self.__dict__.get("_late")
        if late is None or "_body" in self.__dict__:
            return super().__getattribute__(name)  # raises AttributeError, unless another thread was just here
        scope, receive, body, app = late
        if app is not None:  # as Starlette leaves it on the way to an endpoint
            scope.update(app=app, router=app.router, path_params={})
        real = Request(scope, receive)
        self.__dict__.update({**vars(real), "_body": body})  # in one step
        return getattr(self, name)

    @property
    def metadata(self) -> Any:
        """BentoML's name for the headers."""
        return self.headers


def enter(scope: Any, receive: Any, body: bytes, app: Any = None) -> LazyResponse:
    """Make the request known to `bentoml.Context`. Each request has a task of its own, so nothing is undone."""
    response = LazyResponse()
    _request_var.set(LazyRequest(scope, receive, body, app))
    _response_var.set(response)  # type: ignore[arg-type]
    return response
