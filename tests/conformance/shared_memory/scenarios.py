"""What clients do with shared memory, step by step, for both servers: files, regions, and requests that use them.

A key is written @one or @two: who runs a scenario makes a file for each and puts its true name there.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.conformance.grpc_questions import Parameter, Request
from tests.conformance.questions import HEADER_LENGTH
from tritonclient.grpc import service_pb2

FILE_BYTES = 8192
SYSTEM, CUDA = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
LEFT_OUT: Any = ...
HUGE = 2**63


@dataclass(frozen=True)
class Http:
    """One request; a body that is no bytes is sent as JSON."""

    method: str
    path: str
    body: Any = None
    header: int = -1

    def bytes(self) -> bytes | None:
        return self.body if self.body is None or isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def headers(self) -> dict[str, str]:
        return {} if self.header < 0 else {HEADER_LENGTH: str(self.header)}


@dataclass(frozen=True)
class Grpc:
    """One call of a procedure; more messages than one are a stream."""

    method: str
    messages: Sequence[Any]


@dataclass(frozen=True)
class Unlink:
    """The file's name goes away."""

    key: str


Step = Http | Grpc | Unlink


def known(**members: Any) -> dict[str, Any]:
    """The members that are not left out."""
    return {key: value for key, value in members.items() if value is not LEFT_OUT}


def register(name: str = "r", key: Any = "@one", byte_size: Any = 256, offset: Any = 0, **more: Any) -> Http:
    document = {**known(key=key, offset=offset, byte_size=byte_size), **more}
    return Http("POST", f"{SYSTEM}/region/{name}/register", document)


def status(name: str = "", kind: str = SYSTEM) -> Http:
    return Http("GET", f"{kind}/region/{name}/status" if name else f"{kind}/status")


def unregister(name: str = "", kind: str = SYSTEM) -> Http:
    return Http("POST", f"{kind}/region/{name}/unregister" if name else f"{kind}/unregister")


def call(method: str, **fields: Any) -> Grpc:
    """One of the procedures for regions."""
    return Grpc(method, [getattr(service_pb2, f"{method}Request")(**fields)])


def place(region: Any = "r", byte_size: Any = 16, offset: Any = LEFT_OUT) -> dict[str, Any]:
    """The parameters that name a part of a region."""
    return known(shared_memory_region=region, shared_memory_byte_size=byte_size, shared_memory_offset=offset)


def tensor(parameters: Any = LEFT_OUT, name: str = "IN0", kind: str = "INT32", count: int = 4, **more: Any) -> Any:
    shape = more.pop("shape", [count])
    return {**known(name=name, datatype=kind, shape=shape, parameters=parameters), **more}


def infer(inputs: Any, outputs: Any = LEFT_OUT, model: str = "ints", **more: Any) -> Http:
    """`inputs`, `outputs`: lists, or the parameters of the only one."""
    if isinstance(inputs, dict):
        inputs = [tensor(inputs)]
    if isinstance(outputs, dict):
        outputs = [{"name": "OUT0", "parameters": outputs}]
    return Http("POST", f"/v2/models/{model}/infer", known(inputs=inputs, outputs=outputs, **more))


def typed(value: Any) -> Any:
    """A value as the InferParameter that a client makes of it."""
    if isinstance(value, bool):
        return Parameter(bool_param=value)
    if isinstance(value, int):
        return Parameter(uint64_param=value) if value >= HUGE else Parameter(int64_param=value)
    if isinstance(value, float):
        return Parameter(double_param=value)
    return Parameter() if value is None else Parameter(string_param=value)


def message(
    inputs: Any,
    outputs: Any = (),
    model: str = "ints",
    raw: Sequence[bytes] = (),
    shape: Sequence[int] = (4,),
    **more: Any,
) -> Any:
    """`inputs`, `outputs`: the parameters of each, or of the only one; None for one without any."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    outputs = outputs if isinstance(outputs, list) else [] if outputs == () else [outputs]
    result = Request(model_name=model, raw_input_contents=list(raw), **more)
    for side, made, parameters in (
        *(("IN", result.inputs, one) for one in inputs),
        *(("OUT", result.outputs, one) for one in outputs),
    ):
        one = made.add(name=f"{side}{len(made)}")
        if side == "IN":
            one.datatype = "BYTES" if model == "texts" else "INT32"
            one.shape.extend(shape)
        for key, value in (parameters or {}).items():
            one.parameters[key].CopyFrom(typed(value))
    return result


def ask(*arguments: Any, **more: Any) -> Grpc:
    return Grpc("ModelInfer", [message(*arguments, **more)])


def stream(*messages: Any) -> Grpc:
    return Grpc("ModelStreamInfer", messages)


BOTH = (register(), register("s", "@two"))
INT4 = struct.pack("<4i", 7, 8, 9, 10)
WRONG: dict[str, dict[str, Any]] = {
    "right": place(),
    "at an offset": place(offset=64),
    "the last bytes": place(offset=240),
    "one byte beyond": place(offset=241),
    "offset beyond": place(offset=4096),
    "offset at the end": place(offset=256),
    "offset overflows": place(offset=2**64 - 8),
    "size beyond": place(byte_size=512),
    "size and offset overflow": place(byte_size=2**63, offset=2**63),
    "too few bytes": place(byte_size=12),
    "too many bytes": place(byte_size=20),
    "no bytes": place(byte_size=0),
    "no size": place(byte_size=LEFT_OUT),
    "unknown region": place("nope"),
    "empty region": place(""),
    "only a size": place(LEFT_OUT),
    "only an offset": place(LEFT_OUT, LEFT_OUT, 0),
    "region of another type": place(7),
    "region null": place(None),
    "size of another type": place(byte_size="16"),
    "size negative": place(byte_size=-16),
    "size a fraction": place(byte_size=16.0),
    "size a boolean": place(byte_size=True),
    "offset of another type": place(offset="0"),
    "offset negative": place(offset=-1),
    "offset a fraction": place(offset=0.5),
    "name with a slash": place("a/b"),
}


def scenarios() -> dict[str, list[Step]]:
    """All, by name."""
    return {**dict(_regions()), **dict(_inference())}


def _regions() -> Iterator[tuple[str, list[Step]]]:
    yield "nothing registered", [status(), status("r"), status("r/s"), unregister("r"), unregister(), *_calls()]
    yield (
        "status documents",
        [
            register(),
            register("s", "@two", 100, 4096),
            status(),
            status("s"),
            *_calls(),
            call("SystemSharedMemoryStatus", name="s"),
            unregister("r"),
            status("r"),
            status(),
            unregister(),
            status(),
        ],
    )
    yield (
        "over gRPC",
        [
            call("SystemSharedMemoryRegister", name="r", key="@one", offset=0, byte_size=64),
            call("SystemSharedMemoryRegister", name="r", key="@one", offset=0, byte_size=64),
            call("SystemSharedMemoryRegister", name="s", key="@two", offset=4096, byte_size=64),
            call("SystemSharedMemoryStatus"),
            call("SystemSharedMemoryStatus", name="s"),
            status(),
            call("SystemSharedMemoryUnregister", name="s"),
            call("SystemSharedMemoryUnregister", name="s"),
            call("SystemSharedMemoryStatus", name="s"),
            call("SystemSharedMemoryUnregister"),
            call("SystemSharedMemoryStatus"),
            call("SystemSharedMemoryRegister", name="", key="@two", offset=0, byte_size=64),
            call("SystemSharedMemoryStatus"),
        ],
    )
    for name, fields in {
        "an empty key": {"key": "", "byte_size": 64},
        "no such file": {"key": "/atoll_no_such_file", "byte_size": 64},
        "no bytes": {"key": "@one"},
        "one byte too many": {"key": "@one", "byte_size": FILE_BYTES + 1},
        "an overflow": {"key": "@one", "offset": 2**64 - 4096, "byte_size": 4097},
    }.items():
        yield f"register over gRPC: {name}", [call("SystemSharedMemoryRegister", name="r", **fields), status()]
    yield "registered twice", [register(), register(), register(key="@two"), register(byte_size=8), status()]
    yield "overlapping", [register(), register("s"), register("t", offset=128), status()]
    for name, wrong in {
        "no such file": register(key="/atoll_no_such_file"),
        "an empty key": register(key=""),
        "only a slash": register(key="/"),
        "a folder above": register(key="/.."),
        "a path": register(key="/../etc/passwd"),
        "a path down": register(key="/a/b"),
        "a long key": register(key="/" + "x" * 300),
        "no key": register(key=LEFT_OUT),
        "a key of another type": register(key=7),
        "no size": register(byte_size=LEFT_OUT),
        "a size of another type": register(byte_size="64"),
        "a negative size": register(byte_size=-1),
        "no offset": register(offset=LEFT_OUT),
        "an offset of another type": register(offset="0"),
        "a negative offset": register(offset=-1),
        "no bytes": register(byte_size=0),
        "all bytes": register(byte_size=FILE_BYTES),
        "one byte too many": register(byte_size=FILE_BYTES + 1),
        "an odd offset": register(offset=3, byte_size=16),
        "an offset at the end": register(offset=FILE_BYTES),
        "an offset beyond": register(offset=FILE_BYTES + 4096),
        "an offset too far": register(offset=FILE_BYTES - 255),
        "an overflow": register(offset=2**63, byte_size=2**63),
        "a size beyond 64 bits": register(byte_size=2**64),
        "unknown members": register(more=7),
        "a name with dots": register(".."),
        "an escaped name": register("a%2Fb"),
        "no document": Http("POST", f"{SYSTEM}/region/r/register", b"{"),
        "an empty body": Http("POST", f"{SYSTEM}/region/r/register", b""),
        "an array": Http("POST", f"{SYSTEM}/region/r/register", []),
        "by GET": Http("GET", f"{SYSTEM}/region/r/register"),
        "no name": Http("POST", f"{SYSTEM}/register", {"key": "@one", "byte_size": 64}),
        "status by POST": Http("POST", f"{SYSTEM}/status", {}),
        "unregister by GET": Http("GET", f"{SYSTEM}/unregister"),
        "another action": Http("POST", f"{SYSTEM}/region/r/destroy", {}),
        "another kind": Http("GET", "/v2/sharedmemory/status"),
    }.items():
        yield f"register: {name}", [wrong, status()]
    handle = {"b64": "AAAA"}
    yield (
        "CUDA",
        [
            *(status("", CUDA), status("c", CUDA), unregister("", CUDA), unregister("c", CUDA)),
            *(
                Http("POST", f"{CUDA}/region/c/register", document)
                for document in (
                    {"raw_handle": handle, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 88}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 86 + "=="}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": "A" * 86 + "=="}, "device_id": 0, "byte_size": 0},
                    {"raw_handle": {"b64": "*"}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {"b64": 7}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": {}, "device_id": 0, "byte_size": 64},
                    {"raw_handle": "AAAA", "device_id": 0, "byte_size": 64},
                    {"device_id": 0, "byte_size": 64},
                    {"raw_handle": handle, "byte_size": 64},
                    {"raw_handle": handle, "device_id": 0},
                    {"raw_handle": handle, "device_id": "0", "byte_size": 64},
                    {"raw_handle": handle, "device_id": -1, "byte_size": 64},
                )
            ),
            Http("POST", f"{CUDA}/register", {}),
            Http("POST", f"{CUDA}/region/c/register", []),
            call("CudaSharedMemoryRegister", name="c", raw_handle=bytes(64), device_id=0, byte_size=64),
            call("CudaSharedMemoryRegister", name="c", raw_handle=b"", device_id=99, byte_size=64),
            call("CudaSharedMemoryStatus"),
            call("CudaSharedMemoryStatus", name="c"),
            call("CudaSharedMemoryUnregister"),
            call("CudaSharedMemoryUnregister", name="c"),
        ],
    )
    yield (
        "one kind's endpoints with the other's regions",
        [
            register(),
            status("r", CUDA),
            status("", CUDA),
            unregister("r", CUDA),
            status(),
            register(),
            unregister("", CUDA),
            status(),
            call("CudaSharedMemoryUnregister", name="r"),
            status(),
        ],
    )


def _calls() -> list[Step]:
    return [call("SystemSharedMemoryStatus"), call("SystemSharedMemoryStatus", name="r")]


def _inference() -> Iterator[tuple[str, list[Step]]]:
    for name, parameters in WRONG.items():
        yield f"input over HTTP: {name}", [*BOTH, infer(parameters)]
        yield f"output over HTTP: {name}", [*BOTH, infer(place(), parameters)]
        yield f"input over gRPC: {name}", [*BOTH, ask(parameters)]
        yield f"output over gRPC: {name}", [*BOTH, ask(place(), parameters)]
    both = place("s", 16)
    yield "in and out over HTTP", [*BOTH, infer(place(offset=16), place("s", 64, 32), id="mine")]
    yield "in and out over gRPC", [*BOTH, ask(place(offset=16), place("s", 64, 32), id="mine")]
    yield "within one region", [register(), infer(place(), place(offset=16)), infer(place(), place())]
    yield (
        "a batch",
        [
            *BOTH,
            infer([tensor(place(), shape=[2, 2])], both, model="batched"),
            ask(place(), both, model="batched", shape=(2, 2)),
        ],
    )
    yield "after it is unregistered", [*BOTH, unregister("r"), infer(place(), both), ask(place(), both)]
    yield "after its name is gone", [*BOTH, Unlink("@one"), infer(place(), both), ask(place(), both), status("r")]
    yield (
        "with more than a place over HTTP",
        [
            *BOTH,
            infer([tensor(place(), data=[1, 2, 3, 4])]),
            infer([tensor({**place(), "binary_data_size": 16})]),
            infer([tensor({**place(), "binary_data_size": 16}, data=[1, 2, 3, 4])]),
            infer([tensor({"shared_memory_region": "r", "shared_memory_byte_size": 16, "else": 1})]),
            infer(place(), {**both, "binary_data": True}),
            infer(place(), {**both, "binary_data": False}),
            infer(place(), {**both, "binary_data": "x"}),
            infer(place(), {**both, "classification": 2}),
            infer(place(), {"classification": 2, **both}),
            infer(place(), {"binary_data": True}),
            infer(place(), both, parameters={"binary_data_output": True}),
            infer(place(), [{"name": "OUT0", "parameters": both}, {"name": "OUT0"}]),
            infer(place(), [{"name": "OUT0"}, {"name": "OUT0", "parameters": both}]),
            infer(place(), [{"name": "NOPE", "parameters": both}]),
            infer([tensor(place()), tensor(place())]),
            infer([tensor(place(), kind="FP64")]),
            infer([tensor(place(), kind="NOPE")]),
        ],
    )
    yield (
        "with more than a place over gRPC",
        [
            *BOTH,
            ask(place(), both, raw=[INT4]),
            ask(place(), {**both, "classification": 2}),
            ask(place(), {**both, "else": 1}),
            ask({**place(), "else": 1}),
            ask(place(), [both, None]),
            ask(place(), [None]),
            _contents(),
        ],
    )
    header = {"inputs": [tensor(place()), tensor({"binary_data_size": 16}, "IN1")]}
    text = json.dumps(header).encode()
    swapped = json.dumps({"inputs": [tensor({"binary_data_size": 16}), tensor(place(), "IN1")]}).encode()
    yield (
        "one by region, one not",
        [
            *BOTH,
            Http("POST", "/v2/models/pair/infer", text + INT4, len(text)),
            Http("POST", "/v2/models/pair/infer", swapped + INT4, len(swapped)),
            Http("POST", "/v2/models/pair/infer", text + INT4[:8], len(text)),
            infer(
                [tensor(place()), tensor(place(offset=16), "IN1")],
                [{"name": "OUT0", "parameters": both}, {"name": "OUT1"}],
                model="pair",
            ),
            infer(
                [tensor(place()), tensor(place(offset=16), "IN1")],
                [{"name": "OUT1", "parameters": both}, {"name": "OUT0", "parameters": {"binary_data": True}}],
                model="pair",
            ),
            ask([place(), None], model="pair", raw=[INT4]),
            ask([None, place()], model="pair", raw=[INT4]),
            ask([place(), None], model="pair", raw=[INT4, INT4]),
            ask([place(), place()], [both, None], model="pair"),
            ask([place(), place()], [None, both], model="pair"),
        ],
    )
    yield (
        "text",
        [
            register("t", "@text"),
            *BOTH,
            infer([tensor(place("t", 15), kind="BYTES", count=2)], place("s", 15), model="texts"),
            infer([tensor(place("t", 15), kind="BYTES", count=2)], place("s", 14), model="texts"),
            infer([tensor(place("t", 16), kind="BYTES", count=2)], model="texts"),
            infer([tensor(place("t", 14), kind="BYTES", count=2)], model="texts"),
            infer([tensor(place("t", 15), kind="BYTES", count=3)], model="texts"),
            ask(place("t", 15), place("s", 100), model="texts", shape=(2,)),
            ask(place("t", 15), place("s", 3), model="texts", shape=(2,)),
        ],
    )
    yield (
        "streams",
        [
            *BOTH,
            stream(message(place(), both, id="a"), message(place("nope"), id="b"), message(place(), id="c")),
            stream(message(place(), both, id="a", model="twice")),
            stream(message(place(), place("s", 8), id="a"), message(place(), place("nope"), id="b")),
        ],
    )


def _contents() -> Grpc:
    both = message(place())
    both.inputs[0].contents.int_contents.extend([1, 2, 3, 4])
    return Grpc("ModelInfer", [both])
