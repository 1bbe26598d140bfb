"""Images as they come in: as files of a form, or one as the whole body. What is large waits on disk, not in memory.

BentoML's own file types are not used: they would fetch a URL that a client writes in the place of a file, and answer
500 to a broken form or image.
"""

from collections.abc import AsyncGenerator
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, BinaryIO, ClassVar, cast, get_origin

from bentoml import IODescriptor
from pydantic import ConfigDict, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_BYTES = 20_000_000  # of one image
MAX_BODY_BYTES = 100_000_000
FORM = "multipart/form-data"
TYPES = (FORM, "image/jpeg", "image/png", "image/webp", "application/octet-stream")

_FORM_BYTES = 100_000  # what a form may have around its images
_IN_MEMORY = 1_000_000  # as in Starlette's forms; a longer file goes to disk


def _file(value: object) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise PydanticCustomError("image_file", "send the image itself, as a file")
    if not value.size:
        raise PydanticCustomError("image_empty", "the file is empty")
    if value.size > MAX_BYTES:
        text = f"the file has {value.size:,} bytes; at most {MAX_BYTES:,} are accepted"
        raise PydanticCustomError("image_bytes", text)
    return value


Upload = Annotated[
    UploadFile,
    PlainValidator(_file),
    # "file" is BentoML's word, by which its client knows what to send; OpenAPI says it in another way.
    WithJsonSchema({"type": "file", "format": "image"}, mode="validation"),
    WithJsonSchema({"type": "string", "format": "binary"}, mode="serialization"),
]


class Uploads(IODescriptor):  # type: ignore[misc]  # BentoML has no types
    """A request with one field, of type Upload or list[Upload].

    max_files   of a form
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    max_files: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Tell BentoML that the field is a file, which it would see only of its own types."""
        super().__pydantic_init_subclass__()
        cls.multipart_fields = list(cls.model_fields)

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> "Uploads":  # noqa: ARG003 - BentoML calls it
        """The request. Raises ValidationError that names the field."""
        (field,) = cls.model_fields
        several = get_origin(cls.model_fields[field].annotation) is list
        is_form = content_type(request.headers.get("content-type", "")) == FORM
        try:
            found = await cls._form(request) if is_form else {field: [await _whole_body(request)]}
        except (MultiPartException, _TooLarge) as error:
            raise refused("image_form", str(error), field) from error
        # Two of what there is to be one of are left a list, which is refused.
        fields = {name: values if several or len(values) > 1 else values[0] for name, values in found.items()}
        checked: Uploads = cls.model_validate(fields)
        return checked

    @classmethod
    async def _form(cls, request: Request) -> dict[str, Any]:
        limit = min(MAX_BODY_BYTES, cls.max_files * MAX_BYTES + _FORM_BYTES)
        parser = MultiPartParser(
            request.headers, _limited(request, limit), max_files=cls.max_files, max_fields=cls.max_files
        )
        form = await parser.parse()
        return {name: form.getlist(name) for name in form}


class UploadsOnly:
    """ASGI middleware: 415 for a POST of another content type, 413 for one longer than MAX_BODY_BYTES."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer here, or pass the request on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = dict(scope["headers"])  # names are lower-case bytes (ASGI specification)
            kind = content_type(headers.get(b"content-type", b"").decode("latin-1"))
            if kind not in TYPES:
                problem = f"content-type must be one of {', '.join(TYPES)}, not {kind!r}"
                return await _answer(415, "content-type", problem)(scope, receive, send)
            length = headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > MAX_BODY_BYTES:
                problem = f"the body has {int(length):,} bytes; at most {MAX_BODY_BYTES:,} are accepted"
                return await _answer(413, "content-length", problem)(scope, receive, send)
        return await self._app(scope, receive, send)


def content_type(header: str) -> str:
    """Without its parameters."""
    return header.partition(";")[0].strip().lower()


def refused(kind: str, text: str, *place: str | int) -> ValidationError:
    """What is wrong with the image at this place of the request; BentoML and noren-serve answer 400 to it."""
    detail = InitErrorDetails(type=PydanticCustomError(kind, text), loc=place, input=None)
    return ValidationError.from_exception_data("image", [detail], hide_input=True)


class _TooLarge(Exception):  # noqa: N818 - it is what the caller sent
    """The body has more bytes than it may."""


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in parts; also one of unknown length ends at the limit."""
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _TooLarge(f"the body has more than the {limit:,} bytes that are accepted")
        yield part


async def _whole_body(request: Request) -> UploadFile:
    upload = UploadFile(_spool(), size=0)
    async for part in _limited(request, MAX_BYTES):
        await upload.write(part)
    await upload.seek(0)
    return upload


def _spool() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY))


def _answer(status: int, header: str, problem: str) -> JSONResponse:
    """In the shape of BentoML's own validation errors."""
    detail = {"type": "header", "loc": [header], "msg": problem}
    return JSONResponse({"error": problem, "detail": [detail]}, status_code=status)
