"""What hostile bytes are fed to: each target takes any bytes and must neither raise, nor hang, nor grow.

A target knows what its room promises and asserts it: the same bytes again give the same result, two readers agree,
a limit holds. Only the errors that a client gets are caught.
"""

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from atoll.config.json_form import from_json
from atoll.config.model_config import ModelConfig
from atoll.config.textproto import read_config_text
from atoll.errors import AtollError
from atoll.frontends.apis import Api
from atoll.frontends.http.chunked import ChunkedBody, Progress
from atoll.frontends.http.compression import choose, inflate
from atoll.frontends.http.head import HeadParser
from atoll.frontends.http.limits import ConnectionLimits
from atoll.frontends.http.routes import Route, RouteTable
from atoll.protocol import grpc_codec, json_text
from atoll.protocol.generate import GenerateBody, decode_generate
from atoll.protocol.generate_answer import encode_document
from atoll.protocol.grpc_codec import InferCodec
from atoll.protocol.grpc_message import InferMessage
from atoll.protocol.grpc_request import build_request
from atoll.protocol.http_codec import InferBody, decode_infer, decode_raw
from atoll.protocol.http_memory import InferDecoder
from atoll.protocol.repository import load_from_json, only_ready, unload_from_json
from atoll.protocol.schema import message_class
from atoll.request import InferenceRequest, InferenceResponse

LIMIT = 1 << 16


@dataclass(frozen=True)
class Target:
    """`seeds`: bytes that are right, or nearly so, from which a fuzzer starts."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


class _Nobody:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("a request that is only decoded is not answered")


# ---- HTTP


def _described(body: InferBody) -> Any:
    inputs = [
        (one.name, one.datatype, one.shape, bytes(one.buffer) if one.buffer is not None else one.array().tolist())
        for one in body.inputs.values()
    ]
    form = body.form
    told = (body.id, inputs, body.output_names, body.parameters, body.priority, body.timeout_us)
    return repr((*told, form.binary_default, form.binary, form.classes))  # NaN is equal to itself here


def _outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except AtollError as error:
        return type(error), str(error)


_DECODER = InferDecoder()  # one for all inputs, so that what it remembers takes part
_RAW_CONFIG: ModelConfig = from_json(
    {"name": "m", "max_batch_size": 4, "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 2]}]}
)


def http_body(data: bytes) -> None:
    """Two bytes say how long the JSON is; the decoder with a memory and the one without agree."""
    if len(data) < 2:
        return
    body = memoryview(data)[2:]
    length = struct.unpack_from("<H", data)[0]
    if length > len(body):
        length = len(body)
    fresh = _outcome(lambda: _described(decode_infer(body, length, "m")))
    for _ in range(2):
        assert _outcome(lambda: _described(_DECODER.decode(body, length, "m"))) == fresh
    _outcome(lambda: _described(decode_raw(body, _RAW_CONFIG)))


def _http_seed(document: Any, payload: bytes = b"") -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<H", len(text)) + text + payload


_TENSOR = {"name": "X", "datatype": "FP32", "shape": [1, 2]}
_HTTP_BODIES = (
    _http_seed({"id": "7", "inputs": [{**_TENSOR, "data": [1.5, 2]}], "outputs": [{"name": "Y"}]}),
    _http_seed({"inputs": [{**_TENSOR, "parameters": {"binary_data_size": 8}}]}, bytes(8)),
    _http_seed(
        {
            "id": "a",
            "parameters": {"sequence_id": 4, "sequence_start": True, "priority": 2, "binary_data_output": True},
            "inputs": [{"name": "S", "datatype": "BYTES", "shape": [2], "data": ["a", "\u00e9\ud800"]}],
            "outputs": [{"name": "Y", "parameters": {"binary_data": True, "classification": 3}}],
        }
    ),
    _http_seed(
        {
            "inputs": [
                {
                    **_TENSOR,
                    "parameters": {
                        "shared_memory_region": "r",
                        "shared_memory_offset": 4,
                        "shared_memory_byte_size": 8,
                    },
                }
            ],
            "outputs": [{"name": "Y", "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}],
        }
    ),
    _http_seed({"inputs": [{"name": "X", "datatype": "BOOL", "shape": [2, 2], "data": [[True, False], [0, 1]]}]}),
)


_GENERATE_CONFIG: ModelConfig = from_json(
    {
        "name": "m",
        "max_batch_size": 4,
        "input": [
            {"name": "text_input", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "X", "data_type": "TYPE_FP32", "dims": [-1, 2]},
            {"name": "I", "data_type": "TYPE_INT8", "dims": [-1, -1]},
        ],
    }
)


def generate_body(data: bytes) -> None:
    """Each tensor has as many elements as its shape says, or is left to the engine to refuse; nothing else is large."""
    decoded = _outcome(lambda: decode_generate(memoryview(data), _GENERATE_CONFIG))
    if not isinstance(decoded, GenerateBody):
        return
    for tensor in decoded.inputs.values():
        assert tensor.buffer is not None or tensor.array().shape == tensor.shape
        assert len(tensor.shape) == len(_GENERATE_DIMS[tensor.name]) + 1
    for value in decoded.parameters.values():
        assert isinstance(value, str | bool | float) or -(2**63) <= value < 2**64
    response = InferenceResponse("m", "1", decoded.id, list(decoded.inputs.values()), decoded.parameters)
    if all(tensor.buffer is None for tensor in decoded.inputs.values()):
        assert b"\n" not in encode_document(response)


_GENERATE_DIMS = {spec.name: spec.dims for spec in _GENERATE_CONFIG.input}
_GENERATE = (
    b'{"text_input":"a","temperature":0.5,"stream":true,"id":"7"}',
    b'{"text_input":["a","b"],"X":[1,2,3.5,4],"parameters":{"I":[[1],[-2]],"x":null}}',
    b'{"I":5,"parameters":{"sequence_id":4,"sequence_start":true,"big":18446744073709551615}}',
)


def http_head(data: bytes) -> None:
    """A head that is parsed again is the same one, and leads somewhere or says why not."""
    routes = RouteTable(
        [
            Route("POST", "/v2/models/{model}/versions/{version}/infer", lambda exchange, body: None, Api.INFERENCE),
            Route("GET", "/v2/{repository}", lambda exchange, body: None, Api.METADATA, control=True),
        ]
    )
    parser = HeadParser(routes, ConnectionLimits())
    head = parser.parse(data)
    again = parser.parse(data)
    assert (again.method, again.headers, again.length) == (head.method, head.headers, head.length)
    assert (head.refusal is None) <= (head.route is not None)
    assert head.length >= -1


_HEADS = (
    b"POST /v2/models/a%2f..%2fb/versions/3/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n"
    b"Inference-Header-Content-Length: 5\r\nAccept-Encoding: gzip;q=0.5, deflate\r\n\r\n",
    b"GET /v2/r HTTP/1.0\r\nOrigin: http://evil\r\nConnection: keep-alive, close\r\n\r\n",
    b"GET http://h:1/v2/r?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n",
    b"POST * HTTP/1.1\r\nContent-Length: 99999999999999999999\r\nAtoll-Deadline-Seconds: 1e9\r\n\r\n",
)


def http_chunks(data: bytes) -> None:
    """Wherever a chunked body is cut, it comes out the same, and never longer than its limit."""
    if not data:
        return
    step = data[0] % 17 + 1
    data = data[1:]
    whole = ChunkedBody(LIMIT)
    outcome = whole.feed(data, 0)
    cut = ChunkedBody(LIMIT)
    progress = Progress.MORE
    for start in range(0, len(data), step):
        progress, _ = cut.feed(data[start : start + step], 0)
        if progress is not Progress.MORE:
            break
    assert (progress is Progress.DONE) == (outcome[0] is Progress.DONE) or not data
    if progress is Progress.DONE:
        assert bytes(cut.body) == bytes(whole.body)
    assert len(whole.body) <= LIMIT + len(data)


_CHUNKS = (
    b"\x03" + b'5;x=y\r\n{"rea\r\n9\r\ndy":true}\r\n0\r\nTrailer: t\r\n\r\n',
    b"\x00" + b"0\r\n\r\n",
    b"\x01" + b"fffffffffffffff\r\nabc",
)


def compressed(data: bytes) -> None:
    """However much a body would inflate to, it stops at the limit."""
    with suppress(AtollError):
        assert len(inflate(data, LIMIT)) <= LIMIT
    assert choose(data.decode("latin-1")) in ("", "gzip", "deflate")


_COMPRESSED = (
    zlib.compress(b"x" * 1000),
    zlib.compressobj(wbits=31).compress(b"") + zlib.compress(bytes(1 << 20), wbits=31),
    zlib.compress(b"a", wbits=31) + zlib.compress(b"b", wbits=31),
)


def repository_request(data: bytes) -> None:
    """Bodies of load, unload and index."""
    _outcome(lambda: load_from_json(data, "m"))
    dependents, problem = unload_from_json(data)
    assert not (dependents and problem)
    _outcome(lambda: only_ready(data))


_REPOSITORY = (
    b'{"parameters":{"config":"{\\"max_batch_size\\":1}","file:1/model.onnx":"AAAA"}}',
    b'{"parameters":{"unload_dependents":true}}',
    b'{"ready":true}',
)


def model_config(data: bytes) -> None:
    """A configuration in JSON, as load requests bring it, and as text."""
    text = data.decode("utf-8", "replace")

    def read_json() -> ModelConfig:
        return from_json(json_text.parse(data))

    _outcome(read_json)
    _outcome(lambda: read_config_text(text, "config.pbtxt"))


_CONFIGS = (
    b'{"name":"m","max_batch_size":8,"input":[{"name":"X","data_type":"TYPE_FP32","dims":[-1]}],'
    b'"dynamic_batching":{"preferred_batch_size":[4]},"parameters":{"k":{"string_value":"v"}}}',
    b'name: "m"\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ 4, -1 ] } ]\ninstance_group [{ count: 2 }]\n',
)


# ---- gRPC

_CODEC = InferCodec()  # one for all inputs, so that what it remembers takes part
_ModelInferRequest = message_class("inference.ModelInferRequest")


def _built(parsed: InferMessage) -> Any:
    request, parameters = build_request(parsed, _Nobody(), None)
    return repr((_request_described(request), parameters))


def _request_described(request: InferenceRequest) -> Any:
    inputs = [
        (one.name, one.datatype, one.shape, bytes(one.buffer) if one.buffer is not None else one.array().tolist())
        for one in request.inputs.values()
    ]
    told = (request.model_name, request.model_version, request.id, inputs, request.output_names)
    return (*told, request.parameters, request.priority, request.timeout_us)


def grpc_message(data: bytes) -> None:
    """The reader written by hand, with and without its memory, and protobuf's make the same request."""
    first = _outcome(lambda: _built(_CODEC.parse(data)))
    assert _outcome(lambda: _built(_CODEC.parse(data))) == first
    fresh = InferCodec()
    assert _outcome(lambda: _built(fresh.parse(data))) == first
    try:
        _ModelInferRequest.FromString(data)
    except grpc_codec.DecodeError:
        assert isinstance(first, tuple)


def _grpc_seed(**fields: Any) -> bytes:
    encoded: bytes = _ModelInferRequest(**fields).SerializeToString()
    return encoded


def _choice(**value: Any) -> Mapping[str, Any]:
    return value


_GRPC_MESSAGES = (
    _grpc_seed(
        model_name="m",
        model_version="1",
        id="7",
        inputs=[{"name": "X", "datatype": "FP32", "shape": [1, 2]}],
        outputs=[{"name": "Y", "parameters": {"classification": _choice(int64_param=3)}}],
        raw_input_contents=[bytes(8)],
        parameters={"sequence_id": _choice(int64_param=5), "priority": _choice(uint64_param=1)},
    ),
    _grpc_seed(
        model_name="m",
        inputs=[
            {"name": "X", "datatype": "INT8", "shape": [3], "contents": {"int_contents": [1, -2, 300]}},
            {"name": "S", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [b"\xff"]}},
        ],
        parameters={"custom": _choice(string_param="v"), "triton_x": _choice(bool_param=True)},
    ),
    _grpc_seed(
        model_name="m",
        inputs=[
            {
                "name": "X",
                "datatype": "FP32",
                "shape": [2],
                "parameters": {
                    "shared_memory_region": _choice(string_param="r"),
                    "shared_memory_byte_size": _choice(int64_param=8),
                },
            }
        ],
    ),
)


TARGETS: Mapping[str, Target] = {
    "http_body": Target(http_body, _HTTP_BODIES),
    "generate_body": Target(generate_body, _GENERATE),
    "http_head": Target(http_head, _HEADS),
    "http_chunks": Target(http_chunks, _CHUNKS),
    "compressed": Target(compressed, _COMPRESSED),
    "repository_request": Target(repository_request, _REPOSITORY),
    "model_config": Target(model_config, _CONFIGS),
    "grpc_message": Target(grpc_message, _GRPC_MESSAGES),
}
