"""The sentiment service, slow on purpose: every prediction takes 150 ms longer."""

import asyncio
from typing import Any, cast

from bentos.sentiment.service import Sentiment

DELAY_S = 0.15


class Slow:
    """ASGI middleware that lets predictions wait."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass the request on, late."""
        if scope["type"] == "http" and scope["path"].startswith("/predict"):
            await asyncio.sleep(DELAY_S)
        await self._app(scope, receive, send)


cast(Any, Sentiment).add_asgi_middleware(Slow)
