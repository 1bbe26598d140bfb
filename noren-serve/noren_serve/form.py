"""One API of a service, asked by a form: fields and small files, read by BentoML's own code as any form is."""

from typing import Any

from _bentoml_impl.serde import MultipartSerde
from starlette.requests import Request

from noren_serve.endpoint import Arguments, Endpoint

_TYPES = frozenset({b"multipart/form-data", b"application/x-www-form-urlencoded"})
_SERDE = MultipartSerde()
_SMALL = 1 << 20  # bytes: what is larger comes as a stream, and goes to the disk while it does


class Form(Endpoint):
    """Serves the forms of one method whose bodies are small and of a known length."""

    def takes(self, content_type: bytes, length: int) -> bool:
        """See Endpoint."""
        return 0 < length <= _SMALL and content_type.partition(b";")[0].strip() in _TYPES

    async def _arguments(self, scope: Any, receive: Any, body: bytes) -> Arguments:
        request = Request(scope, receive)
        request._body = body
        return self._unpack(await self._input.from_http_request(request, _SERDE))
