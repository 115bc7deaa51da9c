"""Messages of gRPC."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from tests.fuzz.target import Target, outcome

from atoll.protocol.grpc_codec import InferCodec
from atoll.protocol.grpc_message import InferMessage
from atoll.protocol.grpc_request import build_request
from atoll.protocol.schema import message_class
from atoll.request import InferenceRequest, InferenceResponse


class _Nobody:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        raise AssertionError("a request that is only decoded is not answered")


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
    first = outcome(lambda: _built(_CODEC.parse(data)))
    assert outcome(lambda: _built(_CODEC.parse(data))) == first
    fresh = InferCodec()
    assert outcome(lambda: _built(fresh.parse(data))) == first
    try:
        _ModelInferRequest.FromString(data)
    except DecodeError:
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


TARGETS: Mapping[str, Target] = {"grpc_message": Target(grpc_message, _GRPC_MESSAGES)}
