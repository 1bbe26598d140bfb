"""LitServe: python -m benchmarks.serve.peers.litserve_app PORT BATCH."""

import os
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]  # installed in its own environment only

from benchmarks.serve import scorers

MODEL = os.environ["NOREN_BENCH_MODEL"]


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Scores the first item of a request."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe gives it
        """Load the model in the worker."""
        self._score = None if MODEL == "echo" else scorers.load(MODEL)

    def decode_request(self, request: dict[str, Any]) -> Any:
        """What the model takes."""
        return request if self._score is None else next(iter(request.values()))[0]

    def predict(self, x: Any) -> Any:
        """`x` is a list of items when batches are on, else one item."""
        if self._score is None:
            return x
        return self._score(x) if isinstance(x, list) and self.max_batch_size > 1 else self._score([x])

    def unbatch(self, output: list[float]) -> list[list[float]]:
        """One answer for each request of a batch."""
        return [[score] for score in output]

    def encode_response(self, output: Any) -> Any:
        """The answer."""
        return output


if __name__ == "__main__":
    port, batch = int(sys.argv[1]), int(sys.argv[2])
    api = Api(max_batch_size=batch, batch_timeout=0.0 if batch == 1 else 0.002)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
