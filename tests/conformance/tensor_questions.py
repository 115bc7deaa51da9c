"""Questions about tensors: shapes, JSON data, every data type, and binary data of right and wrong lengths."""

import json
import struct
from collections.abc import Iterator

from tests.conformance.questions import (
    BINARY_PAIR,
    FIRST,
    HEADER_LENGTH,
    PAIR_BYTES,
    SECOND,
    SIMPLE,
    Question,
    ask,
    binary,
    one_input,
    pair,
    request,
)

BIG = 2**40
EDGES = {
    "bool": ("BOOL", [True, False]),
    "uint8": ("UINT8", [0, 255]),
    "uint16": ("UINT16", [0, 65535]),
    "uint32": ("UINT32", [0, 4294967295]),
    "uint64": ("UINT64", [0, 18446744073709551615]),
    "int8": ("INT8", [-128, 127]),
    "int16": ("INT16", [-32768, 32767]),
    "int32": ("INT32", [-2147483648, 2147483647]),
    "int64": ("INT64", [-(2**63), 2**63 - 1]),
    "fp16": ("FP16", [1.0]),
    "bf16": ("BF16", [1.0]),
    "fp32": ("FP32", [0, 1.0, -0.1, 1e-7, 1e10, 3.4028234e38, 16777217, 0.3333333333, 123456.789, 1e21, 1e-40, -0.0]),
    "fp64": (
        "FP64",
        [0, 1.0, -0.1, 1e-7, 1e10, 1e300, 1 / 3, 1e21, 1e20, 1e-5, 1e-6, 1e16, 5e-324, 123456789012345680.0],
    ),
    "bytes": ("BYTES", ["abc", "", 'é"\\/\n\t\x01\x1f<>&\x7f\U0001f600', "a\x00b"]),
}
ODD_ELEMENTS = {
    "bool": [2, 0, 1, -1, "true", 1.0, None, 2**64],
    "uint8": [256, -1, 1.0, "1", True, None, 2**32],
    "int8": [128, -129, 300],
    "uint16": [65536, -1],
    "int16": [32768],
    "uint32": [-1, 2**32, 1.0],
    "int64": [2**63, -(2**63) - 1, 1.0, "1"],
    "uint64": [-1, 2**64, 1.5],
    "fp32": ["1", True, None, 1e39, -1e39, 10**20, {}],
    "fp64": ["1", True, 2**63, 2**64, 10**30, 10**400],
    "bytes": [1, True, None, 1.5],
}


def questions() -> Iterator[Question]:
    yield from _shapes()
    yield from _json_data()
    yield from _types()
    yield from _binary()
    yield from _header_length()
    yield from _raw_requests()


def _shapes() -> Iterator[Question]:
    for shape in (
        *([], [16], [1, 1, 16], [1, 15], [1, 17], [16, 1], [2, 8], [2, 16], [0, 16], [1, 0], [9, 16]),
        *([-1, 16], [1, -16], [-1, -16], [1, -1], [2**64, 16], [10**30, 16], [1] * 300, [2**32, 2**32]),
    ):
        yield ask(f"shape of an input: {json.dumps(shape)[:40]}", pair(shape=shape))
    for rows in (2**31, 2**63 - 1):
        yield ask(f"a shape of {rows} rows", pair(shape=[rows, 16]), deadly=True)
    for rows in (8, 9):
        inputs = [{**one, "shape": [rows, 16], "data": [1] * rows * 16} for one in (FIRST, SECOND)]
        yield ask(f"a batch of {rows}", {"inputs": inputs})
    yield ask("a batch of 9 of the wrong shape", _both([9, 15]))
    yield ask("a batch of 0", _both([0, 16]))
    yield ask("batches that differ", {"inputs": [{**FIRST, "shape": [2, 16], "data": [1] * 32}, SECOND]})
    second = {**SECOND, "shape": [2, 16], "data": [1] * 32}
    yield ask("batches that differ, the second larger", {"inputs": [FIRST, second]})
    yield ask("two wrong shapes", _both([1, 15]))
    for shape in ([16], [0, 16], [2, 16], [1, 15], [1, 1, 16]):
        yield ask(f"without batching: {shape}", _both(shape), "/v2/models/simple_nobatch/infer")
    for shape in ([2, 3], [3, 2], [6], [1, 2, 3]):
        yield ask(f"fixed dimensions: {shape}", *one_input("matrix", "FP32", shape, data=[[1, 2, 3], [4, 5, 6]]))
    yield ask("the newest of two versions", *one_input("two_versions", "FP32", [16], data=[1] * 16))


def _both(shape: list[int]) -> dict[str, object]:
    count = 1
    for size in shape:
        count *= size
    return {"inputs": [{**one, "shape": shape, "data": [1] * count} for one in (FIRST, SECOND)]}


def _json_data() -> Iterator[Question]:
    for name, data in {
        "null": None,
        "a string": "x",
        "a number": 1,
        "an object": {},
        "empty": [],
        "15 elements": [1] * 15,
        "17 elements": [1] * 17,
        "strings": ["1"] * 16,
        "floats": [1.0] * 16,
        "fractions": [1.5] * 16,
        "nulls": [None] * 16,
        "booleans": [True] * 16,
        "objects": [{}] * 16,
        "beyond int32": [2**31] * 16,
        "below int32": [-(2**31) - 1] * 16,
        "beyond int64": [2**63] * 16,
        "beyond uint64": [2**64] * 16,
        "nested": [[1] * 16],
        "nested twice": [[[1] * 16]],
        "nested otherwise than the shape": [[1] * 8, [1] * 8],
        "nested, one missing": [[1] * 8, [1] * 7],
        "half nested": [*[1] * 8, [1] * 8],
        "half nested, first": [[1] * 8, *[1] * 8],
        "nested, empty": [[]],
        "ragged": [[1], [1, 2], [1] * 13],
    }.items():
        yield ask(f"data: {name}", pair(data=data))
    for name, data in {
        "flat": [1, 2, 3, 4, 5, 6],
        "other way round": [[1, 2], [3, 4], [5, 6]],
        "ragged": [[1, 2, 3], [4, 5]],
    }.items():
        yield ask(f"matrix: {name}", *one_input("matrix", "FP32", [2, 3], data=data))
    for shape, data in (([1, 2], ["a"]), ([1, 2], ["a", "b", "c"]), ([1, 1], []), ([1, 1], [["a"]]), ([1, 0], [])):
        yield ask(f"strings: {shape} {data}", *one_input("identity_bytes", "BYTES", shape, data=data))
    yield ask("no elements", *one_input("identity_fp32", "FP32", [1, 0], data=[]))
    text = '{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1,3],"data":[NaN,Infinity,-Infinity]}]}'
    yield ask("not a number", text, "/v2/models/identity_fp32/infer")


def _types() -> Iterator[Question]:
    for model, (data_type, data) in EDGES.items():
        yield ask(f"{data_type}", *one_input(f"identity_{model}", data_type, [1, len(data)], data=data))
    for model, elements in ODD_ELEMENTS.items():
        data_type = EDGES[model][0]
        for element in elements:
            name = f"{data_type} element: {json.dumps(element)[:40]}"
            yield ask(name, *one_input(f"identity_{model}", data_type, [1, 1], data=[element]))


def _binary() -> Iterator[Question]:
    yield binary("binary in, JSON out", {"inputs": BINARY_PAIR}, PAIR_BYTES)
    wanted = {"inputs": BINARY_PAIR, "parameters": {"binary_data_output": True}, "id": "q7"}
    yield binary("binary in and out", wanted, PAIR_BYTES)
    yield binary("JSON and binary in", {"inputs": [FIRST, BINARY_PAIR[1]]}, PAIR_BYTES[64:])
    for name, payload in {
        "64 missing": PAIR_BYTES[:64],
        "4 missing": PAIR_BYTES[:124],
        "2 behind": PAIR_BYTES + b"xx",
    }.items():
        yield binary(f"binary: {name}", {"inputs": BINARY_PAIR}, payload)
    for first, second in ((60, 68), (128, 0), (2**62, 64), (2**63, 64), (-64, 64)):
        inputs = [
            {**one, "parameters": {"binary_data_size": size}}
            for one, size in zip(BINARY_PAIR, (first, second), strict=True)
        ]
        yield binary(f"binary sizes {first}, {second}", {"inputs": inputs}, PAIR_BYTES)
    for size in (12, 20):
        yield _bytes("identity_fp32", "FP32", [1, 4], b"\0" * size)
    yield _bytes("identity_fp32", "FP32", [1, 4], b"\0" * 16, said=0)
    for shape in ([1, 0], [0, 4], [BIG, BIG], [1, -4], [-1, -4]):
        yield _bytes("identity_fp32", "FP32", shape, b"" if 0 in shape else b"\0" * 16)
    half = b"\x00\x3c\x00\x40"
    for model, data_type, payload in (
        *(("fp16", "FP16", half), ("bf16", "BF16", b"\x80\x3f\x00\x40"), ("bool", "BOOL", b"\2\0")),
        *(("bytes", "BYTES", b"\3\0\0\0abc\0\0\0\0"), ("bytes", "BYTES", b"\2\0\0\0\xff\xfe\1\0\0\0\0")),
        ("fp64", "FP64", struct.pack("<2d", float("nan"), float("-inf"))),
    ):
        for as_bytes in (False, True):
            yield _bytes(f"identity_{model}", data_type, [1, 2], payload, as_bytes=as_bytes)
    for shape, payload in (
        *(
            ([1, 1], b"\5\0\0\0abc"),
            ([1, 1], b"\xff\xff\xff\xffabc"),
            ([1, 1], b"\1\0\0\0abc"),
            ([1, 2], b"\3\0\0\0abc"),
        ),
        *(([1, 1], b"\1\0\0\0a\1\0\0\0b"), ([1, 1], b"\1\0"), ([1, 1], b""), ([1, 0], b""), ([BIG, BIG], b"")),
    ):
        yield _bytes("identity_bytes", "BYTES", shape, payload)


def _bytes(
    model: str, data_type: str, shape: list[int], payload: bytes, *, said: int | None = None, as_bytes: bool = False
) -> Question:
    size = len(payload) if said is None else said
    document, path = one_input(model, data_type, shape, parameters={"binary_data_size": size})
    if as_bytes:
        document["outputs"] = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    name = f"{model} {shape} of {payload.hex()}, said {size}{', binary out' if as_bytes else ''}"
    return binary(name, document, payload, path)


def _header_length() -> Iterator[Question]:
    for said in ("-1", "999999", "99999999999999999999999", "10", "abc", "1.5", "10abc", "+5", "0x10"):
        yield binary(f"header length {said}", {"inputs": BINARY_PAIR}, PAIR_BYTES, length=said)
    text = json.dumps(request()).encode()
    for difference in (-1, 0, 1):
        yield Question(
            f"header length off by {difference}", SIMPLE, text, headers={HEADER_LENGTH: str(len(text) + difference)}
        )
    yield Question("bytes behind a JSON request", SIMPLE, text + b"xyz", headers={HEADER_LENGTH: str(len(text))})
    document = json.dumps({"inputs": BINARY_PAIR}).encode()
    yield Question("binary data without the header's length", SIMPLE, document + PAIR_BYTES)


def _raw_requests() -> Iterator[Question]:
    for model, size in (
        *(("identity_fp32", 16), ("identity_fp32", 15), ("identity_fp32", 0), ("matrix", 24), ("matrix", 20)),
        *(("identity_bytes", 7), ("simple", 64), ("simple_nobatch", 64), ("identity_fp16", 4), ("two_versions", 64)),
    ):
        path = f"/v2/models/{model}/infer"
        yield Question(f"raw request: {size} bytes to {model}", path, b"\0" * size, headers={HEADER_LENGTH: "0"})
    yield Question("no body", "/v2/models/identity_fp32/infer", b"")
