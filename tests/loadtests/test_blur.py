"""The Locust file notices wrong answers, and sends pictures and forms that are sound."""

import base64
from collections.abc import Callable
from math import log
from typing import Any

import pytest

Run = Callable[[str], str]
GOOD: dict[str, Any] = {
    "blurred": False,
    "sharpness": log(9),
    "confidence": 0.9,
    "threshold": 0.5,
    "width": 320,
    "height": 240,
    "model_version": "a",
}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GOOD, "None"),
        ({**GOOD, "blurred": True, "sharpness": -log(9)}, "None"),
        ({**GOOD, "blurred": True}, "does not fit"),
        ({**GOOD, "threshold": 3.0}, "does not fit"),
        ({**GOOD, "confidence": 0.8}, "confidence 0.8 does not fit"),
        ({**GOOD, "sharpness": "high"}, "not a number"),
        ({**GOOD, "sharpness": True}, "not a number"),
        ({**GOOD, "width": 240, "height": 320}, "320 x 240"),
        ({**GOOD, "model_version": ""}, "model_version is empty"),
        ({**GOOD, "more": 1}, "not a verdict"),
        ([], "not a verdict"),
        (None, "not a verdict"),
    ],
)
def test_a_wrong_answer_is_noticed(run: Run, answer: Any, problem: str) -> None:
    assert problem in run(f"print(_problem({answer!r}))")


def test_its_pictures_can_be_read_and_every_file_is_new(run: Run) -> None:
    pytest.importorskip("cv2")
    from models import blur, pictures

    said = run(
        "import base64\n"
        "for data in (PICTURES[0], another(PICTURES[0]), another(PICTURES[0]), PICTURES[len(SHARP)]):\n"
        "    print(base64.b64encode(data).decode())"
    )
    files = [base64.b64decode(line) for line in said.split()]
    read = [pictures.read(data, long_side=blur.LONG_SIDE) for data in files]

    assert len(set(files)) == 4
    assert {(picture.width, picture.height) for picture in read} == {(320, 240)}
    assert [(read[0].grey == picture.grey).all() for picture in read] == [True, True, True, False]
    detail = [blur.measure(picture.grey)["laplacian_variance"] for picture in read]
    assert detail[3] < detail[0] / 5


def test_its_forms_can_be_parsed(run: Run) -> None:
    from email.parser import BytesParser

    said = run('import base64\nprint(base64.b64encode(form("images", [b"one", b"two"])).decode())\nprint(BOUNDARY)')
    encoded, boundary = said.split()
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'.encode()

    parts: Any = BytesParser().parsebytes(head + base64.b64decode(encoded)).get_payload()

    assert [part.get_payload() for part in parts] == ["one", "two"]
    assert {part.get_param("name", header="content-disposition") for part in parts} == {"images"}
