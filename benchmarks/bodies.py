"""One inference request as bytes, for load generators that know HTTP but not the protocol on top of it."""

import json
import struct
from collections.abc import Sequence

import numpy as np

from benchmarks.plan import Case, Tensor

_NUMPY = {"FP32": np.float32, "INT32": np.int32, "INT64": np.int64}


def tensor_bytes(tensor: Tensor, vocabulary: int | None) -> bytes:
    """Random values from a fixed seed as the protocol wants them, little-endian; integers stay below `vocabulary`."""
    random = np.random.default_rng(0)
    if tensor.datatype == "FP32":
        return random.random(tensor.dims, np.float32).astype("<f4").tobytes()
    dtype = np.dtype(_NUMPY[tensor.datatype]).newbyteorder("<")
    return random.integers(0, vocabulary or 1000, tensor.dims).astype(dtype).tobytes()


def http_request(case: Case) -> tuple[dict[str, str], bytes]:
    """Headers and body of a POST to /v2/models/MODEL/infer, binary tensors in both directions."""
    return http_infer_request(case.inputs, [tensor_bytes(tensor, case.vocabulary) for tensor in case.inputs])


def http_infer_request(tensors: Sequence[Tensor], raw: Sequence[bytes]) -> tuple[dict[str, str], bytes]:
    """The same with given contents: one row of each tensor."""
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [1, *tensor.dims],
            "parameters": {"binary_data_size": len(data)},
        }
        for tensor, data in zip(tensors, raw, strict=True)
    ]
    document = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(document))}
    return headers, document + b"".join(raw)


def grpc_message(case: Case) -> bytes:
    """An inference.ModelInferRequest with gRPC's five-byte frame before it."""
    raw = [tensor_bytes(tensor, case.vocabulary) for tensor in case.inputs]
    message = model_infer_request(case.model, case.inputs, raw)
    return struct.pack(">BI", 0, len(message)) + message


def model_infer_request(model: str, tensors: Sequence[Tensor], raw: Sequence[bytes]) -> bytes:
    """An inference.ModelInferRequest of one row.

    Written by hand, because generated protobuf classes would be one more thing to build; the field numbers are those of
    Triton's published service definition: model_name 1, inputs 5 (name 1, datatype 2, shape 3), raw_input_contents 7.
    """
    message = _field(1, model.encode())
    for tensor in tensors:
        shape = b"".join(_varint(size) for size in (1, *tensor.dims))
        message += _field(5, _field(1, tensor.name.encode()) + _field(2, tensor.datatype.encode()) + _field(3, shape))
    for data in raw:
        message += _field(7, data)
    return message


def perf_analyzer_data(case: Case, rows: int = 16) -> str:
    """perf_analyzer's --input-data document: `rows` requests of random integers below the case's vocabulary."""
    random = np.random.default_rng(0)
    data = [
        {
            tensor.name: random.integers(0, case.vocabulary or 1000, tensor.dims).ravel().tolist()
            for tensor in case.inputs
        }
        for _ in range(rows)
    ]
    return json.dumps({"data": data})


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content
