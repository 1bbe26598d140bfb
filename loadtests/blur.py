"""Locust users of the blur service.

    locust -f loadtests/blur.py --host http://localhost:3000

Stands alone: only Locust and the standard library, so that the file can be sent anywhere. It makes its own pictures:
grey PNG files of overlapping squares, half of them blurred.
"""

import math
import random
import struct
import zlib
from typing import Any

from locust import FastHttpUser, between, task

# Not secret: makes up pictures.
chance = random.Random()  # noqa: S311

FIELDS = {"blurred", "sharpness", "confidence", "threshold", "width", "height", "model_version"}
WIDTH, HEIGHT = 320, 240
BOUNDARY = "a-boundary-that-no-picture-has-in-it"
Rows = list[bytearray]


def squares() -> Rows:
    """Squares of all sizes and tones, one above the other."""
    rows = [bytearray([128]) * WIDTH for _ in range(HEIGHT)]
    for _ in range(120):
        size, tone = chance.randint(5, 70), chance.randint(0, 255)
        left, top = chance.randrange(WIDTH - size), chance.randrange(HEIGHT - size)
        for row in rows[top : top + size]:
            row[left : left + size] = bytes([tone]) * size
    return rows


def blurred(rows: Rows, radius: int = 4) -> Rows:
    """Each pixel the mean of its neighbours, first along the rows and then along the columns."""
    return _turned([_means(row, radius) for row in _turned([_means(row, radius) for row in rows])])


def png(rows: Rows) -> bytes:
    """The picture as a PNG file (RFC 2083): 8 bits of grey, no filter."""
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def another(picture: bytes) -> bytes:
    """The same picture in a file that has not been sent before: a cache does not know it."""
    end = len(picture) - 12  # IEND
    return picture[:end] + _chunk(b"tEXt", b"Comment\0" + chance.randbytes(8).hex().encode()) + picture[end:]


def form(field: str, pictures: list[bytes]) -> bytes:
    """The body of a form with these files."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n'
    parts = [head.encode() + b"Content-Type: image/png\r\n\r\n" + picture + b"\r\n" for picture in pictures]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _means(row: bytearray, radius: int) -> bytearray:
    size = 2 * radius + 1
    wide = row[:1] * radius + row + row[-1:] * radius
    total = sum(wide[:size])
    means = [total]
    for i in range(len(row) - 1):
        total += wide[i + size] - wide[i]
        means.append(total)
    return bytearray(total // size for total in means)


def _turned(rows: Rows) -> Rows:
    return [bytearray(column) for column in zip(*rows, strict=True)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


SHARP = [squares() for _ in range(8)]
PICTURES = [png(rows) for rows in [*SHARP, *map(blurred, SHARP)]]


class BlurUser(FastHttpUser):
    """Mostly single photos, most of them new, and now and then a batch."""

    wait_time = between(0.05, 0.15)

    @task(6)
    def file(self) -> None:
        """A new photo as a file of a form."""
        body = form("image", [another(chance.choice(PICTURES))])
        self._predict(body, f"multipart/form-data; boundary={BOUNDARY}", name="/predict form")

    @task(4)
    def body(self) -> None:
        """A new photo as the whole body."""
        self._predict(another(chance.choice(PICTURES)), "image/png", name="/predict body")

    @task(2)
    def known(self) -> None:
        """One of a few photos that everyone sends."""
        self._predict(chance.choice(PICTURES), "image/png", name="/predict known")

    @task(1)
    def batch(self) -> None:
        """Up to eight photos in one request."""
        pictures = [another(picture) for picture in chance.sample(PICTURES, k=chance.randint(2, 8))]
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        data = form("images", pictures)
        with self.rest("POST", "/predict_batch", data=data, headers=headers, name="/predict_batch") as rest:
            response: Any = rest  # Locust has no types
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not isinstance(response.js, list) or len(response.js) != len(pictures):
                response.failure(f"expected {len(pictures)} verdicts")
            elif problems := [problem for answer in response.js if (problem := _problem(answer))]:
                response.failure(problems[0])

    def _predict(self, body: bytes, content_type: str, *, name: str) -> None:
        with self.rest("POST", "/predict", data=body, headers={"Content-Type": content_type}, name=name) as rest:
            response: Any = rest
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif problem := _problem(response.js):
                response.failure(problem)


def _problem(answer: Any) -> str | None:
    """What is wrong with a verdict; None if it is sound."""
    if not isinstance(answer, dict) or answer.keys() != FIELDS:
        return f"not a verdict with {', '.join(sorted(FIELDS))}"
    sharpness, threshold, confidence = answer["sharpness"], answer["threshold"], answer["confidence"]
    for number in (sharpness, threshold, confidence):
        if isinstance(number, bool) or not isinstance(number, float | int) or not math.isfinite(number):
            return f"{number!r} is not a number"
    if answer["blurred"] is not (sharpness < threshold):
        return f"blurred {answer['blurred']!r} does not fit sharpness {sharpness} and threshold {threshold}"
    odds = -sharpness if answer["blurred"] else sharpness
    if abs(0.5 + 0.5 * math.tanh(0.5 * odds) - confidence) > 1e-6:
        return f"confidence {confidence} does not fit sharpness {sharpness}"
    if (answer["width"], answer["height"]) != (WIDTH, HEIGHT):
        return f"the photo has {WIDTH} x {HEIGHT} pixels, not {answer['width']} x {answer['height']}"
    if not answer["model_version"]:
        return "model_version is empty"
    return None
