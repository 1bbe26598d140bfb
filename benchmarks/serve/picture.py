"""A picture that is uploaded by a form, as browsers send it. What it is asked for is its width."""

import io

from PIL import Image

BOUNDARY = "7d6f1c0a5e"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
HEIGHT = 64  # pixels


def form(width: int) -> bytes:
    """The body with a PNG of that width, in pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, HEIGHT), "teal").save(buffer, format="PNG")
    disposition = 'Content-Disposition: form-data; name="image"; filename="a.png"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n"
    return head.encode() + buffer.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode()
