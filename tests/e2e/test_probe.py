from __future__ import annotations
import time
from typing import TYPE_CHECKING
import pytest
if TYPE_CHECKING:
    from tests.e2e.conftest import House
pytestmark = pytest.mark.e2e

def test_a(serving: House) -> None:
    t = time.monotonic()
    with serving.traffic() as traffic:
        print(serving.apply("echo:v2", "--wait").out)
        print("v2", time.monotonic() - t)
    print(traffic.served_by, traffic.failures)
    print(serving.weights(), serving.look())

def test_b(serving: House) -> None:
    print(serving.weights(), serving.status())
