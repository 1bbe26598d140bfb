"""MLServer: a runtime of our own, because its scikit-learn runtime takes no texts."""

import os

from mlserver import MLModel  # type: ignore[import-not-found]  # installed in its own environment only
from mlserver.codecs import NumpyCodec, StringCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from benchmarks.serve import scorers

MODEL = os.environ["NOREN_BENCH_MODEL"]


class Runtime(MLModel):  # type: ignore[misc]
    """Answers the Open Inference Protocol, version 2."""

    async def load(self) -> bool:
        """Load the model."""
        if MODEL != "echo":
            self._score = scorers.load(MODEL)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the one tensor of a request; with batching it is that of many requests."""
        tensor = payload.inputs[0]
        if MODEL == "echo":
            outputs = [StringCodec.encode_output(i.name, StringCodec.decode_input(i)) for i in payload.inputs]
            return InferenceResponse(model_name=self.name, outputs=outputs)
        import numpy as np

        codec = NumpyCodec if MODEL == "forest" else StringCodec
        scores = np.asarray(self._score(codec.decode_input(tensor))).reshape(-1, 1)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
