"""The blur service: is a photo blurred?

The supervisor of `bentoml serve` imports this module too, so OpenCV, Pillow and NumPy are imported later. A photo
takes milliseconds to decode, most of them outside of Python's lock, so a few threads do it. Photos are not joined to
batches: each is decoded and measured alone, and together they would only take more memory.
"""

import asyncio
import gc
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import bentoml
from starlette.datastructures import UploadFile

from bentos.blur.schema import PredictBatchRequest, Prediction, PredictRequest
from bentos.blur.uploads import UploadsOnly, refused
from bentos.cache import Cache
from bentos.inference_log import InferenceLog
from bentos.metrics import ServiceMetrics

DECODERS = 2  # photos that are decoded at a time; each takes up to some 300 MB (models/pictures.py)


@bentoml.service(
    name="blur",
    # The tracing middleware costs 0.4 ms a request even when nobody collects the traces.
    tracing={"excluded_urls": "predict"},
    logging={"access": {"enabled": False}},
    # Photos that wait for a decoder wait on disk; of how many it may be is limited all the same (429).
    traffic={"timeout": 60, "max_concurrency": 64},
)
class Blur:
    """Tells whether a photo is blurred, by defocus or motion, and how surely."""

    # A built Bento holds exactly the version that "latest" meant at build time.
    stored = bentoml.models.BentoModel("blur:latest")

    def __init__(self) -> None:
        import cv2

        from bentos.blur.judging import Judge

        cv2.setNumThreads(1)  # what OpenCV gets is small, and threads would keep noren-serve from forking
        self._judge = Judge(self.stored)
        version = self._judge.version
        metrics = ServiceMetrics("blur", model_version=version)
        self._verdicts = metrics.counter("predictions", "Photos judged, by verdict.", ["verdict"])
        self._refused = metrics.counter("refused", "Files that are no photo for us, by reason.", ["kind"])
        self._sharpness = metrics.histogram("sharpness", "Log-odds of being sharp.", range(-10, 11, 2))
        self._megapixels = metrics.histogram("megapixels", "Size of the photos.", [0.1, 0.3, 1, 2, 4, 8, 16, 32])
        self._cache = Cache(Prediction, service="blur", version=version, counts=metrics)
        self._log = InferenceLog.from_environment("blur", version=version, drops=metrics)
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")  # they begin with the first photo
        self._warm_up()
        # Unfrozen, each full garbage collection walks all that was loaded, and holds up every request.
        gc.collect()
        gc.freeze()

    @bentoml.api(input_spec=PredictRequest)  # type: ignore[untyped-decorator]
    async def predict(self, image: UploadFile) -> Prediction:
        """Judge one photo."""
        return await self._answer(image, "image")

    @bentoml.api(input_spec=PredictBatchRequest)  # type: ignore[untyped-decorator]
    async def predict_batch(self, images: list[UploadFile]) -> list[Prediction]:
        """Judge up to 16 photos. When one is bad it is named, and the others get no answer either."""
        # One after the other, so that a batch leaves a decoder to those who send single photos.
        return [await self._answer(image, "images", number) for number, image in enumerate(images)]

    async def _answer(self, image: UploadFile, *place: str | int) -> Prediction:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, self._answer_now, image, place)

    def _answer_now(self, image: UploadFile, place: tuple[str | int, ...]) -> Prediction:
        from models.pictures import PictureError

        started = perf_counter()
        with image.file as file:
            data = file.read()
        key = hashlib.sha256(data).hexdigest()
        try:
            prediction = self._cache.answer(key, lambda: self._judge.judge(data))
        except PictureError as error:
            self._refused.labels(error.kind).inc()
            raise refused(error.kind, error.text, *place) from None
        self._verdicts.labels("blurred" if prediction.blurred else "sharp").inc()
        self._sharpness.observe(prediction.sharpness)
        self._megapixels.observe(prediction.width * prediction.height / 1e6)
        self._log.note(digest=key, output=prediction, latency_ms=(perf_counter() - started) * 1000)
        return prediction

    def _warm_up(self) -> None:
        """One photo of each format: the first one loads what its format needs."""
        import numpy as np
        from PIL import Image

        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 1_200, 3), dtype=np.uint8))
        for kind in ("JPEG", "PNG", "WEBP"):
            file = io.BytesIO()
            noise.save(file, kind)
            self._judge.judge(file.getvalue())


Blur.add_asgi_middleware(UploadsOnly)  # type: ignore[attr-defined]  # the decorator made it a Service
