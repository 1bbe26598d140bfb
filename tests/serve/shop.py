"""Requests to the shop's services but sentiment, whose own file has more of them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from PIL import Image

from bentos.churn import schema as churn
from bentos.forecast import schema as forecast
from bentos.recommend import schema as recommend
from bentos.telecom_plan import schema as telecom_plan
from bentos.vehicle_price import schema as vehicle_price

if TYPE_CHECKING:
    from tests.serve.wire import Cases, Part, Request

JSON = {"content-type": "application/json"}
PAGES: Cases = {path: {"path": f"/{path}", "method": "GET"} for path in ("livez", "readyz", "docs.json", "schema.json")}


def by_json(one: dict[str, Any], wrong: dict[str, Any], *, several: str, most: int) -> Cases:
    """A service that takes one thing at /predict, and up to `most` of them as `several` at /predict_batch."""
    bad, body = {**one, **wrong}, json.dumps(one).encode()

    def batch(*things: dict[str, Any]) -> Request:
        return {"path": "/predict_batch", "json": {several: list(things)}}

    return {
        "one": {"path": "/predict", "json": one},
        "one again": {"path": "/predict", "json": one},
        "one wrong": {"path": "/predict", "json": bad},
        "one extra": {"path": "/predict", "json": {**one, "colour": "red"}},
        "one null": {"path": "/predict", "json": dict.fromkeys(one)},
        "one missing": {"path": "/predict", "json": {}},
        "one no object": {"path": "/predict", "json": [one]},
        "one infinite": {"path": "/predict", "body": b'{"x": 1e999}', "headers": JSON},
        "broken": {"path": "/predict", "body": body[:-1], "headers": JSON},
        "no UTF-8": {"path": "/predict", "body": body + b"\xff", "headers": JSON},
        "empty body": {"path": "/predict"},
        "no content type": {"path": "/predict", "body": body},
        "in chunks": {"path": "/predict", "chunks": [body[:9], body[9:]], "headers": JSON},
        "form": {"path": "/predict", "form": {name: str(value) for name, value in one.items()}},
        "pickle": {"path": "/predict", "body": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
        "GET": {"path": "/predict", "method": "GET"},
        "batch": batch(one, one),
        "batch of most": batch(*[one] * most),
        "batch of too many": batch(*[one] * (most + 1)),
        "batch of none": batch(),
        "batch with a wrong one": batch(one, bad),
        "batch beside others": {**batch(one), "beside": [batch(*[one] * n) for n in range(2, 5)]},
        **PAGES,
    }


def picture(kind: str, *, side: int = 300) -> bytes:
    """One with something in it to be sharp."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(buffer, format=kind)
    return buffer.getvalue()


PNG, JPEG = picture("PNG"), picture("JPEG")
LARGE = picture("PNG", side=1500)  # of more than a megabyte
PHOTO: Part = ("image", "a.png", PNG, "image/png")
BLUR: Cases = {
    "form": {"path": "/predict", "parts": [PHOTO]},
    "form again": {"path": "/predict", "parts": [PHOTO]},
    "form with a JPEG": {"path": "/predict", "parts": [("image", "a.jpg", JPEG, "image/jpeg")]},
    "form, large": {"path": "/predict", "parts": [("image", "a.png", LARGE, "image/png")]},
    "body": {"path": "/predict", "body": PNG, "headers": {"content-type": "image/png"}},
    "body of any type": {"path": "/predict", "body": PNG, "headers": {"content-type": "application/octet-stream"}},
    "body, large": {"path": "/predict", "body": LARGE, "headers": {"content-type": "image/png"}},
    "body in chunks": {
        "path": "/predict",
        "chunks": [PNG[:999], PNG[999:]],
        "headers": {"content-type": "image/png"},
    },
    "body that is no photo": {"path": "/predict", "body": b"hello", "headers": {"content-type": "image/png"}},
    "body cut off": {"path": "/predict", "body": PNG[:-999], "headers": {"content-type": "image/png"}},
    "body empty": {"path": "/predict", "headers": {"content-type": "image/png"}},
    "two photos": {"path": "/predict", "parts": [PHOTO, PHOTO]},
    "another field": {"path": "/predict", "parts": [PHOTO, ("colour", None, b"red", None)]},
    "the wrong field": {"path": "/predict", "parts": [("picture", "a.png", PNG, "image/png")]},
    "a URL": {"path": "/predict", "parts": [("image", None, b"http://127.0.0.1:9/cat.jpg", None)]},
    "an empty file": {"path": "/predict", "parts": [("image", "a.png", b"", "image/png")]},
    "broken form": {
        "path": "/predict",
        "body": b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n",
        "headers": {"content-type": "multipart/form-data; boundary=b"},
    },
    "JSON": {"path": "/predict", "json": {"image": "cat"}},
    "no content type": {"path": "/predict", "body": PNG},
    "pickle": {"path": "/predict", "body": b"x", "headers": {"content-type": "application/vnd.bentoml+pickle"}},
    "batch": {"path": "/predict_batch", "parts": [("images", "a.png", PNG, "image/png")] * 3},
    "batch of too many": {"path": "/predict_batch", "parts": [("images", "a.png", b"x", "image/png")] * 17},
    "batch with a bad one": {
        "path": "/predict_batch",
        "parts": [("images", "a.png", PNG, "image/png"), ("images", "b.png", b"x", "image/png")],
    },
    "batch by a body": {"path": "/predict_batch", "body": PNG, "headers": {"content-type": "image/png"}},
    **PAGES,
}
CAR = {"model": "ford f-150", "model_year": 2011, "odometer": 145_000, "condition": "good", "fuel": "gas"}
SERIES = {"values": forecast.AIR_PASSENGERS, "horizon": 3, "frequency": "monthly", "start": "1949-01-01"}

SHOP: dict[str, Cases] = {
    "blur": BLUR,
    "churn": by_json(churn.EXAMPLE, {"age": 7}, several="customers", most=churn.MAX_CUSTOMERS),
    "forecast": by_json(SERIES, {"horizon": 0}, several="series", most=forecast.MAX_SERIES),
    "recommend": {
        **by_json({"liked_items": ["1", "2"]}, {"k": 0}, several="requests", most=recommend.MAX_REQUESTS),
        "user": {"path": "/predict", "json": {"user_id": "u1", "k": 3}},
        "stranger": {"path": "/predict", "json": {"user_id": "nobody"}},
        "unknown item": {"path": "/predict", "json": {"liked_items": ["999"]}},
        "similar": {"path": "/items/1/similar?k=2", "method": "GET"},
        "similar to nothing": {"path": "/items/999/similar", "method": "GET"},
        "similar, wrong": {"path": "/items/1/similar?k=0", "method": "GET"},
    },
    "telecom_plan": by_json(telecom_plan.EXAMPLE, {"calls": -1}, several="customers", most=telecom_plan.MAX_CUSTOMERS),
    "vehicle_price": by_json(CAR, {"odometer": -1}, several="listings", most=vehicle_price.MAX_LISTINGS),
}
