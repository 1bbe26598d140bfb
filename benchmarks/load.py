"""A closed-loop load generator: a fixed number of connections, each asking again as soon as it is answered."""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
import numpy as np


@dataclass
class Measured:
    """What came of it."""

    seconds: float = 0.0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def quantile_ms(self, q: float) -> float:
        """Latency below which a fraction `q` of the answers came, in milliseconds."""
        return float(np.quantile(self.latencies_ms, q))


def measure(url: str, body: dict[str, object], *, connections: int, seconds: float) -> Measured:
    """POST `body` to `url` as fast as it is answered, for `seconds` after one second of warm-up."""
    return asyncio.run(_measure(url, body, connections, seconds))


async def _measure(url: str, body: dict[str, object], connections: int, seconds: float) -> Measured:
    measured = Measured(seconds=seconds)
    begin = time.monotonic() + 1.0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def ask() -> None:
            while (began := time.monotonic()) < begin + seconds:
                async with session.post(url, json=body) as answer:
                    await answer.read()
                    measured.failed += answer.status != 200
                if began >= begin:
                    measured.latencies_ms.append((time.monotonic() - began) * 1000)

        await asyncio.gather(*(ask() for _ in range(connections)))
    return measured
