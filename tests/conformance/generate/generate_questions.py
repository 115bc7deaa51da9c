"""What is asked of the generate endpoints."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.generate.generate_repository import KINDS, SHAPES
from tests.conformance.questions import Question
from tests.conformance.wire import request_bytes

HELLO = {"text_input": "hi"}
VALUES = (True, 1, -1, 1.0, 1.5, 1e40, "x", None, [], {}, [True, False], [1, 2], [1, 2.5], ["a", "b"], [[1], [2]])
RESERVED: tuple[tuple[str, Any], ...] = (
    *(("priority", 1), ("priority", -1), ("priority", "x"), ("timeout", 1000000), ("timeout", "x")),
    *(("triton_x", 1), ("headers", 1), ("binary_data_output", True), ("binary_data_output", 1)),
    *(("id", 5), ("id", None), ("id", ""), ("inputs", []), ("outputs", []), ("stream", True)),
)
SEQUENCES: tuple[tuple[str, Any], ...] = (
    *(("sequence_id", 5), ("sequence_id", "s"), ("sequence_id", -1), ("sequence_id", 1.5)),
    *(("sequence_start", True), ("sequence_start", 1), ("sequence_end", True), ("sequence_end", "x")),
)
CODES = (
    *("UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED"),
)
TEXTS = {
    "not JSON": "{",
    "nothing": "",
    "no object": "[]",
    "a number": "5",
    "null": "null",
    "text behind it": '{"text_input":"a"} x',
    "half of a surrogate pair": '{"text_input":"\\ud800"}',
    "a zero": '{"text_input":"\\u0000a"}',
    "a line break": '{"text_input":"a\\nb"}',
    "not UTF-8": b'{"text_input":"\xff"}',
    "a name of no length": '{"text_input":"a","":1}',
    "NaN": '{"text_input":"a","x":NaN}',
    "large numbers": '{"text_input":"a","b":9223372036854775807,"c":9223372036854775808,"d":-9223372036854775808,'
    '"e":-9223372036854775809,"f":18446744073709551615,"g":1180591620717411303424}',
    "an input twice": '{"text_input":"a","text_input":"b"}',
    "a parameter twice": '{"text_input":"a","x":1,"x":2}',
    "a parameter nested, then beside": '{"text_input":"a","parameters":{"x":1},"x":2}',
    "a parameter beside, then nested": '{"text_input":"a","x":2,"parameters":{"x":1}}',
}
STREAMS: dict[str, list[Any]] = {
    "one": [{"text_output": ["a"]}],
    "one of two elements": [{"text_output": ["a", "b"]}],
    "one, empty": [{"text_output": []}],
    "one without outputs": [{}],
    "one of many types": [{"INT32": [1], "FP32": [1.1], "BOOL": [True], "text_output": ["a"]}],
    "one, then the end": [{"text_output": ["a"]}, None],
    "none": [None],
    "two": [{"text_output": ["a"]}, {"text_output": ["b"]}],
    "two, then the end": [{"text_output": ["a"]}, {"text_output": ["b"]}, None],
    "many": [*({"text_output": [str(number)]} for number in range(40)), None],
    "an error": ["an error"],
    "an error, then the end": ["an error", None],
    "a response, then an error": [{"text_output": ["a"]}, "an error"],
    "a response, an error, the end": [{"text_output": ["a"]}, "an error", None],
    "an error, then a response": ["an error", {"text_output": ["a"]}],
    "two errors": ["first", "second"],
    "an error between": [{"text_output": ["a"]}, "an error", {"text_output": ["b"]}],
    "what JSON cannot carry, then a response": [{"FP16": [1]}, {"text_output": ["a"]}],
    "a response, then what JSON cannot carry": [{"text_output": ["a"]}, {"FP16": [1]}],
}
OUTPUTS: tuple[dict[str, Any], ...] = (
    *({"BOOL": [True]}, {"UINT8": [255]}, {"UINT64": [2**64 - 1]}, {"INT64": [-(2**63), 2**63 - 1]}, {"INT8": [-1]}),
    *({"FP32": [0.1]}, {"FP32": [1]}, {"FP32": ["nan", "inf", "-inf"]}, {"FP64": [0.1, -0.0]}, {"FP16": [1]}),
    *({"STRING": ["a"]}, {"STRING": ["a", ""]}, {"STRING": ["\xff"]}, {"STRING": ['\xe9\n"\\/\x01\x00']}),
    *({"CUBE": [[[1, 2], [3, 4]]]}, {"CUBE": [[[1]]]}, {"CUBE": [[[]]]}, {"INT32": []}, {"STRING": []}),
)


def ask(title: str, body: Any, model: str = "text", *, stream: bool = False, **more: Any) -> Question:
    """A document, or text or bytes as they are."""
    if isinstance(body, str):
        body = body.encode()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/v2/models/{model}/generate" + ("_stream" if stream else "")
    return Question(f"{model}: {title}{', as a stream' if stream else ''}", path, data, **more)


def told(steps: list[Any], **more: Any) -> dict[str, Any]:
    return {"text_input": json.dumps(steps), **more}


def questions() -> Iterator[Question]:
    for stream in (False, True):
        yield from documents(stream)
        yield from answers(stream)
    yield from conversions()
    yield from parameters()
    yield from requests()


def documents(stream: bool) -> Iterator[Question]:
    """The form of the body."""
    for title, text in TEXTS.items():
        yield ask(title, text, stream=stream)
    yield ask("a string", HELLO, stream=stream)
    yield ask("an id", {**HELLO, "id": "a1"}, stream=stream)
    yield ask("no input", {}, stream=stream)
    yield ask("no input, with id", {"id": "7"}, stream=stream)
    yield ask("an ensemble", {"prompt": "hi", "id": "x", "a": 1}, "ensemble", stream=stream)
    yield ask("an output named as a parameter", {"prompt": "hi"}, "ensemble_odd", stream=stream)
    yield ask("an unknown model", HELLO, "nope", stream=stream)
    yield ask("an unknown model, not JSON", "{", "nope", stream=stream)
    yield ask("an unknown version", HELLO, "text/versions/2", stream=stream)
    yield ask("a version", HELLO, "text/versions/1", stream=stream)
    yield ask("no version", HELLO, "text/versions/x", stream=stream)


def answers(stream: bool) -> Iterator[Question]:
    """What the model responds."""
    for title, steps in STREAMS.items():
        yield ask(title, told(steps), "told_many", stream=stream)
        if len(steps) == 1 and steps != [None]:
            yield ask(title, told(steps, id="one"), "told", stream=stream)
    for code in CODES:
        yield ask(f"error {code}", told([f"{code}:broken"]), "told", stream=stream)
    for outputs in OUTPUTS:
        yield ask(f"outputs {outputs}", told([outputs]), "told", stream=stream)
    names = {name: [name[0]] for name in ("id", "model_name", "model_version", "parameters", "stream")}
    yield ask("outputs of odd names", told([names]), "told_odd", stream=stream)
    yield ask("outputs of odd names, with id", told([names], id="mine"), "told_odd", stream=stream)
    yield ask("a batch of one", told([{"text_output": [["a"]]}]), "told_batching", stream=stream)


def conversions() -> Iterator[Question]:
    """From JSON values to tensors."""
    for kind in (*KINDS, "BF16"):
        for value in VALUES:
            yield ask(f"{kind} {value!r}", {kind: value}, "kinds")
    for value in (2**63, 2**64 - 1, 2**64):
        yield ask(f"UINT64 {value}", {"UINT64": value}, "kinds")
        yield ask(f"INT64 {value}", {"INT64": value}, "kinds")
        yield ask(f"FP64 {value}", {"FP64": value}, "kinds")
    for value in ([[], []], [[1, 2], [3]], [[1], 2]):
        yield ask(f"INT32 {value}", {"INT32": value}, "kinds")
    yield ask("STRING [[], []]", {"STRING": [[], []]}, "kinds")
    yield ask("several", {"STRING": ["a", "b"], "FP32": 1, "BOOL": [False], "x": 2}, "kinds")
    for name in SHAPES:
        for model in ("shapes", "shapes_batching"):
            for count in (0, 1, 2, 3, 4, 6, 12):
                yield ask(f"{name} of {count}", {name: list(range(count))}, model)
            yield ask(f"{name} of one", {name: 5}, model)
            yield ask(f"{name} of pairs", {name: [[0, 1], [2, 3], [4, 5]]}, model)
    yield ask("batches that differ", {"ONE": [1, 2], "SIX": list(range(6))}, "shapes_batching")
    yield ask("batches that agree", {"ONE": [1, 2], "SIX": list(range(12))}, "shapes_batching")
    for value in ("hi", ["hi"], [["hi"]], ["hi", "ho"], [["hi"], ["ho"]], [["hi", "ho"]], 5, None, {"a": "b"}):
        yield ask(f"text {value}", {"text_input": value})
        yield ask(f"text {value}", {"text_input": value}, "batching")
    for body in ({"id": "i"}, {"stream": "s"}, {"stream": True}, {"model_name": "m"}, {"id": 5}):
        yield ask(f"inputs of odd names: {body}", body, "odd")
    for nested in ("x", {"a": 1}, {"parameters": "x"}):
        yield ask(f"an input named parameters: {nested}", {"parameters": nested}, "odd")


def parameters() -> Iterator[Question]:
    """Members that are no inputs."""
    kinds = {"a": 1, "b": True, "c": "x", "d": 1.5, "e": -1}
    yield ask("parameters of each kind", {**HELLO, **kinds})
    yield ask("nested parameters of each kind", {**HELLO, "parameters": kinds})
    for value in ([1], {}, None, {"b": 1}):
        yield ask(f"a parameter {value}", {**HELLO, "a": value})
        yield ask(f"a nested parameter {value}", {**HELLO, "parameters": {"a": value}})
    for nested in (5, None, [], "x", {}, {"text_input": "again"}, {"parameters": {"x": 1}}, {"parameters": 1}):
        yield ask(f"nested {nested}", {**HELLO, "parameters": nested})
    for nested in ({"text_input": "in"}, {"text_input": 5}, {"text_input": "in", "x": 1, "id": "y"}):
        yield ask(f"an input nested: {nested}", {"parameters": nested})
    for name, value in (*RESERVED, *SEQUENCES):
        yield ask(f"{name} {value!r}", {**HELLO, name: value})
        yield ask(f"nested {name} {value!r}", {**HELLO, "parameters": {name: value}})
    yield ask("a sequence", {**HELLO, "sequence_id": 5, "sequence_start": True}, "sequence")
    yield ask("no sequence", HELLO, "sequence")


def requests() -> Iterator[Question]:
    """Methods, codings and other things around the body."""
    for stream in (False, True):
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            yield ask(method, b"", stream=stream, method=method)
        gzipped = gzip.compress(json.dumps(HELLO).encode(), mtime=0)
        yield ask("gzip", gzipped, stream=stream, headers={"Content-Encoding": "gzip"})
        yield ask("an unknown model, gzip", gzipped, "nope", stream=stream, headers={"Content-Encoding": "gzip"})
        for name, value in (
            ("Content-Encoding", "identity"),
            ("Accept-Encoding", "gzip"),
            ("Accept", "application/json"),
            ("Content-Type", "text/plain"),
            ("Inference-Header-Content-Length", "3"),
            ("Expect", "100-continue"),
        ):
            yield ask(f"{name}: {value}", HELLO, stream=stream, headers={name: value})


def wire() -> Iterator[tuple[str, bytes]]:
    """Requests whose answers are compared byte by byte, by name. Not several on one connection: of streams whose client
    has sent the next request already the real server sends a part only.
    """
    for steps in ("one", "many", "none", "an error", "an error between"):
        question = ask(steps, told(STREAMS[steps]), "told_many", stream=True)
        yield question.name, request_bytes("POST", question.path, question.body, {"Connection": "close"})
    refused = ask("refused", {}, stream=True)
    yield refused.name, request_bytes("POST", refused.path, refused.body, {"Connection": "close"})
