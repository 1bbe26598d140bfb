"""Light traffic through the front door, every answer counted."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import httpx

TEXTS = (
    "I could not stop laughing; the best evening in months.",
    "Flat characters, a plot full of holes, and far too long.",
    "The crust was perfect and the tomatoes tasted of summer.",
    "It broke after two days and nobody answered my letters.",
)


@dataclass
class Traffic:
    """A thread that asks at a steady pace, whether or not the last answer has come.

    url       where predictions are answered
    rate      requests per second
    """

    url: str
    rate: float = 10.0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    by_revision: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._http = httpx.Client(timeout=10.0, trust_env=False)
        self._pacer = threading.Thread(target=self._pace, daemon=True)
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pacer.join()
        self._http.close()

    def _pace(self) -> None:
        began, sent = time.monotonic(), 0
        open_requests: list[threading.Thread] = []
        while not self._stop.wait(max(0.0, began + sent / self.rate - time.monotonic())):
            request = threading.Thread(target=self._ask, args=(TEXTS[sent % len(TEXTS)],), daemon=True)
            request.start()
            open_requests = [one for one in [*open_requests, request] if one.is_alive()]
            sent += 1
        for request in open_requests:
            request.join()

    def _ask(self, text: str) -> None:
        began = time.monotonic()
        try:
            answer = self._http.post(self.url, json={"text": text})
            revision = answer.headers.get("x-noren-revision", "?")
            wrong = "" if _right(answer) else f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            revision, wrong = "?", repr(error)
        with self._lock:
            self.answered += not wrong
            self.failures += [wrong] if wrong else []
            self.by_revision[revision] += 1
            self.latencies_ms.append((time.monotonic() - began) * 1000)


def _right(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.json().get("label") in ("positive", "negative")
