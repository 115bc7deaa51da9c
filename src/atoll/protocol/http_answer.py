"""An inference response as the parts of an HTTP body: the JSON first, then the binary tensors in the outputs' order."""

from atoll.protocol import json_text
from atoll.protocol.http_codec import OutputForm
from atoll.protocol.json_tensors import json_from_array
from atoll.protocol.parameters_key import ParametersKey, parameters_key
from atoll.protocol.shared_memory import PlacedResponse
from atoll.request import InferenceResponse
from atoll.tensor import Buffer, Tensor

_SHORT = 256  # bytes of parameters, up to which they are
_CACHED = 2048  # descriptions of outputs that are kept ready; one is about 100 bytes


class ResponseEncoder:
    """Encodes responses; keeps the JSON of what repeats from one to the next. Not thread-safe: one per event loop."""

    def __init__(self) -> None:
        self._descriptions: dict[tuple[str, str, tuple[int, ...]], bytes] = {}
        self._openings: dict[tuple[str, str], bytes] = {}
        self._parameters: dict[ParametersKey, bytes] = {}

    def encode(self, response: InferenceResponse, form: OutputForm) -> tuple[list[Buffer], int]:
        """The body's parts, and the length of its JSON where binary tensors follow (0 where none does).

        Large tensors are views of the response's arrays. Raises AtollError for what JSON cannot carry.
        """
        descriptions: list[bytes] = []
        parts: list[Buffer] = [b""]
        binary, default = form.binary, form.binary_default
        any_binary = False
        outputs = response.outputs
        if type(response) is PlacedResponse:
            placed = response.placed
            outputs = [one for one in outputs if one.name not in placed]
        for output in outputs:
            if binary.get(output.name, default) if binary else default:
                data = output.packed()
                if len(data):  # an answer whose binary tensors are all empty is only JSON, as the real server's
                    parts.append(data)
                    any_binary = True
                descriptions.append(self._binary_description(output, len(data)))
            else:
                data = json_from_array(output.array(), output.datatype)
                descriptions.append(b'%s"data":%s}' % (_describe(output), data))
        if type(response) is PlacedResponse:
            descriptions = _with_placed(response, descriptions)
        text = b"%s%s]}" % (self._opening(response), b",".join(descriptions))
        parts[0] = text
        return parts, len(text) if any_binary else 0

    def _opening(self, response: InferenceResponse) -> bytes:
        key = (response.model_name, response.model_version)
        names = self._openings.get(key)
        if names is None:
            if len(self._openings) >= _CACHED:
                self._openings.clear()
            names = b'"model_name":%s,"model_version":%s,' % tuple(json_text.dump_string(one) for one in key)
            self._openings[key] = names
        first = b'"id":%s,' % json_text.dump_string(response.id) if response.id else b""
        if response.parameters:
            return b'{%s%s"parameters":%s,"outputs":[' % (first, names, self._parameters_of(response))
        return b'{%s%s"outputs":[' % (first, names)

    def _parameters_of(self, response: InferenceResponse) -> bytes:
        """Most answers that have parameters, those of ensembles, have the same."""
        key = parameters_key(response.parameters)
        found = self._parameters.get(key)
        if found is None:
            found = json_text.dump(response.parameters)
            if len(found) <= _SHORT:
                if len(self._parameters) >= _CACHED:
                    self._parameters.clear()
                self._parameters[key] = found
        return found

    def _binary_description(self, output: Tensor, size: int) -> bytes:
        if output.datatype.size == 0:  # BYTES: the size is not given by the shape
            return b'%s"parameters":{"binary_data_size":%d}}' % (_describe(output), size)
        key = (output.name, output.datatype.protocol_name, output.shape)
        found = self._descriptions.get(key)
        if found is None:
            if len(self._descriptions) >= _CACHED:
                self._descriptions.clear()
            found = b'%s"parameters":{"binary_data_size":%d}}' % (_describe(output), size)
            self._descriptions[key] = found
        return found


def _with_placed(response: PlacedResponse, others: list[bytes]) -> list[bytes]:
    """The descriptions of all outputs, in their order; those in shared memory are said to be there by nothing more."""
    following = iter(others)
    return [_describe(one)[:-1] + b"}" if one.name in response.placed else next(following) for one in response.outputs]


def _describe(output: Tensor) -> bytes:
    shape = ",".join(map(str, output.shape))
    return b'{"name":%s,"datatype":"%s","shape":[%s],' % (
        json_text.dump_string(output.name),
        output.datatype.protocol_name.encode(),
        shape.encode(),
    )


def total_length(parts: list[Buffer]) -> int:
    """The bytes in all parts together."""
    length = 0
    for part in parts:
        length += len(part)
    return length
