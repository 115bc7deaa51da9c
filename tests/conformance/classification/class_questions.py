"""What is asked about classes, over HTTP and gRPC."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from tests.conformance import grpc_questions, questions
from tests.conformance.grpc_questions import Parameter, Request

INTEGERS = ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
SIX = [1.0, 2.0, 3.0, 6.0, 5.0, 4.0]
NAN, INFINITY = float("nan"), float("inf")
DEADLY = (
    ("of_string", "BYTES", [1, 2], ["a", "b"]),
    ("of_fp32", "FP32", [2, 0], []),
    ("unbatched", "FP32", [0], []),
)
"""Model, data type, shape and data whose classification, over HTTP, is the end of the real server (2.51)."""


def document(model: str, data_type: str, shape: Sequence[int], data: Any, *outputs: Any) -> tuple[dict[str, Any], str]:
    names = ("FROM", "TO") if model == "ensemble" else ("IN", "OUT")
    return {
        "inputs": [{"name": names[0], "datatype": data_type, "shape": list(shape), **data}],
        "outputs": [{"name": names[1], "parameters": parameters} for parameters in outputs],
    }, f"/v2/models/{model}/infer"


def ask(
    title: str,
    count: Any,
    shape: Sequence[int],
    data: list[Any],
    model: str = "of_fp32",
    kind: str = "FP32",
    **more: Any,
) -> questions.Question:
    parameters = {"classification": count, **more}
    asked, path = document(model, kind, shape, {"data": data}, parameters)
    return questions.ask(title, asked, path)


def ask_binary(
    title: str, count: int, form: str, data: list[Any], model: str, kind: str, **more: Any
) -> questions.Question:
    payload = struct.pack(f"<{len(data)}{form}", *data)
    size = {"parameters": {"binary_data_size": len(payload)}}
    asked, path = document(model, kind, [1, len(data)], size, {"classification": count, **more})
    return questions.binary(title, asked, payload, path)


def http() -> Iterator[questions.Question]:
    """Over HTTP."""
    yield ask("BOOL", 4, [1, 3], [True, False, True], "of_bool", "BOOL")
    for kind in (*INTEGERS, "FP32", "FP64"):
        yield ask(kind, 4, [1, 5], [3, 1, 3, 2, 0], f"of_{kind.lower()}", kind)
    yield ask_binary("FP16", 2, "e", [1, 3, 2], "of_fp16", "FP16")
    yield ask_binary("BF16", 2, "H", [0x3F80, 0x4000], "of_bf16", "BF16")
    yield ask_binary("FP16, binary out", 2, "e", [1, 3, 2], "of_fp16", "FP16", binary_data=True)
    yield ask("negative numbers", 2, [1, 3], [-5, -1, -128], "of_int8", "INT8")
    yield ask("large numbers", 2, [1, 3], [2**64 - 1, 0, 2**63], "of_uint64", "UINT64")
    fractions = [1.5, -0.0, 0.0, 1e30, 1e-9, -1.23456789]
    yield ask("fractions of FP32", 9, [1, 6], fractions)
    yield ask("fractions of FP64", 9, [1, 6], [*fractions[:3], 1e300, *fractions[4:]], "of_fp64", "FP64")
    yield ask_binary("infinities", 9, "f", [3.4e38, INFINITY, -INFINITY], "of_fp32", "FP32")
    yield ask_binary("NaN behind all others", 9, "f", [0, 1, 3, 2, NAN], "of_fp32", "FP32")
    yield ask_binary("NaN between", 9, "f", [1, NAN, 3, NAN, 2], "of_fp32", "FP32")
    yield ask_binary("NaN with a sign", 9, "d", [1, 0, -NAN], "of_fp64", "FP64")
    yield ask("a batch", 2, [2, 3], SIX)
    yield ask("a batch, binary out", 2, [2, 3], SIX, binary_data=True)
    for count in (0, 1, 2**31, -1, 2**32, 2**32 + 1, 2**64 - 1, 2**64, 1.0, 1.5, "2", True, None, [1], {}):
        yield ask(f"count {count!r}", count, [2, 3], SIX)
    cube = [1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]
    yield ask("several dimensions, labels of any bytes", 4, [2, 2, 3], cube, "cube")
    yield ask("several dimensions, binary out", 4, [2, 2, 3], cube, "cube", binary_data=True)
    yield ask("without batching", 2, [3], [1, 3, 2], "unbatched")
    yield ask("without batching, more than there are", 9, [3], [1, 3, 2], "unbatched")
    yield ask("without batching, two dimensions", 2, [2, 3], SIX, "plane")
    yield ask("an ensemble", 2, [2, 3], SIX, "ensemble")
    yield ask("a decoupled model", 2, [1, 3], SIX[:3], "decoupled")
    yield ask("16 equal ones", 5, [1, 16], [1] * 16)
    yield ask("17 equal ones", 17, [1, 17], [1] * 17)
    for first, second in (({"classification": 2}, {"classification": 1}), ({}, {"classification": 2})):
        for pair in ((first, second), (second, first)):
            asked, path = document("of_fp32", "FP32", [1, 2], {"data": [1, 2]}, *pair)
            yield questions.ask(f"named twice: {pair}", asked, path)
    asked, path = document("of_fp32", "FP32", [1, 2], {"data": [1, 2]}, {"classification": 1})
    yield questions.ask("with binary_data_output", {**asked, "parameters": {"binary_data_output": True}}, path)
    del asked["outputs"]
    yield questions.ask("as a request's parameter", {**asked, "parameters": {"classification": 1}}, path)


def message(
    count: Any, shape: Sequence[int] = (2, 3), raw: bytes = b"", model: str = "of_fp32", kind: str = "FP32", **more: Any
) -> Any:
    """`count`: a number of classes, keywords of an InferParameter, or None for an output without parameters."""
    names = ("FROM", "TO") if model == "ensemble" else ("IN", "OUT")
    counts = count if isinstance(count, tuple) else (count,)
    outputs = []
    for one in counts:
        output = Request.InferRequestedOutputTensor(name=names[1])
        if one is not None:
            keywords = {"int64_param": one} if isinstance(one, int) else one
            output.parameters["classification"].CopyFrom(Parameter(**keywords))
        outputs.append(output)
    inputs = [grpc_questions.tensor(names[0], kind, shape)]
    return grpc_questions.request(inputs, [raw or struct.pack("<6f", *SIX)], model, outputs=outputs, **more)


def grpc() -> Iterator[grpc_questions.Question]:
    """Over gRPC."""
    infer, question = grpc_questions.infer, grpc_questions.Question
    for count in (2, 9, 2**63 - 1, 2**32, 2**32 + 1, 0, -1, -(2**31)):
        yield infer(f"count {count}", message(count))
    for keywords in ({"string_param": "2"}, {"bool_param": True}, {"double_param": 2.0}, {"uint64_param": 2}, {}):
        yield infer(f"count {keywords}", message(keywords))
    for counts in ((1, 2), (2, 1), (None, 2), (2, None), (None, {"string_param": "2"})):
        yield infer(f"named twice: {counts}", message(counts))
    half = message(1, (1, 2), bytes(4), "of_fp16", "FP16", id="half")
    yield infer("FP16", half)
    yield infer("BOOL", message(1, (1, 2), b"\0\1", "of_bool", "BOOL"))
    yield infer("BF16", message(1, (1, 2), bytes(4), "of_bf16", "BF16"))
    yield infer("INT64", message(2, (1, 3), struct.pack("<3q", -1, 2**62, 0), "of_int64", "INT64"))
    yield infer("several dimensions", message(2, (2, 2, 3), struct.pack("<12f", *range(12)), "cube"))
    yield infer("without batching", message(2, (2, 3), model="plane", id="mine"))
    yield infer("an ensemble", message(2, model="ensemble"))
    unknown = message(2)
    unknown.outputs[0].name = "NOPE"
    yield infer("an unknown output", unknown)
    mixed = [
        message(2, id="a"),
        message(None, id="b"),
        half,
        message({"string_param": "2"}, id="d"),
        message(1, id="e"),
    ]
    yield question("stream", "ModelStreamInfer", mixed)
    yield question("stream of an ensemble", "ModelStreamInfer", [message(2, model="ensemble", id="a")])
    end = {"triton_enable_empty_final_response": Parameter(bool_param=True)}
    yield question(
        "stream of a decoupled model", "ModelStreamInfer", [message(2, model="decoupled", id="a", parameters=end)]
    )
    yield question("stream with triton_grpc_error", "ModelStreamInfer", [half], {"triton_grpc_error": "true"})
