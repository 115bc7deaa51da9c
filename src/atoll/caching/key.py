"""Which requests are equal: the key of a request in the cache. Pure.

Equal are the model with its files, its version, the inputs by name, type, shape and bytes, the outputs asked for, and
for models that see them the request's parameters; its id, priority, timeout and deadline are left out. The real server
2.51 looks at the names and bytes of the inputs alone: it answers a request for one output with what it has kept for
another, and a [2, 1] tensor as a [1, 2] one.
"""

import struct
from collections.abc import Iterable
from hashlib import sha256  # OpenSSL's, which uses the CPU's own instructions: twice as fast as BLAKE2 on most servers

from atoll.request import InferenceRequest
from atoll.tensor import SMALL_BYTES

PREFIX = "atoll:1"  # 1: of what goes into the digest, and of the entries' layout
_MOST_SELECTIONS = 256  # different lists of outputs that are remembered; clients make as many as they like


class KeyMaker:
    """Of one model version. `outputs`: all that it has; a request for all of them is one that names none.

    `sees_parameters`: its answers may depend on the requests' parameters. Thread-safe.
    """

    def __init__(self, model_name: str, version: str, outputs: Iterable[str], *, sees_parameters: bool):
        self._prefix = f"{PREFIX}:{model_name}:{version}:"
        self._outputs = frozenset(outputs)
        self._sees_parameters = sees_parameters
        self._selections: dict[tuple[str, ...], bytes] = {}

    def key(self, request: InferenceRequest, identity: bytes) -> str:
        """The request's key. `identity`: of what makes the model the same one."""
        inputs = request.inputs
        parts: list[bytes] = [_LENGTH.pack(len(identity)), identity, self._selection(request.output_names)]
        if self._sees_parameters:
            parts.append(_parameters(request))
        digest = sha256()
        for name in sorted(inputs):
            tensor = inputs[name]
            data = tensor.packed()
            shape = tensor.shape
            described = name.encode("utf-8", "surrogatepass")
            parts.append(_INPUT.pack(len(described), tensor.datatype.number, len(shape), len(data)))
            parts.append(described)
            parts.append(struct.pack(f"<{len(shape)}q", *shape))
            if len(data) <= SMALL_BYTES:
                parts.append(bytes(data))
            else:
                digest.update(b"".join(parts))
                digest.update(data)
                parts.clear()
        digest.update(b"".join(parts))
        return self._prefix + digest.hexdigest()

    def _selection(self, names: tuple[str, ...]) -> bytes:
        found = self._selections.get(names)
        if found is None:
            wanted = frozenset(names)
            told = [] if wanted >= self._outputs else sorted(wanted)
            found = _texts(told)
            if len(self._selections) >= _MOST_SELECTIONS:
                self._selections.clear()
            self._selections[names] = found
        return found


_LENGTH = struct.Struct("<I")
_INPUT = struct.Struct("<IIIQ")  # bytes of the name, data type, dimensions, bytes of the data


def _texts(texts: list[str]) -> bytes:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join([_LENGTH.pack(len(encoded)), *(_LENGTH.pack(len(one)) + one for one in encoded)])


def _parameters(request: InferenceRequest) -> bytes:
    """In an order of their own. ASCII with Python's quotes and types: True is not 1, and "1" is neither."""
    given = request.parameters
    if not given:
        return _NO_PARAMETERS
    text = ascii(sorted(given.items())).encode()
    return _LENGTH.pack(len(text)) + text


_NO_PARAMETERS = _LENGTH.pack(2) + b"[]"
