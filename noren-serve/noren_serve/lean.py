"""Keeps out of a worker what BentoML imports at start for its other jobs: its client of the cloud, its proxy for
custom commands, its process manager. They are a third of the time to the first answer.

Each function below stands in for one of the same name, and imports the real module when it is called after all.
"""

import functools
import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_DEFERRED = {
    "_bentoml_impl.server.proxy": ("create_proxy_app",),  # only for services with a command of their own
    "bentoml._internal.utils.circus": ("Server", "create_standalone_arbiter"),  # the supervisor of `bentoml serve`
    "aiohttp": (),  # the client by which services call each other
    "httpx._main": ("main",),  # the command line of httpx: click, rich, pygments
}

_LOADING = ("__path__", "__all__", "__version__")  # asked for by `import x.y`, `from x import *`, and people


class _Deferred(ModuleType):
    """A module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _LOADING:
            raise AttributeError(name)  # whoever goes through all modules asks every one for these
        if name == "__path__" and _DEFERRED[self.__name__]:
            raise AttributeError(name)  # it is no package; `from x import y` asks all the same
        return getattr(_real(self.__name__), name)


def defer() -> None:
    """Put the stand-ins in place; call before BentoML is imported. What is already imported stays as it is."""
    for name, functions in _DEFERRED.items():
        if name not in sys.modules:
            module = _Deferred(name)
            if "." not in name:  # so that libraries that ask whether it is installed are told
                module.__spec__ = PathFinder.find_spec(name)
            for function in functions:
                setattr(module, function, _stand_in(name, function))
            sys.modules[name] = module


def _stand_in(module: str, function: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(_real(module), function)(*args, **kwargs)

    call.__name__ = function
    return call


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _Deferred):
        del sys.modules[name]
    return importlib.import_module(name)


def late_sessions() -> None:
    """Make BentoML's client sessions of a service that calls itself at its first call: few do, and it takes aiohttp."""
    from _bentoml_impl.client import proxy2

    manager = proxy2.SessionManager

    class LateSessions:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._make = functools.partial(manager, *args, **kwargs)
            self._made: Any = None

        async def get_session(self) -> Any:
            self._made = self._made or self._make()
            return await self._made.get_session()

        async def close(self) -> None:
            if self._made:
                await self._made.close()

    proxy2.SessionManager = LateSessions
