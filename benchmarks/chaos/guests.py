"""Guests who come at a steady pace, whether or not the last answer has come, and look at every answer they get."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import aiohttp

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one request. Times are seconds since 1970, so that they can be laid beside the history."""

    sent: float
    ended: float
    revision: str  # that answered, as the front door says; "" when nobody did
    replica: str  # "<revision>.<index>", as it says itself
    again: bool  # whether it said that it may be asked twice
    wrong: str  # "" when status and content are right


class Guests:
    """Ask from `with` on until its end; then every answer that is still due is awaited.

    Every second request has an `idempotency-key`, so the front door may send it to another replica.
    """

    def __init__(self, url: str, *, rate: float) -> None:
        self.url, self.rate = url, rate
        self.answers: list[Answer] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def wrong(self) -> list[Answer]:
        """Those that are not right."""
        return [answer for answer in list(self.answers) if answer.wrong]

    @property
    def served_by(self) -> Counter[str]:
        """How many right answers each replica gave."""
        return Counter(answer.replica for answer in list(self.answers) if not answer.wrong)

    def of(self, revision: str) -> list[Answer]:
        """The answers of one revision."""
        return [answer for answer in list(self.answers) if answer.revision == revision]

    async def _come(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        began, sent = time.monotonic(), 0
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            while not self._over.is_set():
                await asyncio.sleep(max(0.0, began + sent / self.rate - time.monotonic()))
                task = asyncio.create_task(self._ask(session, sent))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.gather(*under_way)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        text, again = f"guest {number}", number % 2 == 0
        headers = {"idempotency-key": text} if again else {}
        began, revision, replica = time.time(), "", ""
        try:
            async with session.post(self.url, json={"text": text}, headers=headers) as answer:
                revision = answer.headers.get("x-noren-revision", "")
                body = await answer.read()
                said = await answer.json() if answer.status == 200 else {}
            replica = str(said.get("by", ""))
            right = said.get("text") == text and replica.startswith(f"{revision}.")
            wrong = "" if right else f"{answer.status} {body[:200]!r}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            wrong = repr(error)
        self.answers.append(
            Answer(sent=began, ended=time.time(), revision=revision, replica=replica, again=again, wrong=wrong)
        )


def tell(answers: Iterable[Answer]) -> str:
    """The commonest complaints, for a person."""
    return "; ".join(f"{count} x {said}" for said, count in Counter(a.wrong for a in answers).most_common(3))
