"""Questions that no client of the protocol asks, but gateways and scripts do: headers in odd forms, wrong types in odd
places. Their models are an identity of INT32 without batches and one of strings with them.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conformance import grpc_questions
from tests.conformance.grpc_questions import Parameter, Request
from tests.conformance.model_folders import IDENTITY, identity_config, write_identity, write_model
from tests.conformance.questions import HEADER_LENGTH, Question, ask
from tritonclient.grpc import service_pb2 as pb

ONE, BATCHED = "one", "texts"
PATH = f"/v2/models/{ONE}/infer"
GOOD: dict[str, Any] = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [2], "data": [3, 4]}]}
BODY = json.dumps(GOOD).encode()
PAIR = struct.pack("<2i", 3, 4)
PLACE = ("shared_memory_byte_size", "shared_memory_offset")


def write_repository(root: Path) -> Path:
    """The models that are asked."""
    write_model(root, ONE, identity_config("INT32", size=0), IDENTITY)
    write_identity(root, BATCHED, "STRING")
    return root


def http() -> Iterator[Question]:
    yield from _headers()
    yield from _sequences()
    yield from _empty()
    for data in (
        *('["x"]', '["x",2,3]', '[1,2,"x"]', "[1,null]", "[{}]", "[{},1,2]", '[[1],["x"],[3]]', "[1.5]", "[1,2,3.5]"),
        *("[true]", "[]", "[1]", "[1,2,3]", '[[],["x"]]'),
    ):
        yield _with(f'"data":{data}')
    for key in PLACE:
        for value in ("null", "true", "-1", "1.5", '"1"', "[]", "{}", str(2**64), "1"):
            placed = f'"parameters":{{"{key}":{value}}}'
            yield _with(f'"data":[3,4],{placed}')
            yield _with(placed)
            yield _with(f'"data":[3,4],"parameters":{{"{key}":{value},"binary_data_size":8}}')
    for twice in (
        *('"data":[3,4],"data":[5,6]', '"data":[3,4],"name":"X"', '"data":[3,4],"shape":[1]'),
        *('"data":[3,4],"datatype":"FP32"', '"data":[3,4],"parameters":{},"parameters":1'),
    ):
        yield _with(twice)
    yield ask('"id":"a\\u0000b"', json.dumps({**GOOD, "id": "a\0b"}), PATH)
    yield ask("an id twice", '{"id":"a","id":"b",' + json.dumps(GOOD)[1:], PATH)


def _sequences() -> Iterator[Question]:
    """Of a model that has none."""
    for text in ("x" * 128, "x" * 129, "\xe9" * 64, "\xe9" * 65):
        document = {**GOOD, "parameters": {"sequence_id": text}}
        yield ask(f"sequence_id: {text[0]!r}, {len(text)} times", document, PATH)


def _empty() -> Iterator[Question]:
    """Outputs without elements, as binary data."""
    for wanted in ({"binary_data_output": True}, {}):
        outputs = [] if wanted else [{"name": "OUT", "parameters": {"binary_data": True}}]
        document = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [0], "data": []}], "parameters": wanted}
        yield ask(f"no elements, {wanted}", {**document, "outputs": outputs} if outputs else document, PATH)


def _headers() -> Iterator[Question]:
    length = str(len(BODY))
    for name in ("Content-Length", HEADER_LENGTH):
        for behind in (" ", "\t", "  \t "):
            yield Question(f"{name} with {behind!r} behind it", PATH, BODY, headers={name: length + behind})
    for name, values in {
        HEADER_LENGTH: ((length, "0"), ("0", length), (length, "x"), (length, length)),
        "Content-Encoding": (("identity", "gzip"), ("gzip", "identity"), ("identity", "br"), ("br", "identity")),
    }.items():
        for first, second in values:
            headers = {name: first, name.lower(): second}
            yield Question(f"{name} twice: {first}, {second}", PATH, BODY, headers=headers)
    for coding in ("gzip", "deflate"):
        yield Question(f"nothing, as {coding}", PATH, b"", headers={"Content-Encoding": coding})
    for coding in ("", " identity", "identity ", "Identity", "GZIP", "identity, gzip"):
        yield Question(f"Content-Encoding {coding!r}", PATH, BODY, headers={"Content-Encoding": coding})


def _with(members: str) -> Question:
    """An input with these members, which may be there twice then."""
    return ask(members, f'{{"inputs":[{{"name":"IN","datatype":"INT32","shape":[2],{members}}}]}}', PATH)


def grpc() -> Iterator[grpc_questions.Question]:
    for shape in ((-1,), (-2,), (2, -1), (), (2,), (3,)):
        yield _infer(f"shape {list(shape)}", ONE, "INT32", shape, PAIR)
    for shape in ((1, -1), (-1, 1), (-1, -1), (1, -2)):
        yield _infer(f"texts of shape {list(shape)}", BATCHED, "BYTES", shape, b"\1\0\0\0a")
    values: dict[str, dict[str, Any]] = {
        **{f"{kind} {value}": {kind: value} for kind, value in (("bool_param", True), ("string_param", "1"))},
        **{f"{kind} 8": {kind: 8} for kind in ("int64_param", "uint64_param", "double_param")},
        "nothing": {},
    }
    for size in (128, 129):
        identity = {"sequence_id": Parameter(string_param="x" * size)}
        tensor = Request.InferInputTensor(name="IN", datatype="INT32", shape=[2])
        message = Request(model_name=ONE, inputs=[tensor], raw_input_contents=[PAIR], parameters=identity)
        yield grpc_questions.Question(f"sequence_id of {size} characters", "ModelInfer", [message])
    for key in PLACE:
        for title, value in values.items():
            place = {key: Parameter(**value)}
            wanted = Request.InferRequestedOutputTensor(name="OUT", parameters=place)
            yield _infer(f"input: {key} {title}", ONE, "INT32", (2,), PAIR, parameters=place)
            yield _infer(f"input: {key} {title}, no data", ONE, "INT32", (2,), None, parameters=place)
            yield _infer(f"output: {key} {title}", ONE, "INT32", (2,), PAIR, wanted=wanted)
    for name in ("", ONE, "nope"):
        for version in ("", "1", "2", "0", "-1", "x", "01"):
            message = pb.ModelStatisticsRequest(name=name, version=version)
            yield grpc_questions.Question(f"statistics of '{name}' '{version}'", "ModelStatistics", [message])


def _infer(
    title: str, model: str, data_type: str, shape: tuple[int, ...], raw: bytes | None, **more: Any
) -> grpc_questions.Question:
    wanted = more.pop("wanted", None)
    tensor = Request.InferInputTensor(name="IN", datatype=data_type, shape=shape, **more)
    message = Request(model_name=model, inputs=[tensor], outputs=[wanted] if wanted else [])
    if raw is not None:
        message.raw_input_contents.append(raw)
    return grpc_questions.Question(title, "ModelInfer", [message])
