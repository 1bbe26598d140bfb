"""One API of a service, in the common case: a body of JSON (others: form.py) comes in, one whole answer goes out.

BentoML rebuilds signatures, wrappers and JSON schemas for each request. They never change, so they are
looked up once here. Whatever is not this common case is left to BentoML's own code (see app.py).
"""

import functools
import json
import shutil
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from _bentoml_impl.serde import ALL_SERDE
from _bentoml_sdk.io_models import ARGS, KWARGS, IODescriptor, IOMixin, IORootModel
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import request_tempdir_pool, trace_context
from bentoml._internal.utils.http import set_cookies
from pydantic import BaseModel
from starlette.responses import Response

from noren_serve.answers import JSON, BrokenJson, Headers, encode, problem, send_body
from noren_serve.batching import Gone
from noren_serve.context import enter

_NOT_JSON = frozenset({b"multipart/form-data", b"application/x-www-form-urlencoded", b"application/vnd.bentoml+pickle"})
_PLAIN = frozenset([dict, list, int, float, bool, tuple, type(None)])  # what can never be rendered as text
JSON_TYPE = "application/json"
_SERDE = ALL_SERDE[JSON_TYPE]


def is_common(method: Any) -> bool:
    """Whether the method gives one whole answer, at a path that is always the same."""
    return not (method.is_stream or "{" in method.route)


def reads_json(method: Any) -> bool:
    """Whether the method's declaration lets JSON be read here."""
    spec = method.input_spec
    raw_file = issubclass(spec, IORootModel) and bool(spec.multipart_fields)
    own = _code(spec.from_http_request) is not _code(IOMixin.from_http_request) or (
        _code(spec.model_validate_json)
        not in map(_code, (BaseModel.model_validate_json, IORootModel.model_validate_json))
    )
    return not (raw_file or own)


def _code(method: Any) -> Any:
    """The function behind a bound class method."""
    return getattr(method, "__func__", method)


Whole = Callable[[int, bytes, Headers], Awaitable[None]]  # sends a whole answer: status, body, headers
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Endpoint:
    """Serves the common requests of one method.

    call    runs the method with (args, kwargs, gone) and gives its result
    server  value of the header of that name
    app     BentoML's application, as far as the method asks its request for it
    """

    def __init__(
        self, method: Any, call: Callable[..., Awaitable[Any]], context: Any, server: bytes, app: Any = None
    ) -> None:
        self._call, self._context, self._ctx_param, self._app = call, context, method.ctx_param, app
        self._input: type[IODescriptor] = method.input_spec
        self._unpack = _unpacker(self._input)
        self._output: type[IODescriptor] = method.output_spec
        self._is_model = not issubclass(self._output, IORootModel) and not self._output.multipart_fields
        self._is_root = issubclass(self._output, IORootModel)
        self._type = self._output.mime_type()
        self._dump = _dumper(self._output) if self._is_root and self._type == JSON_TYPE else None
        # BentoML builds the JSON schema of the output for each response, only to ask for this.
        self._output.mime_type = staticmethod(lambda value=self._type: value)
        self._server = (b"server", server)
        self._tells_trace = bool(BentoMLContainer.http.response.trace_id.get())
        self._own_mime = (b"content-type", self._with_charset(self._type).encode())
        self.path = method.route

    def takes(self, content_type: bytes, length: int) -> bool:
        """Whether a body of this type and of so many bytes (0: not known) is read here."""
        raise NotImplementedError

    async def __call__(
        self, scope: Any, receive: Any, send: Any, body: bytes, request_id: bytes, whole: Whole | None = None
    ) -> None:
        """Answer the request. `whole` is a quicker way than `send` for an answer that is whole."""
        over = False
        try:
            over = await self._serve(
                scope, receive, send, body, request_id, whole or functools.partial(send_body, send)
            )
        finally:
            _give_back(scope, over=over)

    async def _serve(self, scope: Any, receive: Any, send: Any, body: bytes, request_id: bytes, whole: Whole) -> bool:
        """Whether nothing of the request runs any more."""
        context = enter(scope, receive, body, self._app)
        headers: Headers = [self._server, (b"x-bentoml-request-id", request_id)]
        if self._tells_trace:
            headers.append((b"x-bentoml-trace-id", b"%032x" % trace_context.trace_id))
        try:
            args, kwargs = await self._arguments(scope, receive, body)
            if self._ctx_param is not None:
                kwargs[self._ctx_param] = self._context
            output = await self._call(args, kwargs, _hung_up(receive))
            answer = await self._answer(output)
            if self._ctx_param is not None:
                answer = self._with_context(answer)
            if isinstance(answer, Response):
                await self._send_response(answer, scope, receive, send, headers)
            else:
                await whole(200, answer, [self._own_mime, *headers])
        except Gone:
            return False
        except Exception as error:  # noqa: BLE001  every failure of an endpoint is an answer
            status, content, extra = problem(error, scope)
            await whole(status, encode(content), [JSON, *headers, *extra])
        if context.used:
            await context.run_background()
        return True

    async def _arguments(self, scope: Any, receive: Any, body: bytes) -> Arguments:
        raise NotImplementedError

    async def _answer(self, output: Any) -> bytes | Response:
        """The body, when it has this endpoint's own content type, or a whole response."""
        if self._dump and type(output) in _PLAIN:
            return json.dumps(self._dump(output)).encode()
        if self._is_model and isinstance(output, BaseModel):
            return output.model_dump_json().encode()
        if self._is_root and type(output) is str and self._type.startswith("text/"):
            rendered = self._output(output).model_dump()
            if isinstance(rendered, str):
                return rendered.encode()
        if isinstance(output, Response):
            return output
        response: Response = await self._output.to_http_response(output, _SERDE())
        return response

    def _with_context(self, answer: bytes | Response) -> Response:
        """The answer with the status, headers and cookies that the endpoint set in its context."""
        response = answer if isinstance(answer, Response) else Response(answer, media_type=self._type)
        response.status_code = self._context.response.status_code
        response.headers.update(self._context.response.metadata)
        set_cookies(response, self._context.response.cookies)
        return response

    async def _send_response(self, response: Response, scope: Any, receive: Any, send: Any, headers: Headers) -> None:
        for name, value in headers:
            response.headers[name.decode()] = value.decode("latin-1")
        await response(scope, receive, send)

    @staticmethod
    def _with_charset(media_type: str) -> str:
        return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type


class Json(Endpoint):
    """Serves what is JSON, which to BentoML is all that it does not know."""

    def __init__(
        self, method: Any, call: Callable[..., Awaitable[Any]], context: Any, server: bytes, app: Any = None
    ) -> None:
        super().__init__(method, call, context, server, app)
        self._read = _reader(self._input, self._unpack)

    def takes(self, content_type: bytes, length: int) -> bool:  # noqa: ARG002
        """See Endpoint."""
        return content_type.partition(b";")[0].strip().lower() not in _NOT_JSON

    async def _arguments(self, scope: Any, receive: Any, body: bytes) -> Arguments:  # noqa: ARG002
        return self._read(body)


def chosen(endpoints: Iterable[Endpoint], content_type: bytes, length: int) -> Endpoint | None:
    """Which of a path's endpoints takes the body; None when that is left to BentoML."""
    for endpoint in endpoints:
        if endpoint.takes(content_type, length):
            return endpoint
    return None


def _give_back(scope: Any, *, over: bool) -> None:
    """The request's folder for temporary files, if it had one; removed if a thread may still be at work in it."""
    folder = scope["state"].get("temp_dir")
    if folder and over:
        request_tempdir_pool.release(folder)
    elif folder:
        shutil.rmtree(folder, ignore_errors=True)


def _unpacker(spec: type[IODescriptor]) -> Callable[[IODescriptor], Arguments]:
    """How what has been read becomes arguments."""

    names = tuple(spec.model_fields)

    def fields(data: IODescriptor) -> Arguments:
        found = data.__dict__  # which may hold more: cached properties
        return (), {name: found[name] for name in names}

    def variadic(data: IODescriptor) -> Arguments:
        _, kwargs = fields(data)
        args = (kwargs.pop(ARGS),) if ARGS in kwargs else ()
        kwargs.update(kwargs.pop(KWARGS, {}))
        return args, kwargs

    if getattr(spec, "__root_input__", False):
        return lambda data: ((data.root if isinstance(data, IORootModel) else data,), {})
    return variadic if {ARGS, KWARGS} & set(names) else fields


def _reader(spec: type[IODescriptor], unpack: Callable[[IODescriptor], Arguments]) -> Callable[[bytes], Arguments]:
    """How a JSON body becomes arguments."""
    validate_json = spec.__pydantic_validator__.validate_json
    validate_python = spec.__pydantic_validator__.validate_python
    is_root = issubclass(spec, IORootModel)
    is_text = is_root and spec.model_json_schema().get("type") in ("string", "file")

    def root(body: bytes) -> Arguments:
        body = body or b"{}"
        return unpack(validate_python({"root": body if is_text else _parsed(body)}))

    return root if is_root else lambda body: unpack(validate_json(body or b"{}"))


def _dumper(spec: type[IODescriptor]) -> Callable[[Any], Any]:
    """How a result becomes what JSON has: as its model would do it, without the model's layers of keyword arguments."""
    if spec.__init__ is not IORootModel.__init__ or spec.model_dump is not IORootModel.model_dump:
        return lambda output: spec(output).model_dump(mode="json")
    validate, to_python = spec.__pydantic_validator__.validate_python, spec.__pydantic_serializer__.to_python
    return lambda output: to_python(validate({"root": output}, self_instance=object.__new__(spec)), mode="json")["root"]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenJson(str(error) or type(error).__name__) from None


def _hung_up(receive: Any) -> Callable[[], bool] | None:
    """Asks uvicorn whether the client is still there, without waiting for its next message."""
    cycle: Any = getattr(receive, "__self__", None)
    return (lambda: bool(cycle.disconnected)) if hasattr(cycle, "disconnected") else None
