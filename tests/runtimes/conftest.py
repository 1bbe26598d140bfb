"""What tests of several runtimes' parts share."""

from collections.abc import Callable
from typing import Any

import pytest

from noren.runtimes.engine import Container


@pytest.fixture
def container() -> Callable[..., Container]:
    """Makes the first replica of shop-1 as its engine tells of it while it runs: `container(address=..., ...)`."""

    def made(**said: Any) -> Container:
        runs: dict[str, Any] = {
            "id": "c1",
            "revision": "shop-1",
            "index": 0,
            "address": "127.0.0.1:1",
            "runs": True,
            "leaving": False,
            "pid": None,
            "started_at": None,
            "memory_limit": 0,
            "exit_code": 0,
            "out_of_memory": False,
        }
        return Container(**runs | said)

    return made
