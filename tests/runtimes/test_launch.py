"""What a replica becomes."""

import pytest

from noren.domain.deployment import Server
from noren.runtimes.launch import argv


@pytest.mark.parametrize(
    ("server", "becomes"),
    [
        (Server.NOREN, "noren_serve shop:v1 --host 127.0.0.1 --port 4711 --workers 2"),
        (Server.BENTOML, "bentoml serve shop:v1 --host 127.0.0.1 --port 4711 --api-workers 2"),
    ],
)
def test_a_replica_becomes_the_server_that_its_revision_names(server: Server, becomes: str) -> None:
    assert " ".join(argv(server, "shop:v1", port="4711", workers="2")) == becomes
