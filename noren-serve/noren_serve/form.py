"""One API of a service, asked by what is no plain JSON: by forms, by files, by what a service reads in its own way.

It is read by BentoML's own code, or by the service's; all else goes the way of `Endpoint`. Only small bodies of a known
length come here: what is larger comes as a stream, and goes to the disk while it does.
"""

from typing import Any

from _bentoml_impl.serde import ALL_SERDE, MultipartSerde
from starlette.requests import Request

from noren_serve.endpoint import JSON_TYPE, Arguments, Endpoint, Whole

_FORMS = frozenset(kind.encode() for kind, serde in ALL_SERDE.items() if serde is MultipartSerde)
_REQUEST = "noren_serve.form"  # in the scope
_SMALL = 1 << 20  # bytes; as much of a file is kept in memory by Starlette's forms


class Form(Endpoint):
    """Serves the forms of a method."""

    def takes(self, content_type: bytes, length: int) -> bool:
        """See Endpoint."""
        return 0 < length <= _SMALL and content_type.partition(b";")[0].strip() in _FORMS

    async def _serve(self, scope: Any, receive: Any, send: Any, body: bytes, request_id: bytes, whole: Whole) -> bool:
        over = await super()._serve(scope, receive, send, body, request_id, whole)
        if over:
            await scope[_REQUEST].close()  # its files, which a method may have moved to the disk
        return over

    async def _arguments(self, scope: Any, receive: Any, body: bytes) -> Arguments:
        request = scope[_REQUEST] = Request(scope, receive)
        request._body = body
        kind = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip()
        serde = ALL_SERDE.get(kind, ALL_SERDE[JSON_TYPE])()
        return self._unpack(await self._input.from_http_request(request, serde))


class Upload(Form):
    """Serves whatever is sent to a method that reads no plain JSON."""

    def takes(self, content_type: bytes, length: int) -> bool:
        """See Endpoint."""
        return 0 < length <= _SMALL and not content_type.partition(b";")[0].strip().lower().endswith(b"+pickle")
