"""Bodies of requests for inference, over HTTP."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from tests.fuzz.target import Target, outcome

from atoll.config.json_form import from_json
from atoll.config.model_config import ModelConfig
from atoll.protocol.generate import GenerateBody, decode_generate
from atoll.protocol.generate_answer import encode_document
from atoll.protocol.http_codec import InferBody, decode_infer, decode_raw
from atoll.protocol.http_memory import InferDecoder
from atoll.request import InferenceResponse


def _described(body: InferBody) -> Any:
    inputs = [
        (one.name, one.datatype, one.shape, bytes(one.buffer) if one.buffer is not None else one.array().tolist())
        for one in body.inputs.values()
    ]
    form = body.form
    told = (body.id, inputs, body.output_names, body.parameters, body.priority, body.timeout_us)
    return repr((*told, form.binary_default, form.binary, form.classes))  # NaN is equal to itself here


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
    fresh = outcome(lambda: _described(decode_infer(body, length, "m")))
    for _ in range(2):
        assert outcome(lambda: _described(_DECODER.decode(body, length, "m"))) == fresh
    outcome(lambda: _described(decode_raw(body, _RAW_CONFIG)))


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
    decoded = outcome(lambda: decode_generate(memoryview(data), _GENERATE_CONFIG))
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


TARGETS: Mapping[str, Target] = {
    "http_body": Target(http_body, _HTTP_BODIES),
    "generate_body": Target(generate_body, _GENERATE),
}
