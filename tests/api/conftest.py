"""The API over in-memory drivers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from noren.api import PREFIX
from noren.api.app import Parts, make
from noren.control.loop import Loop
from noren.control.reconcile import Drivers
from noren.control.retention import Policy, Sweeper
from noren.control.use_cases import Commands
from noren.domain.verdict import Outcome
from noren.frontdoors.memory import MemoryFrontDoor
from noren.gates.memory import MemoryGate
from noren.manifests.built import BentoStore
from noren.runtimes.memory import MemoryAttic, MemoryRuntime
from noren.stores.memory import MemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Plane:
    """A control plane whose loop is moved by hand. Bentos shop:v1, shop:v2 and other:v1 are built."""

    def __init__(self, folder: Path) -> None:
        for tag in ("shop/v1", "shop/v2", "other/v1"):
            manifest = folder / "bentos" / tag / "bento.yaml"
            manifest.parent.mkdir(parents=True)
            manifest.write_text("schema: {}")
        self.store, self.runtime = MemoryStore(), MemoryRuntime()
        self.door, self.gate = MemoryFrontDoor(), MemoryGate(Outcome.PASS)
        catalog = BentoStore(folder)
        drivers = Drivers(
            runtime=self.runtime,
            front_door=self.door,
            gate=self.gate,
            catalog=catalog,
            front_door_url="http://127.0.0.1:7480",
        )
        self.loop = Loop(self.store, drivers, lambda: NOON)
        self.attic = MemoryAttic()
        policy = Policy(revisions=20, age=timedelta(days=90))
        self.parts = Parts(
            commands=Commands(self.store, catalog, now=lambda: NOON, wake=self.loop.wake),
            store=self.store,
            runtime=self.runtime,
            sweeper=Sweeper(self.store, self.attic, policy, look=lambda: self.loop.look(), now=lambda: NOON),
            look=lambda: self.loop.look(),
            trouble=lambda name: self.loop.trouble(name),
            home="/srv/noren",
            api_url="http://127.0.0.1:7410",
            front_door_url="http://127.0.0.1:7480",
            admin_url="http://127.0.0.1:7490",
            allowed_hosts=["127.0.0.1", "localhost", "[::1]"],
        )
        self.http = TestClient(make(self.parts), base_url="http://127.0.0.1:7410", raise_server_exceptions=False)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        return self.http.request(method, PREFIX + path, json=body, headers=headers)

    def apply(self, bento: str = "shop:v1", **spec: object) -> Any:
        name = bento.partition(":")[0]
        body = {
            "spec": {"name": name, "bento": bento, "strategy": {"bake": "0s", "step_wait": "0s", "step_requests": 0}}
            | spec
        }
        return self.ask("PUT", f"/deployments/{name}", body)

    def tick(self, times: int = 15) -> None:
        for _ in range(times):
            self.loop.tick()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with capture_logs():
        yield Plane(tmp_path)
