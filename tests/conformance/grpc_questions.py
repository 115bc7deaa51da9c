"""Questions over gRPC, and how the answers to them are written down."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2, service_pb2_grpc

Request = service_pb2.ModelInferRequest
Tensor = Request.InferInputTensor
Parameter = service_pb2.InferParameter

HUGE = "99999999999999999999"
RAW = [struct.pack("<16i", *range(16)), struct.pack("<16i", *[1] * 16)]


@dataclass(frozen=True)
class Question:
    """One unary call (one message) or stream (any number of them)."""

    name: str
    method: str
    messages: Sequence[Message]
    metadata: Mapping[str, str] = field(default_factory=dict)


def questions() -> Iterator[Question]:
    """All questions."""
    yield from _documents()
    yield from _raw_contents()
    yield from _typed_contents()
    yield from _inputs_and_shapes()
    yield from _outputs_and_parameters()
    yield from _models_and_versions()
    yield from _streams()


def ask_all(address: str) -> dict[str, Any]:
    """The answers of the server at `address`, by question."""
    with grpc.insecure_channel(address) as channel:
        return {question.name: ask(channel, question) for question in questions()}


def ask(channel: grpc.Channel, question: Question) -> dict[str, Any]:
    """One answer: its messages as JSON documents, then the status, its details and the metadata around it."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    method = getattr(stub, question.method)
    call: Any = None
    messages = []
    try:
        if question.method == "ModelStreamInfer":
            call = method(iter(question.messages), timeout=30, metadata=tuple(question.metadata.items()))
            messages.extend(MessageToDict(message, preserving_proto_field_name=True) for message in call)
        else:
            message, call = method.with_call(question.messages[0], timeout=30)
            messages.append(MessageToDict(message, preserving_proto_field_name=True))
    except grpc.RpcError as error:
        call = error
    return as_record(call, messages)


def as_record(call: Any, messages: Sequence[Any]) -> dict[str, Any]:
    """What is kept of a call that has ended, or of the error that it ended with; of metadata the names alone."""
    metadata = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
    return {
        "status": call.code().name,
        "details": call.details() or "",
        "metadata": sorted(key for key, _ in metadata),
        "messages": list(messages),
    }


def tensor(name: str = "INPUT0", data_type: str = "INT32", shape: Sequence[int] = (1, 16), **contents: Any) -> Any:
    result = Tensor(name=name, datatype=data_type, shape=list(shape))
    for kind, values in contents.items():
        getattr(result.contents, kind).extend(values)
    return result


def request(inputs: Sequence[Any], raw: Sequence[bytes] = (), model: str = "simple", **fields: Any) -> Any:
    return Request(model_name=model, inputs=inputs, raw_input_contents=list(raw), **fields)


def infer(name: str, message: Any) -> Question:
    return Question(name, "ModelInfer", [message])


def pair(**first: Any) -> list[Any]:
    return [tensor(**first), tensor("INPUT1")]


def _documents() -> Iterator[Question]:
    for method in ("ServerLive", "ServerReady", "ServerMetadata"):
        yield Question(method, method, [getattr(service_pb2, f"{method}Request")()])
    for ready in (False, True):
        message = service_pb2.RepositoryIndexRequest(ready=ready)
        yield Question(f"RepositoryIndex, ready {ready}", "RepositoryIndex", [message])
    for name in ("simple", "simple_nobatch", "two_versions", "identity_bytes", "preferred", "nope", ""):
        for version in ("", *(("1", "3", "2", "0", "01", "x", "-1", HUGE) if name == "two_versions" else ())):
            for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
                message = getattr(service_pb2, f"{method}Request")(name=name, version=version)
                yield Question(f"{method} of '{name}' '{version}'", method, [message])


def _raw_contents() -> Iterator[Question]:
    yield infer("raw", request(pair(), RAW))
    yield infer("raw with an id", request(pair(), RAW, id="abc"))
    yield infer("raw, one missing", request(pair(), RAW[:1]))
    yield infer("raw, one too many", request(pair(), [*RAW, RAW[0]]))
    yield infer("no data", request(pair()))
    yield infer("raw, too short", request(pair(), [RAW[0][:60], RAW[1]]))
    yield infer("raw, too long", request(pair(), [RAW[0] + b"xxxx", RAW[1]]))
    yield infer("raw, empty", request(pair(), [b"", b""]))
    both = [tensor(int_contents=range(16)), tensor("INPUT1", int_contents=[1] * 16)]
    yield infer("raw and typed", request(both, RAW))
    yield infer("raw for one, typed for one", request([both[0], tensor("INPUT1")], RAW[1:]))
    for model, data_type, shape, raw in (
        ("identity_fp16", "FP16", (1, 2), b"\x00\x3c\x00\x40"),
        ("identity_bf16", "BF16", (1, 2), b"\x80\x3f\x00\x40"),
        ("identity_bool", "BOOL", (1, 2), b"\x00\x01"),
        ("identity_fp32", "FP32", (1, 0), b""),
        ("identity_bytes", "BYTES", (1, 2), b"\1\0\0\0a\0\0\0\0"),
        ("identity_bytes", "BYTES", (1, 2), b"\x09\0\0\0a\0\0\0\0"),
        ("identity_bytes", "BYTES", (1, 2), b"\1\0\0\0a"),
        ("identity_bytes", "BYTES", (1, 2), b"\1\0\0\0a" + b"\0" * 8),
        ("identity_bytes", "BYTES", (1, 2), b"\1\0\0\0a\0"),
        ("identity_bytes", "BYTES", (1, 2), b""),
    ):
        message = request([tensor(data_type=data_type, shape=shape)], [raw], model)
        yield infer(f"raw {data_type} {list(shape)} of {raw.hex()}", message)


def _typed_contents() -> Iterator[Question]:
    second = tensor("INPUT1", int_contents=[1] * 16)
    for name, contents in {
        "right": {"int_contents": range(16)},
        "15 elements": {"int_contents": range(15)},
        "17 elements": {"int_contents": range(17)},
        "floats": {"fp32_contents": range(16)},
        "int64": {"int64_contents": range(16)},
        "of two kinds": {"int_contents": range(16), "fp32_contents": range(16)},
    }.items():
        yield infer(f"typed: {name}", request([tensor(**contents), second]))
    yield infer("typed: unknown data type", request([tensor(data_type="FOO", int_contents=range(16)), second]))
    for model, kind, values in (
        ("BOOL", "bool_contents", [True, False]),
        ("BOOL", "int_contents", [1, 0]),
        ("UINT8", "uint_contents", [1, 255]),
        ("UINT8", "uint_contents", [1, 256]),
        ("UINT16", "uint_contents", [1, 65535]),
        ("UINT32", "uint_contents", [1, 2**32 - 1]),
        ("UINT64", "uint64_contents", [1, 2**64 - 1]),
        ("INT8", "int_contents", [-1, 127]),
        ("INT8", "int_contents", [-1, 300]),
        ("INT16", "int_contents", [-1, 5]),
        ("INT32", "int_contents", [-1, 5]),
        ("INT64", "int64_contents", [-1, 5]),
        ("FP32", "fp32_contents", [1.5, 2]),
        ("FP64", "fp64_contents", [1.5, 2]),
        ("FP16", "fp32_contents", [1.5, 2]),
        ("BF16", "fp32_contents", [1.5, 2]),
        ("FP16", "bytes_contents", [b"\0\0", b"\0\0"]),
        ("BYTES", "bytes_contents", [b"a", b"\xff\0"]),
        ("BYTES", "bytes_contents", [b"a"]),
        ("BYTES", "bytes_contents", [b"a", b"b", b"c"]),
        ("BYTES", "int_contents", [1, 2]),
    ):
        message = request([tensor(data_type=model, shape=(1, 2), **{kind: values})], model=f"identity_{model.lower()}")
        yield infer(f"typed {model} as {kind} {values}", message)


def _inputs_and_shapes() -> Iterator[Question]:
    for data_type in ("", "FOO", "int32", "FP32"):
        yield infer(f"data type '{data_type}'", request(pair(data_type=data_type), RAW))
    for name in ("", "X", "INPUT1"):
        yield infer(f"an input named '{name}'", request(pair(name=name), RAW))
    yield infer("two unknown inputs", request([tensor("X"), tensor("Y")], RAW))
    yield infer("an input missing", request([tensor()], RAW[:1]))
    yield infer("an input missing, with an id", request([tensor()], RAW[:1], id="my-id"))
    yield infer("an input too many", request([*pair(), tensor("X")], [*RAW, RAW[0]]))
    yield infer("no inputs", request([]))
    for shape in (
        *((), (16,), (1, 1, 16), (1, 15), (2, 16), (0, 16), (1, 0), (-1, 16), (1, -16), (-1, -16), (9, 16)),
        *((2**40, 2**40), (8, 2**61), (4, 2**62), (2**63 - 1, 16)),
    ):
        yield infer(f"shape {list(shape)}", request(pair(shape=shape), RAW))
    for shape in ((-1, 16), (1, -1), (0, 16), (9, 16), (8, 16), (1, 15)):
        count = abs(shape[0] * shape[1])
        inputs = [tensor(name, shape=shape) for name in ("INPUT0", "INPUT1")]
        yield infer(f"both of shape {list(shape)}", request(inputs, [b"\0" * 4 * count] * 2))
    inputs = [tensor(name, shape=(16,)) for name in ("INPUT0", "INPUT1")]
    yield infer("without batching: [16]", request(inputs, RAW, "simple_nobatch"))


def _outputs_and_parameters() -> Iterator[Question]:
    for names in (("OUTPUT1",), ("OUTPUT1", "OUTPUT0"), ("NOPE",), ("",), ("OUTPUT1", "OUTPUT1")):
        outputs = [Request.InferRequestedOutputTensor(name=name) for name in names]
        yield infer(f"outputs {list(names)}", request(pair(), RAW, outputs=outputs))
    output = Request.InferRequestedOutputTensor(name="OUTPUT0", parameters={"foo": Parameter(string_param="r")})
    yield infer("an output's own parameter", request(pair(), RAW, outputs=[output]))
    for key, values in {
        "priority": ({"int64_param": 1}, {"uint64_param": 1}, {"int64_param": -1}, {"string_param": "x"}),
        "timeout": ({"int64_param": 1_000_000}, {"string_param": "1"}, {"int64_param": -1}),
        "sequence_id": ({"int64_param": 5}, {"string_param": "s"}, {"bool_param": True}, {"double_param": 1.5}),
        "sequence_start": ({"bool_param": True}, {"int64_param": 1}),
        "sequence_end": ({"bool_param": True}, {"string_param": "x"}),
        "foo": (
            {"string_param": "x"},
            {"int64_param": 1},
            {"bool_param": True},
            {"double_param": 1.5},
            {"uint64_param": 5},
            {},
        ),
        "triton_foo": ({"int64_param": 1},),
        "triton_enable_empty_final_response": ({"bool_param": True}, {"int64_param": 1}),
        "binary_data_output": ({"bool_param": True},),
        "headers": ({"string_param": "x"},),
    }.items():
        for value in values:
            message = request(pair(), RAW, parameters={key: Parameter(**value)})
            yield infer(f"parameter {key}: {value}", message)


def _models_and_versions() -> Iterator[Question]:
    for model in ("nope", ""):
        yield infer(f"model '{model}'", request(pair(), RAW, model))
    for version in ("1", "2", "x", "-1", "0", HUGE):
        yield infer(f"version '{version}'", request(pair(), RAW, model_version=version))
    inputs = [tensor(data_type="FP32", shape=(16,))]
    yield infer("the newest of two versions", request(inputs, [b"\0" * 64], "two_versions"))
    yield infer("the older of two versions", request(inputs, [b"\0" * 64], "two_versions", model_version="1"))
    yield infer("an empty message", Request())


def _streams() -> Iterator[Question]:
    good = request(pair(), RAW, id="good")
    bad = request([tensor()], RAW[:1], id="bad")
    unknown = request(pair(), RAW, "nope", id="unknown")
    short = request(pair(), RAW[:1], id="short")
    final = request(
        pair(), RAW, id="final", parameters={"triton_enable_empty_final_response": Parameter(bool_param=True)}
    )
    wrong = request(
        pair(), RAW, id="wrong", parameters={"triton_enable_empty_final_response": Parameter(int64_param=1)}
    )
    for name, messages in {
        "nothing": [],
        "one": [good],
        "three": [good, good, good],
        "a bad one": [bad],
        "an unknown model, then a good one": [unknown, good],
        "a bad one between": [good, bad, good],
        "too little data, then a good one": [short, good],
        "an empty final response asked for": [final],
        "a wrong parameter": [wrong],
    }.items():
        yield Question(f"stream of {name}", "ModelStreamInfer", messages)
    for value in ("true", "false"):
        yield Question(
            f"stream with triton_grpc_error {value}", "ModelStreamInfer", [bad, good], {"triton_grpc_error": value}
        )
