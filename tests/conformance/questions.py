"""What an HTTP question of the conformance tests is, and the parts that most of them are made of."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SIMPLE = "/v2/models/simple/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"

FIRST = {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": list(range(16))}
SECOND = {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": [1] * 16}
BINARY_PAIR = [
    {"name": name, "datatype": "INT32", "shape": [1, 16], "parameters": {"binary_data_size": 64}}
    for name in ("INPUT0", "INPUT1")
]
PAIR_BYTES = struct.pack("<16i", *range(16)) + struct.pack("<16i", *[1] * 16)


@dataclass(frozen=True)
class Question:
    """One HTTP request, with the name under which its answer is recorded."""

    name: str
    path: str
    body: bytes | None = None
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    deadly: bool = False
    """The real server (2.51) dies of it, so nothing is recorded."""


def get(path: str) -> Question:
    return Question(f"GET {path}", path, method="GET")


def ask(name: str, document: Any, path: str = SIMPLE, *, deadly: bool = False) -> Question:
    """A JSON document, or text or bytes as they are."""
    if isinstance(document, str):
        document = document.encode()
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Question(name, path, body, deadly=deadly)


def binary(name: str, document: Any, payload: bytes, path: str = SIMPLE, length: str | None = None) -> Question:
    """A JSON header and the bytes behind it. `length`: what the header says of its own length, if not the truth."""
    header = json.dumps(document).encode()
    return Question(name, path, header + payload, headers={HEADER_LENGTH: length or str(len(header))})


def pair(**changes: Any) -> dict[str, Any]:
    """The two inputs of `simple`, with fields of the first one replaced, or left out where the new value is `...`."""
    changed = {**FIRST, **changes}
    return {"inputs": [{key: value for key, value in changed.items() if value is not ...}, SECOND]}


def request(**members: Any) -> dict[str, Any]:
    """A right request to `simple` with more members."""
    return {"inputs": [FIRST, SECOND], **members}


def one_input(model: str, data_type: str, shape: list[int], **fields: Any) -> tuple[dict[str, Any], str]:
    """A request document with one input, and the path to send it to."""
    document = {"inputs": [{"name": "INPUT0", "datatype": data_type, "shape": shape, **fields}]}
    return document, f"/v2/models/{model}/infer"


def every() -> Iterator[Question]:
    """All questions."""
    from tests.conformance import document_questions, json_questions, tensor_questions

    for module in (document_questions, json_questions, tensor_questions):
        yield from module.questions()
