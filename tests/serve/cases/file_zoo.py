"""Requests to file_zoo."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from tests.serve.wire import Cases, Part


def _picture(kind: str, width: int = 3, height: int = 2) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "blue").save(buffer, format=kind)
    return buffer.getvalue()


PNG, JPEG = _picture("PNG"), _picture("JPEG")
TEXT: Part = ("file", "a.txt", b"hello", "text/plain")
PICTURE: Part = ("image", "a.png", PNG, "image/png")
RAW = {"content-type": "application/octet-stream"}

CASES: Cases = {
    "file": {"path": "/facts", "parts": [TEXT]},
    "file async": {"path": "/facts_async", "parts": [TEXT, ("note", None, b"n", None)]},
    "file without a name": {"path": "/facts", "parts": [("file", "", b"hello", "text/plain")]},
    "file without a type": {"path": "/facts", "parts": [("file", "a.bin", b"hello", None)]},
    "file with a bad name": {"path": "/facts", "parts": [("file", "../../etc/x.txt", b"hello", "text/plain")]},
    "file with a unicode name": {"path": "/facts", "parts": [("file", "日本.txt", b"hello", "text/plain")]},
    "file with a very long name": {"path": "/facts", "parts": [("file", "x" * 300 + ".txt", b"hello", "text/plain")]},
    "file empty": {"path": "/facts", "parts": [("file", "a.txt", b"", "text/plain")]},
    "file of 3 MB": {"path": "/facts", "parts": [("file", "a.bin", b"\x00\xff" * 1_500_000, None)]},
    "file missing": {"path": "/facts", "parts": [("other", "a.txt", b"hello", "text/plain")]},
    "file given twice": {"path": "/facts", "parts": [TEXT, ("file", "b.txt", b"longer text", "text/plain")]},
    "file as text field": {"path": "/facts", "parts": [("file", None, b"hello", None)]},
    "file by a local URL": {"path": "/facts", "parts": [("file", None, b"http://127.0.0.1:9/x", None)]},
    "file by JSON": {"path": "/facts", "json": {"file": "hello"}},
    "file by JSON null": {"path": "/facts", "json": {"file": None}},
    "file by JSON list": {"path": "/facts", "json": {"file": ["x"]}},
    "file by form": {"path": "/facts", "form": {"file": "hello"}},
    "file by raw body": {"path": "/facts", "body": b"hello", "headers": RAW},
    "file, no body": {"path": "/facts"},
    "chunked multipart": {
        "path": "/facts",
        "headers": {"content-type": "multipart/form-data; boundary=b"},
        "chunks": [
            b'--b\r\nContent-Disposition: form-data; name="fi',
            b'le"; filename="a"\r\n\r\nhel',
            b"lo\r\n--b--\r\n",
        ],
    },
    "multipart without end": {
        "path": "/facts",
        "headers": {"content-type": "multipart/form-data; boundary=b"},
        "body": b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n',
    },
    "multipart with bad header": {
        "path": "/facts",
        "headers": {"content-type": "multipart/form-data; boundary=b"},
        "body": b"--b\r\nnonsense\r\n\r\nhello\r\n--b--\r\n",
    },
    "1001 parts": {"path": "/facts", "parts": [("x", "a", b"", None)] * 1001},
    "1001 fields": {"path": "/facts", "parts": [("x", None, b"", None)] * 1001},
    "field of 2 MB": {"path": "/facts", "parts": [TEXT, ("x", None, b"x" * 2_000_000, None)]},
    "mixed": {
        "path": "/mixed",
        "parts": [
            TEXT,
            ("n", None, b"3", None),
            ("word", None, b"zoo", None),
            ("items", None, b"[1, 2]", "application/json"),
            ("note", None, b'{"text": "t"}', "application/json"),
        ],
    },
    "mixed defaults": {"path": "/mixed", "parts": [TEXT, ("n", None, b"3", None)]},
    "mixed wrong": {"path": "/mixed", "parts": [TEXT, ("n", None, b"x", None), ("note", None, b"{}", None)]},
    "mixed numeric word": {"path": "/mixed", "parts": [TEXT, ("n", None, b"3", None), ("word", None, b"12", None)]},
    "several": {"path": "/several", "parts": [("files", "a", b"1", None), ("files", "b", b"22", None)]},
    "several: one": {"path": "/several", "parts": [("files", "a", b"1", None)]},
    "several: none": {"path": "/several", "parts": [("x", None, b"1", None)]},
    "optional given": {"path": "/optional", "parts": [TEXT, ("word", None, b"w", None)]},
    "optional left out": {"path": "/optional", "parts": [("word", None, b"w", None)]},
    "optional by JSON": {"path": "/optional", "json": {"word": "w"}},
    "two": {"path": "/two", "parts": [("left", "a", b"1", None), ("right", "b", b"1", None)]},
    "two: one missing": {"path": "/two", "parts": [("left", "a", b"1", None)]},
    "root by body": {"path": "/file_root", "body": b"hello", "headers": RAW},
    "root by text body": {"path": "/file_root", "body": b"hello", "headers": {"content-type": "text/plain"}},
    "root by JSON": {"path": "/file_root", "json": {"a": 1}},
    "root empty": {"path": "/file_root", "headers": RAW},
    "root by local URL": {"path": "/file_root", "body": b"http://127.0.0.1:9/x", "headers": RAW},
    "root by multipart": {"path": "/file_root", "parts": [TEXT]},
    "content type fits": {"path": "/sound", "parts": [("file", "a.mp3", b"la", "audio/mpeg")]},
    "content type does not fit": {"path": "/sound", "parts": [("file", "a.txt", b"la", "text/plain")]},
    "content type root": {"path": "/sound_root", "body": b"la", "headers": {"content-type": "audio/mpeg"}},
    "content type root other": {"path": "/sound_root", "body": b"la", "headers": {"content-type": "image/png"}},
    "answer text file": {"path": "/give", "json": {"name": "a.txt", "text": "hello"}},
    "answer html file": {"path": "/give", "json": {"name": "a.html", "text": "<p>"}},
    "answer picture file": {"path": "/give", "json": {"name": "a.png", "text": "not really"}},
    "answer unknown file": {"path": "/give", "json": {"name": "a.zoo", "text": "hello"}},
    "answer file with a unicode name": {"path": "/give", "json": {"name": "ü b.txt", "text": "hello"}},
    "answer file HEAD": {"path": "/give", "method": "HEAD"},
    "answer file in part": {
        "path": "/give",
        "json": {"name": "a.txt", "text": "hello"},
        "headers": {"range": "bytes=1-2"},
    },
    "answer empty file": {"path": "/give", "json": {"name": "a.txt", "text": ""}},
    "answer sound": {"path": "/give_sound", "json": {}},
    "answer bytes": {"path": "/give_bytes", "json": {}},
    "file to file": {"path": "/upper", "parts": [TEXT]},
    "image": {"path": "/size", "parts": [PICTURE]},
    "image jpeg": {"path": "/size", "parts": [("image", "a.jpg", JPEG, "image/jpeg")]},
    "image of another type than it says": {"path": "/size", "parts": [("image", "a.png", JPEG, "image/png")]},
    "image without a type": {"path": "/size", "parts": [("image", "a.png", PNG, None)]},
    "image of an unknown type": {"path": "/size", "parts": [("image", "a.png", PNG, "image/zoo")]},
    "image that is none": {"path": "/size", "parts": [("image", "a.png", b"hello", "image/png")]},
    "image cut": {"path": "/turn", "parts": [("image", "a.png", PNG[:-20], "image/png")]},
    "image by JSON": {"path": "/size", "json": {"image": "hello"}},
    "image by raw body": {"path": "/size", "body": PNG, "headers": {"content-type": "image/png"}},
    "image to image": {"path": "/turn", "parts": [PICTURE, ("angle", None, b"90", None)]},
    "image to image default": {"path": "/turn", "parts": [PICTURE]},
    "image keeps its format": {"path": "/keep_format", "parts": [("image", "a.jpg", JPEG, "image/jpeg")]},
    "images": {"path": "/sizes", "parts": [("images", "a.png", PNG, "image/png"), ("images", "b", JPEG, "image/jpeg")]},
    "images: one": {"path": "/sizes", "parts": [("images", "a.png", PNG, "image/png"), ("prefix", None, b"p", None)]},
    "image root": {"path": "/image_root", "body": PNG, "headers": {"content-type": "image/png"}},
    "image root that is none": {"path": "/image_root", "body": b"x", "headers": {"content-type": "image/png"}},
    "image root empty": {"path": "/image_root", "headers": {"content-type": "image/png"}},
    "image root by multipart": {"path": "/image_root", "parts": [PICTURE]},
    "image root with a type": {"path": "/png_root", "body": PNG, "headers": {"content-type": "image/png"}},
    "image drawn": {"path": "/draw", "json": {"width": 4}},
    "docs": {"path": "/docs.json", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
}
