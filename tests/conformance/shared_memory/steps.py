"""The steps of which scenarios with shared memory are made, for both servers: files, regions, requests that use them.

A key is written @one or @two: who runs a scenario makes a file for each and puts its true name there.
"""

import json
from collections.abc import Sequence
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
