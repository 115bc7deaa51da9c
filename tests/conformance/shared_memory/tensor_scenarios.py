"""What clients do with tensors in regions."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.conformance.shared_memory.steps import (
    LEFT_OUT,
    Grpc,
    Http,
    Step,
    Unlink,
    ask,
    infer,
    message,
    place,
    register,
    status,
    stream,
    tensor,
    unregister,
)

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


def scenarios() -> Iterator[tuple[str, list[Step]]]:
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
