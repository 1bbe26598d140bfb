"""The sentiment service, faulty on purpose: one prediction in ten is answered with 500."""

import itertools
from typing import Any, cast

from bentos.sentiment.service import Sentiment

ONE_IN = 10


class Faulty:
    """ASGI middleware that fails some predictions, so that a few requests by hand still look fine."""

    def __init__(self, app: Any) -> None:
        self._app, self._turn = app, itertools.count(1)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass the request on, or fail."""
        predicts = scope["type"] == "http" and scope["path"].startswith("/predict")
        if predicts and next(self._turn) % ONE_IN == 0:
            await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"broken on purpose"})
            return
        await self._app(scope, receive, send)


cast(Any, Sentiment).add_asgi_middleware(Faulty)
