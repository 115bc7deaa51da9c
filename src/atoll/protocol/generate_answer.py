"""A response to a generate request: one flat JSON object, the whole body or the data of a server-sent event."""

from atoll.protocol import documents, json_text
from atoll.protocol.json_tensors import json_from_array
from atoll.request import InferenceResponse
from atoll.tensor import DataType


def encode_document(response: InferenceResponse) -> bytes:
    """Each output and each of the response's parameters under its name, the names in order.

    A tensor is a flat list of its elements; where there is one, that one. Raises AtollError for what JSON cannot carry.
    """
    members: dict[str, bytes] = {}
    for output in response.outputs:
        array = output.array()
        if array.size == 1 and output.datatype is DataType.BYTES:  # a token of a language model's, mostly
            members[output.name] = json_text.dump_string(array.item().decode("utf-8", "surrogateescape"))
            continue
        data = json_from_array(array, output.datatype)
        members[output.name] = data[1:-1] if array.size == 1 else data
    for name, value in response.parameters.items():
        members[name] = json_text.dump(value)
    members["model_name"] = json_text.dump_string(response.model_name)
    members["model_version"] = json_text.dump_string(response.model_version)
    if response.id:
        members["id"] = json_text.dump_string(response.id)
    return b"{%b}" % b",".join([b"%b:%b" % (json_text.dump_string(name), members[name]) for name in sorted(members)])


def encode_error(text: str) -> bytes:
    """What stands in the place of a response that is an error."""
    return json_text.dump(documents.error(text))


def event(document: bytes) -> bytes:
    """The document, which has no line breaks, as a server-sent event."""
    return b"data: %b\n\n" % document
