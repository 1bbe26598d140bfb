"""FastAPI for uvicorn, as its documentation writes it: `threaded` has `def` endpoints, `app` has `async def`."""

import os

from fastapi import FastAPI, UploadFile
from PIL import Image
from pydantic import BaseModel

from benchmarks.serve import scorers
from benchmarks.serve.message import Message

MODEL = os.environ["NOREN_BENCH_MODEL"]
score = None if MODEL in scorers.NUMBERS else scorers.load(MODEL)
app, threaded = FastAPI(), FastAPI()


class Texts(BaseModel):
    """The body of the sentiment models."""

    texts: list[str]


class Rows(BaseModel):
    """The body of the forest."""

    rows: list[list[float]]


if MODEL == "echo":

    @app.post("/predict")
    async def echo(body: Message) -> Message:
        """What was sent."""
        return body

    @threaded.post("/predict")
    def echo_threaded(body: Message) -> Message:
        """What was sent."""
        return body

elif MODEL == "picture":

    @app.post("/predict")
    async def width(image: UploadFile) -> dict[str, int]:
        """How wide it is, in pixels."""
        return {"number": Image.open(image.file).width}

    @threaded.post("/predict")
    def width_threaded(image: UploadFile) -> dict[str, int]:
        """How wide it is, in pixels."""
        return {"number": Image.open(image.file).width}

elif MODEL == "forest":

    @app.post("/predict")
    async def predict_rows(body: Rows) -> list[float]:
        """Score rows in the event loop."""
        assert score
        return score(body.rows)

    @threaded.post("/predict")
    def predict_rows_threaded(body: Rows) -> list[float]:
        """Score rows in a thread."""
        assert score
        return score(body.rows)

else:

    @app.post("/predict")
    async def predict(body: Texts) -> list[float]:
        """Score texts in the event loop."""
        assert score
        return score(body.texts)

    @threaded.post("/predict")
    def predict_threaded(body: Texts) -> list[float]:
        """Score texts in a thread."""
        assert score
        return score(body.texts)
